/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as JSON, and what parses as a model's config.json. */
#include <math.h>
#include <stdlib.h>

#include "model/checkpoint/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sah_error error = {0};
    sah_config config;
    json_t *json;
    if (sah_json_parse((const char *)data, size, "input", &json, &error) != SAH_OK) {
        if (json != NULL || error.message[0] == '\0') abort();
        return 0;
    }
    if (sah_config_from_json(json, "input", &config, &error) == SAH_OK) {
        double *frequencies = malloc((size_t)config.head_dim / 2 * sizeof *frequencies);
        if (frequencies == NULL) abort();
        sah_rope_frequencies(&config.ropes[0], frequencies);
        if (isnan(frequencies[0])) abort();
        free(frequencies);
    }
    json_decref(json);
    return 0;
}
