/* SPDX-License-Identifier: Apache-2.0 */
#include "edit/provenance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint/identity.h"
#include "util/error.h"
#include "util/json.h"
#include "util/strings.h"

static json_t *list_tensors(const sah_rewrite *rewrite)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    json_t *list = json_array();
    for (size_t i = 0; i < tensors->n; i++) {
        const sah_change *change = &rewrite->changes[i];
        if (!change->changed) continue;
        json_t *entry = json_pack("{s:s, s:s, s:s}", "name", tensors->items[i].name, "was",
                                  sah_dtype_name(tensors->items[i].type), "is", sah_dtype_name(change->type));
        if (json_array_append_new(list, entry) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

sah_status sah_provenance_text(const char *command, const sah_rewrite *rewrite, json_t *settings, char **text,
                               sah_error *error)
{
    json_t *record = json_pack("{s:s, s:s, s:o, s:o, s:o}", "sahara", command, "version", SAH_VERSION,
                               "model", sah_model_record(&rewrite->base->info), "settings", settings,
                               "tensors", list_tensors(rewrite));
    bool good = record != NULL;
    if (good && rewrite->base->provenance != NULL)
        good = json_object_set(record, "before", rewrite->base->provenance) == 0;
    char *dump = good ? sah_json_text(record, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(record);
    if (dump == NULL || asprintf(text, "%s\n", dump) < 0) *text = NULL;
    free(dump);
    return *text != NULL ? SAH_OK : sah_fail_memory(error, "sahara.json");
}

const char *sah_provenance_name(const char *adapter)
{
    const char *slash = adapter != NULL ? strrchr(adapter, '/') : NULL;
    return slash != NULL && slash[1] != '\0' ? slash + 1 : adapter;
}

sah_status sah_provenance_notes(const sah_rewrite *rewrite, const char *lost, sah_strings *notes,
                                sah_error *error)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    static const char ONE_FILE[] = "written as one file, which holds all parts";
    static const char TORCH[] = "written as safetensors, which replaces PyTorch's .bin files";
    size_t counts[SAH_DTYPES][SAH_DTYPES] = {0};
    const char *first[SAH_DTYPES][SAH_DTYPES] = {0};
    for (size_t i = 0; i < tensors->n; i++) {
        const sah_change *change = &rewrite->changes[i];
        const sah_dtype was = tensors->items[i].type;
        if (!change->changed || change->type == was) continue;
        if (counts[was][change->type]++ == 0) first[was][change->type] = tensors->items[i].name;
    }
    for (int was = 0; was < SAH_DTYPES; was++) {
        for (int is = 0; is < SAH_DTYPES; is++) {
            sah_text line = {0};
            const size_t n = counts[was][is];
            if (n == 0) continue;
            sah_text_adds(&line, first[was][is]);
            if (n > 1) sah_text_addf(&line, " and %zu more tensor%s", n - 1, n > 2 ? "s" : "");
            sah_text_addf(&line, ": %s instead of %s", sah_dtype_name((sah_dtype)is),
                          sah_dtype_name((sah_dtype)was));
            if (lost != NULL && (was == SAH_F16 || was == SAH_BF16))
                sah_text_addf(&line, ", which would lose %s", lost);
            sah_status status = line.failed ? sah_fail_memory(error, "a note")
                                            : sah_strings_add(notes, line.data, line.size, error);
            free(line.data);
            if (status != SAH_OK) return status;
        }
    }
    if (tensors->is_torch) return sah_strings_add(notes, TORCH, sizeof TORCH - 1, error);
    if (!rewrite->base->is_gguf || tensors->n_files == 1) return SAH_OK;
    return sah_strings_add(notes, ONE_FILE, sizeof ONE_FILE - 1, error);
}
