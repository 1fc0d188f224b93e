/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a greedy step found more than chance would (docs/method.md, "Significance"). */
#include <stdlib.h>

#include "attribution/find_judge.h"
#include "stats/chance.h"
#include "util/alloc.h"
#include "util/error.h"

/* Above this probability a step is no better than chance. */
static const double CHANCE = 0.05;

/* With contrast not one permutation of the labels may do as well: even models of random weights tell the
 * words of both sets apart a little. */
static const double LABELS = 1.5 / (SAH_TURN_PERMUTATIONS + 1);

/* A difference is mostly harmful when the harmful part is more than so many times the harmless one, as in a
 * head's verdict. */
static const double MOSTLY = 2;

/* p of cells[best]: its statistics less the group's, under the labels as they are and dealt out anew, among
 * those of all cells [n]. */
static sah_status judge_labels(const sah_find_run *f, const size_t *cells, size_t n, size_t best, double *p,
                               sah_error *error)
{
    enum { EACH = 1 + SAH_TURN_PERMUTATIONS };
    double *all = sah_alloc(n, sizeof *all), *gains = sah_alloc(n, EACH * sizeof *gains);
    const double **rows = sah_alloc(n, sizeof *rows);
    sah_status status =
        all != NULL && gains != NULL && rows != NULL ? SAH_OK : sah_fail_memory(error, "the permutations");
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        rows[i] = gains + i * EACH;
        for (size_t r = 0; r < EACH; r++)
            gains[i * EACH + r] = f->entries[cells[i]].statistics[r] -
                                  (f->group_statistics != NULL ? f->group_statistics[r] : 0);
    }
    if (status == SAH_OK) status = sah_permuted_p(rows, SAH_TURN_PERMUTATIONS, n, all, error);
    if (status == SAH_OK) *p = all[best];
    free(all);
    free(gains);
    free(rows);
    return status;
}

static bool mostly_harmful(double harmful, double harmless)
{
    return harmful > 0 && harmful > MOSTLY * harmless;
}

/* By labels where there are any, else by how the gain stands out among the heads'; behind the first step
 * random groups must not do as well. */
static bool better_than_chance(const sah_find_run *f, const sah_turn *turn, const sah_find_judgement *s)
{
    if (s->random > CHANCE) return false;
    if (f->n_contrast == 0) return s->heads <= CHANCE;
    return s->labels <= LABELS && mostly_harmful(turn->shift, turn->shift_contrast) &&
           mostly_harmful(turn->shift - f->group_turn.shift,
                          turn->shift_contrast - f->group_turn.shift_contrast);
}

sah_status sah_find_judge(const sah_find_run *f, const size_t *cells, size_t n, size_t best,
                          sah_find_judgement *out, sah_error *error)
{
    const sah_find_entry *chosen = &f->entries[cells[best]];
    double *gains = sah_alloc(n, sizeof *gains);
    size_t others = 0, reached = 1;
    *out = (sah_find_judgement){1, -1, -1, false};
    if (gains == NULL) return sah_fail_memory(error, "the gains");
    for (size_t i = 0; i < n; i++)
        if (i != best) gains[others++] = f->entries[cells[i]].score - f->group_score;
    sah_status status = sah_outstanding_p(chosen->score - f->group_score, gains, others, &out->heads, error);
    if (status == SAH_OK && f->n_contrast > 0) status = judge_labels(f, cells, n, best, &out->labels, error);
    for (size_t i = 0; i < f->n_random; i++) reached += f->random[i] >= chosen->score;
    if (f->n_random > 0) out->random = (double)reached / (double)(f->n_random + 1);
    free(gains);
    if (status == SAH_OK) out->better = better_than_chance(f, &chosen->turn, out);
    return status;
}
