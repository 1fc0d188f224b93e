/* SPDX-License-Identifier: Apache-2.0 */
/* Logits and hidden states of several prompts at once, and the direction that two of them differ along.
 *
 *     states MODEL TEXT TEXT
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sahara.h"

int main(int argc, char **argv)
{
    sah_error error = {0};
    sah_model *model = NULL;
    int32_t *ids[2] = {NULL, NULL};
    sah_tokens prompts[2];
    float *logits = NULL, *residual = NULL;
    if (argc != 4) {
        fprintf(stderr, "usage: states MODEL TEXT TEXT\n");
        return 2;
    }
    sah_status status = sah_model_open(argv[1], NULL, &model, &error);
    for (int i = 0; i < 2 && status == SAH_OK; i++) {
        status = sah_encode(model, argv[2 + i], strlen(argv[2 + i]), &ids[i], &prompts[i].n, &error);
        prompts[i].ids = ids[i];
    }
    if (status != SAH_OK) goto done;
    const sah_model_info *info = sah_model_describe(model);
    const size_t V = (size_t)info->n_vocab, L = (size_t)info->n_layers, d = (size_t)info->d_model;
    logits = malloc(2 * V * sizeof *logits);
    residual = malloc(2 * (L + 1) * d * sizeof *residual);
    if (logits == NULL || residual == NULL) goto done;
    status = sah_logits_batch(model, prompts, 2, NULL, 0, logits, &error);
    if (status == SAH_OK) status = sah_hidden_states(model, prompts, 2, NULL, 0, residual, NULL, &error);
    for (size_t i = 0; i < 2 && status == SAH_OK; i++) {
        size_t best = 0;
        for (size_t v = 1; v < V; v++)
            if (logits[i * V + v] > logits[i * V + best]) best = v;
        printf("prompt %zu: %zu tokens, likeliest next token %zu\n", i, prompts[i].n, best);
    }
    for (size_t l = 0; l <= L && status == SAH_OK; l++) {
        double square = 0.0;
        for (size_t j = 0; j < d; j++) {
            const double difference = (double)residual[l * d + j] - (double)residual[(L + 1 + l) * d + j];
            square += difference * difference;
        }
        printf("behind %zu layers the last tokens are %.3f apart\n", l, sqrt(square));
    }

done:
    if (status != SAH_OK) fprintf(stderr, "%s\n", error.message);
    free(logits);
    free(residual);
    free(ids[0]);
    free(ids[1]);
    sah_model_close(model);
    return status == SAH_OK ? 0 : 1;
}
