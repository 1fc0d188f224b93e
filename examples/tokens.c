/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts as token ids, which no template touches: here the model's own chat template without its last tokens and
 * something else behind it, as an answer that has already begun. Which heads move what comes next?
 *
 *     tokens MODEL "QUERY" "BEGINNING OF AN ANSWER"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sahara.h"

/* Ids of the wrapped query with those of the beginning behind them, as one query of `out`. */
static sah_status add_prompt(const sah_model *model, const char *query, const char *beginning,
                             sah_strings *out, sah_error *error)
{
    char *prompt = NULL;
    int32_t *ids = NULL, *more = NULL, *all = NULL;
    size_t n = 0, n_more = 0;
    sah_status status = sah_prompt_wrap(model, "chat", NULL, query, &prompt, error);
    if (status == SAH_OK) status = sah_prompt_encode(model, "chat", prompt, &ids, &n, error);
    if (status == SAH_OK) status = sah_encode(model, beginning, strlen(beginning), &more, &n_more, error);
    if (status == SAH_OK && (all = malloc((n + n_more) * sizeof *all)) == NULL) {
        snprintf(error->message, sizeof error->message, "not enough memory");
        status = error->status = SAH_OUT_OF_MEMORY;
    }
    if (status == SAH_OK) {
        memcpy(all, ids, n * sizeof *all);
        memcpy(all + n, more, n_more * sizeof *all);
        status = sah_strings_add_tokens(out, all, n + n_more, error);
    }
    free(prompt);
    free(ids);
    free(more);
    free(all);
    return status;
}

int main(int argc, char **argv)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_result *result = NULL;
    sah_ranked *heads = NULL;
    sah_strings queries = {0};
    sah_lines lines = {0};
    size_t n = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: tokens MODEL \"QUERY\" \"BEGINNING OF AN ANSWER\"\n");
        return 2;
    }
    sah_run_options options = sah_run_options_default();
    options.template_ = "tokens";
    options.line = sah_lines_add;
    options.line_user = &lines;

    sah_status status = sah_model_open(argv[1], NULL, &model, &error);
    if (status == SAH_OK) status = add_prompt(model, argv[2], argv[3], &queries, &error);
    if (status == SAH_OK) status = sah_ships(model, &queries, NULL, &options, NULL, &error);
    if (status == SAH_OK) status = sah_result_parse(lines.text, lines.size, &result, &error);
    if (status == SAH_OK) status = sah_rank(result, SAH_ORDER_MEAN, &heads, &n, &error);
    if (status == SAH_OK) printf("prompt: %s\n", queries.items[0]);
    for (size_t i = 0; status == SAH_OK && i < n && i < 5; i++)
        printf("%d-%d\t%.4f nats\n", heads[i].head.layer, heads[i].head.head, heads[i].mean);
    if (status != SAH_OK) fprintf(stderr, "%s: %s\n", sah_status_name(status), error.message);

    free(heads);
    free(lines.text);
    sah_result_close(result);
    sah_strings_free(&queries);
    sah_model_close(model);
    return status == SAH_OK ? 0 : 1;
}
