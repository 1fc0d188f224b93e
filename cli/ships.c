/* sahara ships: the Ships score of every head for every query. */
#include "command.h"
#include "progress.h"

static int run(const cli_options *o)
{
    sah_error error = {0};
    if (o->top > 0 && !o->screen) return usage_error("ships: --top belongs to --screen");
    sah_model_options model_options = options_model(o);
    sah_run_options run_options = options_run(o);
    sah_model *model = NULL;
    sah_strings queries = {0}, contrast = {0};
    cli_progress progress;

    sah_status status = sah_queries_read(o->arguments[1], o->column, o->limit, &queries, &error);
    if (status == SAH_OK) status = read_contrast(o, o->contrast, &contrast, &error);
    if (status == SAH_OK) status = sah_model_open(o->arguments[0], &model_options, &model, &error);
    if (status == SAH_OK) {
        const sah_model_info *info = sah_model_describe(model);
        if (!o->quiet && info->precision_note[0]) fprintf(stderr, "precision %s\n", info->precision_note);
        progress_catch_signals();
        status = check_refusal(o, model, &queries, "ships", &run_options.refusal, &error);
        if (status == SAH_OK)
            status = match_length(o, model, &queries, "ships", &contrast, &run_options.matching, &error);
    }
    if (status == SAH_OK) {
        progress_init(&progress, o->quiet);
        run_options.progress = progress_show;
        run_options.user = &progress;
        const sah_strings *harmless = o->contrast ? &contrast : NULL;
        status = o->screen ? sah_ships_screen(model, &queries, harmless, &run_options,
                                              o->top > 0 ? o->top : 10, o->output, &error)
                           : sah_ships(model, &queries, harmless, &run_options, o->output, &error);
        progress_end(&progress);
    }
    sah_model_close(model);
    sah_strings_free(&queries);
    sah_strings_free(&contrast);
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
        "--screen finds the highest heads alone, exactly and many times faster.\n"
        "See `sahara rank` for reading the result.\n",
    .options = MODEL_OPTIONS | ABLATION_OPTIONS | QUERY_OPTIONS | SWEEP_OPTIONS | OPTION(OPT_OUTPUT) |
               OPTION(OPT_CONTRAST) | OPTION(OPT_MATCH_LENGTH) | OPTION(OPT_CHECK_REFUSAL) |
               OPTION(OPT_SCREEN) | OPTION(OPT_TOP),
    .least = 2,
    .most = 2,
    .run = run,
};
