/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as JSON, and what parses as a model's config.json. */
#include <math.h>
#include <stdlib.h>

#include "fuzz_json_mutate.h"
#include "model/checkpoint/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool fuzz_holds_json(const uint8_t *data, size_t size)
{
    (void)data;
    return size > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sah_error error = {0};
    sah_config config = {0};
    const sah_family *family;
    json_t *json;
    if (sah_json_parse((const char *)data, size, "input", &json, &error) != SAH_OK) {
        if (json != NULL || error.message[0] == '\0') abort();
        return 0;
    }
    if (sah_config_from_json(json, "input", &config, &family, &error) == SAH_OK) {
        if (family == NULL || config.n_layers < 1 || config.n_heads < 1 || config.head_dim < 1) abort();
        for (int i = 0; i < config.n_ropes; i++) {
            double *frequencies = malloc((size_t)config.ropes[i].dims / 2 * sizeof *frequencies + 1);
            if (frequencies == NULL) abort();
            sah_rope_frequencies(&config.ropes[i], frequencies);
            if (config.ropes[i].dims >= 2 && isnan(frequencies[0])) abort();
            free(frequencies);
        }
    } else if (error.message[0] == '\0') {
        abort();
    }
    sah_config_free(&config);
    json_decref(json);
    return 0;
}
