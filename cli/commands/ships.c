/* SPDX-License-Identifier: Apache-2.0 */
/* sahara ships: the Ships score of every head for every query. */
#include <stdio.h>
#include <string.h>

#include "ranking.h"
#include "scoring.h"

enum { MOST_PARTS = 3, LONGEST = 4096 };

/* Scores each part of --part alone, into -o with the part's letter before its ending. */
static sah_status score_apart(const cli_options *o, cli_scoring *s, sah_error *error)
{
    static const struct {
        unsigned part;
        char letter;
    } parts[MOST_PARTS] = {{SAH_PART_Q, 'q'}, {SAH_PART_K, 'k'}, {SAH_PART_V, 'v'}};
    const char *name = strrchr(o->output, '/'), *dot = strrchr(name != NULL ? name : o->output, '.');
    const size_t stem = dot != NULL ? (size_t)(dot - o->output) : strlen(o->output);
    char paths[MOST_PARTS][LONGEST];
    const char *given[MOST_PARTS];
    size_t n = 0;
    for (size_t i = 0; i < MOST_PARTS; i++) {
        if (!(s->options.ablation.parts & parts[i].part)) continue;
        const int length =
            snprintf(paths[n], LONGEST, "%.*s.%c%s", (int)stem, o->output, parts[i].letter, o->output + stem);
        if (length >= LONGEST) {
            *error = (sah_error){.status = SAH_BAD_ARGUMENT};
            snprintf(error->message, sizeof error->message, "the name after -o is too long");
            return SAH_BAD_ARGUMENT;
        }
        given[n] = paths[n];
        n++;
    }
    sah_status status = sah_ships_apart(s->model, &s->queries, s->contrast, &s->options, given, n, error);
    progress_end(&s->progress);
    for (size_t i = 0; i < n && status == SAH_OK && !o->quiet; i++) status = tell_heads(given[i], error);
    return status;
}

static size_t n_parts(const cli_options *o)
{
    size_t n = 0;
    for (unsigned parts = o->ablation.parts; parts != 0; parts &= parts - 1) n++;
    return n > 0 ? n : 1;
}

static int run(const cli_options *o)
{
    sah_error error = {0};
    cli_scoring s;
    if (o->top > 0 && !o->screen) return usage_error("ships: --top needs --screen");
    if (o->screen && o->shard.count > 1 && o->together == NULL)
        return usage_error("ships: --screen with --shard needs --together DIR");
    if (o->apart && (o->screen || o->together != NULL))
        return usage_error("ships: --apart cannot be combined with --screen or --together");
    if (o->apart && (o->output == NULL || strcmp(o->output, "-") == 0))
        return usage_error("ships: --apart needs -o FILE: it writes a result for each part");
    if (o->match_length && o->contrast == NULL) return usage_error("ships: --match-length needs --contrast");
    if (o->opening_kl && o->given[OPT_OPENING] && o->opening == 0)
        return usage_error("ships: --opening-kl needs openings: leave out --opening 0");
    int usage = interchange_usage(o, "ships");
    if (usage != EXIT_DONE) return usage;
    sah_status status = scoring_open(o, "ships", &s, &error);
    if (status == SAH_OK) status = scoring_openings(o, "ships", &s, &error);
    if (status == SAH_OK && !o->screen)
        status = scoring_estimate(o, "ships", o->apart ? n_parts(o) : 1, &s, &error);
    if (status == SAH_OK) {
        size_t top = o->top > 0 ? o->top : 10;
        status = o->apart ? score_apart(o, &s, &error)
                 : o->screen
                     ? sah_ships_screen(s.model, &s.queries, s.contrast, &s.options, top, s.output, &error)
                     : sah_ships(s.model, &s.queries, s.contrast, &s.options, s.output, &error);
        progress_end(&s.progress);
    }
    if (status == SAH_OK && !o->quiet && !o->apart) status = tell_heads(s.output, &error);
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
        "Beside it comes the signed effect: how much less likely the beginning of the model's own answer\n"
        "becomes, in nats a token. A head that refusals rest on weakens them and leaves other answers "
        "alone.\n"
        "--screen finds only the highest heads, exactly and many times faster. --part q,v ablates both of "
        "a\n"
        "head at once; with --apart each alone, with a result of its own, in one load and one sweep.\n"
        "See `sahara rank` for reading the result.\n",
    .options = {MODEL_OPTIONS, ABLATION_OPTIONS, PARTNER_OPTIONS, OPT_CONTRAST_PARTNERS, QUERY_OPTIONS,
                SWEEP_OPTIONS, OPT_OUTPUT, OPT_CONTRAST, OPT_MATCH_LENGTH, OPT_CHECK_REFUSAL, OPT_OPENING,
                OPT_OPENING_KL, OPT_APART, OPT_SCREEN, OPT_TOP, OPT_SHARD, OPT_TOGETHER},
    .least = 2,
    .most = 2,
    .run = run,
};
