/* SPDX-License-Identifier: Apache-2.0 */
/* The shortest program that embeds the library: Ships of every head, and the five heads that stand highest.
 *
 *     ships MODEL QUERIES RESULT
 */
#include <stdio.h>
#include <stdlib.h>

#include "sahara.h"

int main(int argc, char **argv)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_strings queries = {0};
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    size_t n = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: ships MODEL QUERIES RESULT\n");
        return 2;
    }
    const char *path = argv[3];

    sah_status status = sah_model_open(argv[1], NULL, &model, &error);
    if (status == SAH_OK) status = sah_queries_read(argv[2], NULL, 0, &queries, &error);
    if (status == SAH_OK) status = sah_ships(model, &queries, NULL, NULL, path, &error);
    if (status == SAH_OK) status = sah_result_open(&path, 1, &result, &error);
    if (status == SAH_OK) status = sah_rank(result, SAH_ORDER_MEAN, &ranked, &n, &error);
    for (size_t i = 0; status == SAH_OK && i < n && i < 5; i++)
        printf("%d-%d\t%.4f nats\n", ranked[i].head.layer, ranked[i].head.head, ranked[i].mean);
    if (status != SAH_OK) fprintf(stderr, "%s\n", error.message);

    free(ranked);
    sah_result_close(result);
    sah_strings_free(&queries);
    sah_model_close(model);
    return status == SAH_OK ? 0 : 1;
}
