/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/interchange.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/forward.h"
#include "engine/golden.h"

enum { MOST_TOKENS = 40, MOST_EDITS = 16, MOST_DONORS = 4 };

static size_t read_tokens(const json_t *list, int32_t *out)
{
    size_t n = json_array_size(list);
    assert_true(n > 0 && n <= MOST_TOKENS);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void check_case(const char *name, const sah_model *model, const json_t *one)
{
    const json_t *others = json_object_get(one, "others"), *list = json_object_get(one, "edits"),
                 *wanted = json_object_get(one, "logits");
    const sah_op op = strcmp(text_of(one, "op"), "swap") == 0 ? SAH_OP_SWAP : SAH_OP_MEAN_DATA;
    int32_t tokens[MOST_TOKENS], donors[MOST_DONORS][MOST_TOKENS];
    sah_tokens lists[MOST_DONORS];
    size_t n_edits = json_array_size(list);
    sah_edit edits[MOST_EDITS];
    sah_error error = {0};
    float *logits = calloc((size_t)model->config.n_vocab, sizeof *logits);
    for (size_t i = 0; i < json_array_size(others); i++) {
        lists[i].n = read_tokens(json_array_get(others, i), donors[i]);
        lists[i].ids = donors[i];
    }
    assert_true(n_edits > 0 && n_edits <= MOST_EDITS);
    for (size_t i = 0; i < n_edits; i++) {
        const json_t *edit = json_array_get(list, i);
        const char part = text_of(edit, "part")[0];
        edits[i] = (sah_edit){.layer = (int)json_integer_value(json_object_get(edit, "layer")),
                              .head = (int)json_integer_value(json_object_get(edit, "head")),
                              .part = part == 'q'   ? SAH_PART_Q
                                      : part == 'k' ? SAH_PART_K
                                                    : SAH_PART_V,
                              .op = op};
    }
    const sah_donor_prompts prompts = {.prompts = lists,
                                       .n = json_array_size(others),
                                       .all_positions = strcmp(text_of(one, "positions"), "all") == 0};
    size_t n = read_tokens(json_object_get(one, "prompt"), tokens);
    if (sah_logits_interchanged(model, tokens, n, edits, n_edits, &prompts, logits, &error) != SAH_OK)
        fail_msg("%s: %s", name, error.message);
    double worst = 0, largest = json_number_value(json_object_get(one, "largest"));
    for (size_t i = 0; i < json_array_size(wanted); i++)
        worst = fmax(worst, fabs((double)logits[i] - json_number_value(json_array_get(wanted, i))));
    if (!(worst <= 1e-4 * largest)) fail_msg("%s: off by %.3g of %.3g", name, worst, largest);
    free(logits);
}

void interchange_golden(const sah_device *device)
{
    sah_error error = {0};
    json_t *json;
    const char *name;
    json_t *cases;
    size_t n_cases = 0;
    if (sah_json_read("tests/golden/interchange.json", 1u << 22, &json, &error) != SAH_OK)
        fail_msg("%s", error.message);
    json_object_foreach(json_object_get(json, "models"), name, cases)
    {
        sah_model *model = golden_model_on(name, device, &(sah_model_options){.threads = 1});
        for (size_t i = 0; i < json_array_size(cases); i++, n_cases++)
            check_case(name, model, json_array_get(cases, i));
        sah_model_close(model);
    }
    assert_true(n_cases > 100);
    json_decref(json);
}
