/* SPDX-License-Identifier: Apache-2.0 */
/* For targets that change a model: refused with a line, or it opens, and computes if asked. */
#ifndef SAH_FUZZ_COMPUTE_H
#define SAH_FUZZ_COMPUTE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sahara.h"

static void fuzz_open(const char *path, const char *with, bool compute)
{
    sah_error error = {0};
    sah_model *model = NULL;
    const sah_model_options options = {
        .threads = 1, .adapter = with, .memory = 64 << 20, .describe_only = !compute};
    static const int32_t tokens[] = {1, 2, 3, 2};
    const sah_status status = sah_model_open(path, &options, &model, &error);
    if (status == SAH_OK && compute) {
        const sah_model_info *info = sah_model_describe(model);
        float *logits = calloc((size_t)info->n_vocab, sizeof *logits);
        if (logits == NULL) abort();
        if (sah_logits(model, tokens, sizeof tokens / sizeof *tokens, NULL, 0, logits, &error) != SAH_OK &&
            error.message[0] == '\0')
            abort();
        free(logits);
    } else if (status != SAH_OK && (error.message[0] == '\0' || strchr(error.message, '\n') != NULL)) {
        abort();
    }
    sah_model_close(model);
}

#endif
