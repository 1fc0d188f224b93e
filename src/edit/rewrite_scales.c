/* SPDX-License-Identifier: Apache-2.0 */
/* A quantised tensor that an edit turns into floats has no scales any more: they leave the files, and config.json
 * names its module among those that are not quantised, in the way of each kind. */
#include <stdlib.h>
#include <string.h>

#include "edit/rewrite_scales.h"
#include "util/error.h"
#include "util/json.h"

enum { MAX_CONFIG = 16 << 20 /* bytes */ };

/* The tensor is written as floats. */
static bool loses_scales(const sah_rewrite *rewrite, const sah_tensor *tensor)
{
    const size_t index = (size_t)(tensor - rewrite->base->tensors->items);
    return tensor->scales != NULL && rewrite->changes[index].changed;
}

bool sah_rewrite_drops(const sah_rewrite *rewrite, const char *name)
{
    static const char *const SUFFIXES[] = {"_scale_inv", "_scale"};
    const size_t n = strlen(name);
    bool drops = false;
    for (size_t i = 0; i < sizeof SUFFIXES / sizeof *SUFFIXES && !drops; i++) {
        const size_t m = strlen(SUFFIXES[i]);
        if (n <= m || strcmp(name + n - m, SUFFIXES[i]) != 0) continue;
        char *weight = strndup(name, n - m);
        const sah_tensor *tensor = weight != NULL ? sah_tensors_find(rewrite->base->tensors, weight) : NULL;
        drops = tensor != NULL && loses_scales(rewrite, tensor);
        free(weight);
    }
    return drops;
}

size_t sah_rewrite_dropped_bytes(const sah_rewrite *rewrite)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    size_t bytes = 0;
    for (size_t i = 0; i < tensors->n; i++) {
        const sah_tensor *tensor = &tensors->items[i];
        if (!loses_scales(rewrite, tensor)) continue;
        size_t n = tensor->scales->rows * tensor->scales->columns;
        for (int d = 0; d < tensor->n_dims - 2; d++) n *= tensor->dims[d];
        bytes += n * sah_dtype_block_bytes(tensor->scales->type);
    }
    return bytes;
}

sah_status sah_rewrite_config(const sah_rewrite *rewrite, const char *path, char **text, sah_error *error)
{
    static const char WEIGHT[] = ".weight";
    const sah_tensors *tensors = rewrite->base->tensors;
    json_t *config = NULL;
    sah_status status = sah_json_read(path, MAX_CONFIG, &config, error);
    *text = NULL;
    if (status != SAH_OK) return status;
    json_t *q = json_object_get(config, "quantization_config");
    if (q == NULL) q = json_object_get(config, "compression_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    const bool compressed = method != NULL && strcmp(method, "compressed-tensors") == 0;
    const char *key = compressed ? "ignore" : "modules_to_not_convert";
    json_t *list = json_object_get(q, key);
    bool good = json_is_object(q);
    if (good && !json_is_array(list)) {
        list = json_array();
        good = json_object_set_new(q, key, list) == 0;
    }
    for (size_t i = 0; i < tensors->n && good; i++) {
        const char *name = tensors->items[i].name;
        size_t n = strlen(name), m = sizeof WEIGHT - 1;
        if (!loses_scales(rewrite, &tensors->items[i])) continue;
        if (n > m && strcmp(name + n - m, WEIGHT) == 0) n -= m;
        good = json_array_append_new(list, json_stringn(name, n)) == 0;
    }
    if (good) *text = sah_json_text(config, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(config);
    return *text != NULL ? SAH_OK : sah_fail_memory(error, "config.json");
}
