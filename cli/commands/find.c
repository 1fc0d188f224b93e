/* SPDX-License-Identifier: Apache-2.0 */
/* sahara find: Generalized Ships and the greedy search for safety heads. */
#include <string.h>

#include "scoring.h"

static sah_find_options find_options(const cli_options *o)
{
    sah_find_options find = sah_find_options_default();
    if (o->given[OPT_STEPS]) find.steps = o->steps;
    if (o->given[OPT_RANK]) find.rank = o->rank;
    if (o->given[OPT_RANDOM_GROUPS]) find.random_groups = o->random_groups;
    if (o->screen) find.screen = o->top > 0 ? o->top : 10;
    find.variant = o->variant;
    find.start = o->start;
    find.shortlist = o->shortlist;
    find.seed = o->seed;
    find.save_states = o->save_states;
    return find;
}

/* What was found, and which steps are no better than chance. */
static sah_status tell_steps(const cli_options *o, const char *output, sah_error *error)
{
    sah_result *result = NULL;
    sah_chosen chosen;
    if (strcmp(output, "-") == 0 || o->quiet) return SAH_OK;
    sah_status status = sah_result_open(&output, 1, &result, error);
    for (size_t i = 0; status == SAH_OK && sah_result_chosen(result, i, &chosen); i++)
        fprintf(stderr, "step %zu: %d-%d adds %.4g degrees%s\n", i, chosen.head.layer, chosen.head.head,
                chosen.gain, chosen.better_than_chance || o->screen ? "" : ", no better than chance");
    sah_result_close(result);
    return status;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    cli_scoring s;
    sah_find_options find = find_options(o);
    if (o->top > 0 && !o->screen) return usage_error("find: --top needs --screen");
    if (o->screen && find.screen < find.steps)
        return usage_error("find: --top %zu: fewer heads than the %zu of --steps", find.screen, find.steps);
    if ((o->screen || find.steps > 1) && o->shard.count > 1 && o->together == NULL)
        return usage_error("find: --steps and --screen with --shard need --together DIR");
    if (o->match_length && o->contrast == NULL) return usage_error("find: --match-length needs --contrast");
    int usage = interchange_usage(o, "find");
    if (usage != EXIT_DONE) return usage;
    sah_status status = scoring_open(o, "sahara", &s, &error);
    if (status == SAH_OK && !o->screen)
        status = scoring_estimate(o, "sahara", find.shortlist > 0 ? 1 : find.steps, &s, &error);
    if (status == SAH_OK) {
        status = sah_find(s.model, &s.queries, s.contrast, &s.options, &find, s.output, &error);
        progress_end(&s.progress);
    }
    if (status == SAH_OK) status = tell_steps(o, s.output, &error);
    scoring_close(&s);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_find = {
    .name = "find",
    .arguments = "MODEL QUERIES -o OUT",
    .summary = "the heads that turn a data set's representation most",
    .details =
        "For every head: by how many degrees the space of the queries' hidden states turns when the head is\n"
        "ablated (one step: Generalized Ships). With --steps N a greedy search for a group of N heads "
        "(Sahara):\n"
        "each step adds the head that turns it most beside those already found. With --contrast the shift "
        "on\n"
        "harmless queries is subtracted. Says for each step whether it is better than chance. OUT is a "
        "journal "
        "of\n"
        "JSON lines; an interrupted run carries on where it stopped, and one with more --steps where it "
        "ended.\n",
    .options = {MODEL_OPTIONS,    ABLATION_OPTIONS,  PARTNER_OPTIONS, OPT_CONTRAST_PARTNERS,
                QUERY_OPTIONS,    SWEEP_OPTIONS,     OPT_OUTPUT,      OPT_CONTRAST,
                OPT_MATCH_LENGTH, OPT_CHECK_REFUSAL, OPT_STEPS,       OPT_RANK,
                OPT_VARIANT,      OPT_START,         OPT_SHORTLIST,   OPT_RANDOM_GROUPS,
                OPT_SEED,         OPT_SCREEN,        OPT_TOP,         OPT_SAVE_STATES,
                OPT_SHARD,        OPT_TOGETHER},
    .least = 2,
    .most = 2,
    .run = run,
};
