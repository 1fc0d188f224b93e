/* SPDX-License-Identifier: Apache-2.0 */
/* What an audit found, between the stages that measure (audit.c), the answer that follows (answer.c) and the cards
 * that tell it (card.c). */
#ifndef SAH_AUDIT_AUDIT_H
#define SAH_AUDIT_AUDIT_H

#include "util/json.h"
#include "util/strings.h"

/* Judged responses of one kind. */
typedef struct sah_rate {
    uint64_t n, refused, complied, degenerate;
    sah_share refusal; /* of all n, Wilson's interval */
} sah_rate;

/* One point of an ablation curve: the first heads of a list, or as many at random. */
typedef struct sah_point {
    size_t heads;
    bool random;
    char *names; /* "5-6,18-8" */
    sah_rate rate;
} sah_point;

enum { SAH_MOST_COUNTS = 7, SAH_MOST_POINTS = 64, SAH_N_CURVES = 3, SAH_CARD_HEADS = 5 };

typedef struct sah_curve {
    const char *name; /* of its files: "q", "v", "group" */
    const char *what; /* for a reader */
    char *heads; /* all, in their order */
    sah_point points[SAH_MOST_POINTS];
    size_t n;
    bool
        has_perplexity; /* on the model's own harmless answers, with the fewest heads ablated that bring refusal
                            down, or else all */
    size_t perplexity_heads;
    double perplexity, base_perplexity;
    sah_share log_difference; /* nats a token */
} sah_curve;

/* The highest heads of a sweep. */
typedef struct sah_sweep_found {
    const char *part;
    bool done;
    size_t n_heads, n_safety, n_safety_kl; /* scored; safety by the signed effect, by the divergence alone */
    char effect_reason[128]; /* why no head has a verdict by its signed effect; else empty */
    sah_ranked top[SAH_CARD_HEADS];
    size_t n_top;
    sah_concentration concentration;
} sah_sweep_found;

typedef struct sah_found {
    const sah_model_info *model;
    const char *directory;
    bool quick;
    size_t n_scored, n_scored_harmless, n_held; /* queries that heads were chosen on, and the curve's */
    int max_new_tokens;
    sah_rate harmful, harmless;
    sah_sweep_found sweeps[2];
    sah_chosen group[SAH_MOST_POINTS];
    size_t n_group;
    sah_curve curves[SAH_N_CURVES];
    size_t n_curves;
    sah_audit_answer answer;
    const sah_curve *decided; /* the curve and point that the answer rests on, or NULL */
    const sah_point *point, *random;
    char *sentence; /* the answer for a reader */
    sah_strings doubts; /* what could not be concluded, a sentence each */
} sah_found;

/* What an audit with such options consists of. */
typedef struct sah_audit_plan {
    int tokens; /* of a response at most */
    int parts; /* sweeps */
    bool searches;
    size_t curves, stages;
} sah_audit_plan;

sah_audit_plan sah_audit_plan_of(const sah_audit_options *options);
/* The numbers of heads that a sweep's curve ablates, of so many: 1, 2, 4, ... as far as four, or a
 * sixteenth of them; as many more are left to be drawn at random. */
size_t sah_audit_counts(size_t n_heads, size_t counts[SAH_MOST_COUNTS]);
/* Refuses lists that are too short to tell anything. */
sah_status sah_audit_check_queries(const sah_strings *harmful, const sah_strings *harmless, sah_error *error);
const char *sah_audit_template(const sah_model *model, const sah_audit_options *options);

#endif
