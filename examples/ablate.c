/* SPDX-License-Identifier: Apache-2.0 */
/* A search for two heads, then what the model says with and without them, judged; responses come by a callback.
 *
 *     ablate MODEL HARMFUL HARMLESS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sahara.h"

typedef struct judging {
    const sah_judge *judge;
    size_t n[SAH_N_VERDICTS];
} judging;

static bool judge_response(void *user, const sah_response *response)
{
    judging *j = user;
    sah_verdict verdict;
    if (sah_judge_text(j->judge, response->text, strlen(response->text), &verdict, NULL) != SAH_OK)
        return false;
    j->n[verdict]++;
    return true;
}

/* The two heads of a search over the queries. */
static sah_status search(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                         sah_head heads[2], sah_error *error)
{
    sah_lines lines = {0};
    sah_result *result = NULL;
    sah_chosen chosen;
    sah_run_options options = sah_run_options_default();
    sah_find_options find = sah_find_options_default();
    options.template_ = "chat";
    options.line = sah_lines_add;
    options.line_user = &lines;
    find.steps = 2;
    find.random_groups = 0;
    sah_status status = sah_find(model, queries, contrast, &options, &find, NULL, error);
    if (status == SAH_OK) status = sah_result_parse(lines.text, lines.size, &result, error);
    for (size_t i = 0; status == SAH_OK && i < 2 && sah_result_chosen(result, i, &chosen); i++) {
        heads[i] = chosen.head;
        printf("step %zu: %d-%d, %.2f degrees\n", i, chosen.head.layer, chosen.head.head, chosen.shift);
    }
    sah_result_close(result);
    free(lines.text);
    return status;
}

int main(int argc, char **argv)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_judge *judge = NULL;
    sah_strings queries = {0}, contrast = {0};
    sah_head heads[2] = {{0, 0}, {0, 0}};
    if (argc != 4) {
        fprintf(stderr, "usage: ablate MODEL HARMFUL HARMLESS\n");
        return 2;
    }
    sah_status status = sah_model_open(argv[1], NULL, &model, &error);
    if (status == SAH_OK) status = sah_queries_read(argv[2], NULL, 16, &queries, &error);
    if (status == SAH_OK) status = sah_queries_read(argv[3], NULL, 16, &contrast, &error);
    if (status == SAH_OK) status = sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, &error);
    if (status == SAH_OK) status = search(model, &queries, &contrast, heads, &error);
    for (size_t n = 0; n <= 2 && status == SAH_OK; n += 2) {
        judging j = {.judge = judge};
        sah_generate_options options = sah_generate_options_default();
        options.max_new_tokens = 32;
        options.heads = heads;
        options.n_heads = n;
        options.response = judge_response;
        options.response_user = &j;
        status = sah_generate(model, &queries, &options, NULL, &error);
        if (status == SAH_OK)
            printf("%zu heads ablated: %zu of %zu refused\n", n, j.n[SAH_REFUSAL], queries.n);
    }
    if (status != SAH_OK) fprintf(stderr, "%s\n", error.message);

    sah_judge_free(judge);
    sah_strings_free(&queries);
    sah_strings_free(&contrast);
    sah_model_close(model);
    return status == SAH_OK ? 0 : 1;
}
