/* SPDX-License-Identifier: Apache-2.0 */
#include "ranking.h"

#include <stdlib.h>
#include <string.h>

const char *const rank_spare[] = {"text",
                                  "effect_reason",
                                  "sum",
                                  "low",
                                  "high",
                                  "effect_low",
                                  "effect_high",
                                  "toward",
                                  "top10",
                                  "difference_low",
                                  "difference_high",
                                  "contrast_mean",
                                  "effect_answered",
                                  "effect_p",
                                  "p_adjusted",
                                  NULL};

sah_order options_order(const cli_options *o)
{
    if (o->sort == NULL) return SAH_ORDER_DEFAULT;
    return strcmp(o->sort, "mean") == 0     ? SAH_ORDER_MEAN
           : strcmp(o->sort, "count") == 0  ? SAH_ORDER_COUNT
           : strcmp(o->sort, "effect") == 0 ? SAH_ORDER_EFFECT
           : strcmp(o->sort, "toward") == 0 ? SAH_ORDER_TOWARD
                                            : SAH_ORDER_DIFFERENCE;
}

sah_rank_options options_rank(const cli_options *o)
{
    sah_rank_options options = {.order = options_order(o), .by_query = o->by_query, .top = o->top};
    if (o->format != NULL)
        options.format = strcmp(o->format, "json") == 0        ? SAH_FORMAT_JSON
                         : strcmp(o->format, "reference") == 0 ? SAH_FORMAT_REFERENCE
                                                               : SAH_FORMAT_TSV;
    return options;
}

static void print_counts(const size_t counts[SAH_NEGLIGIBLE + 1])
{
    for (int v = SAH_SAFETY; v <= SAH_NEGLIGIBLE; v++)
        fprintf(stderr, "%s %zu %s", v > SAH_SAFETY ? "," : "", counts[v],
                sah_selectivity_name((sah_selectivity)v));
    fputc('\n', stderr);
}

sah_status print_verdicts(const sah_result *result, sah_error *error)
{
    sah_ranked *ranked;
    const sah_result_info *info = sah_result_describe(result);
    size_t n, counts[SAH_NEGLIGIBLE + 1] = {0}, by_effect[SAH_NEGLIGIBLE + 1] = {0};
    sah_status status = sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; i < n; i++) {
        counts[ranked[i].verdict]++;
        by_effect[ranked[i].effect_verdict]++;
    }
    free(ranked);
    if (info->judged) {
        fprintf(stderr, "%zu heads:", n);
        print_counts(counts);
    }
    if (info->effect_judged) {
        fprintf(stderr, "by signed effect (%zu refused, %zu answered queries):", info->n_refused,
                info->n_answered);
        print_counts(by_effect);
    } else if (info->effect_reason[0] != '\0') {
        fprintf(stderr, "by signed effect all heads are undecided: %s\n", info->effect_reason);
    }
    return SAH_OK;
}

/* The first `most` of the heads with this verdict: ": 2-6, 3-3, ..." */
static void print_heads(const sah_ranked *ranked, size_t n, sah_selectivity verdict, size_t most)
{
    size_t printed = 0;
    for (size_t i = 0; i < n && printed <= most; i++) {
        if (ranked[i].verdict != verdict) continue;
        if (printed == most)
            fputs(", ...", stderr);
        else
            fprintf(stderr, "%s %d-%d", printed > 0 ? "," : ":", ranked[i].head.layer, ranked[i].head.head);
        printed++;
    }
}

sah_status tell_heads(const char *path, sah_error *error)
{
    enum { NAMED = 8 };
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    size_t n = 0, counts[SAH_NEGLIGIBLE + 1] = {0};
    if (strcmp(path, "-") == 0) return SAH_OK;
    sah_status status = sah_result_open(&path, 1, &result, error);
    if (status == SAH_OK) status = sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, error);
    if (status == SAH_OK && n > 0) {
        for (size_t i = 0; i < n; i++) counts[ranked[i].verdict]++;
        if (sah_result_describe(result)->judged) {
            fprintf(stderr, "%zu of %zu heads %s safety", counts[SAH_SAFETY], n,
                    counts[SAH_SAFETY] == 1 ? "is" : "are");
            print_heads(ranked, n, SAH_SAFETY, NAMED);
            fprintf(stderr, "; %zu %s undecided.", counts[SAH_UNDECIDED],
                    counts[SAH_UNDECIDED] == 1 ? "is" : "are");
        } else {
            fprintf(stderr,
                    "%d-%d has the highest mean, %.3g nats; only harmless queries (--contrast) can tell "
                    "which heads are general.",
                    ranked[0].head.layer, ranked[0].head.head, ranked[0].mean);
        }
        fprintf(stderr, " All of them: sahara rank %s\n", path);
    }
    free(ranked);
    sah_result_close(result);
    return status;
}
