/* SPDX-License-Identifier: Apache-2.0 */
/* sahara ships: the Ships score of every head for every query. */
#include "ranking.h"
#include "scoring.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    cli_scoring s;
    if (o->top > 0 && !o->screen) return usage_error("ships: --top belongs to --screen");
    if (o->screen && o->shard.count > 1 && o->together == NULL)
        return usage_error("ships: --screen with --shard needs --together DIR");
    int usage = interchange_usage(o, "ships");
    if (usage != EXIT_DONE) return usage;
    sah_status status = scoring_open(o, "ships", &s, &error);
    if (status == SAH_OK) status = scoring_openings(o, "ships", &s, &error);
    if (status == SAH_OK && !o->screen) status = scoring_estimate(o, "ships", 1, &s, &error);
    if (status == SAH_OK) {
        size_t top = o->top > 0 ? o->top : 10;
        status = o->screen
                     ? sah_ships_screen(s.model, &s.queries, s.contrast, &s.options, top, s.output, &error)
                     : sah_ships(s.model, &s.queries, s.contrast, &s.options, s.output, &error);
        progress_end(&s.progress);
    }
    if (status == SAH_OK && !o->quiet) status = tell_heads(s.output, &error);
    scoring_close(&s);
    return status == SAH_OK ? EXIT_DONE : report_error(&error);
}

const cli_command command_ships = {
    .name = "ships",
    .arguments = "MODEL QUERIES -o OUT",
    .summary = "the Ships score of every head for every query",
    .details =
        "For every query and head: how far the next-token distribution moves, KL(p || p_h) in nats, when "
        "the\n"
        "head is ablated. OUT is a journal of JSON lines; an interrupted run carries on where it stopped.\n"
        "--contrast scores a harmless set in the same run: a head that is high on both is general, not "
        "safety.\n"
        "Beside it stands the signed effect: how much less likely the beginning of the model's own answer\n"
        "becomes, in nats a token. A head that refusals rest on weakens them and leaves other answers "
        "alone.\n"
        "--screen finds the highest heads alone, exactly and many times faster.\n"
        "See `sahara rank` for reading the result.\n",
    .options = {MODEL_OPTIONS, ABLATION_OPTIONS, PARTNER_OPTIONS, OPT_CONTRAST_PARTNERS, QUERY_OPTIONS,
                SWEEP_OPTIONS, OPT_OUTPUT, OPT_CONTRAST, OPT_MATCH_LENGTH, OPT_CHECK_REFUSAL, OPT_OPENING,
                OPT_OPENING_KL, OPT_SCREEN, OPT_TOP, OPT_SHARD, OPT_TOGETHER},
    .least = 2,
    .most = 2,
    .run = run,
};
