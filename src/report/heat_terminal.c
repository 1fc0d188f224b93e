/* SPDX-License-Identifier: Apache-2.0 */
/* The heat map in a terminal. */
#include <math.h>
#include <stdlib.h>

#include "report/rank.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/strings.h"

/* Dark to bright, and for values below zero, of the 256-colour palette. */
static const int warm[] = {232, 52, 88, 124, 160, 196, 202, 208, 214, 220, 226, 230};
static const int cold[] = {232, 17, 18, 19, 20, 21};
static const char *const shades[] = {" ", "░", "▒", "▓", "█"};
enum {
    N_WARM = sizeof warm / sizeof *warm,
    N_COLD = sizeof cold / sizeof *cold,
    N_SHADES = sizeof shades / sizeof *shades,
    NOT_SCORED = 244
};

/* Which of n steps a share in [0, 1] gets. Square root: scores fall off steeply from the first few heads. */
static int step_of(double share, int n)
{
    int step = (int)lround(sqrt(share) * (n - 1));
    return step < 0 ? 0 : step >= n ? n - 1 : step;
}

static double share_of(double value, double most)
{
    return most > 0 ? fmin(fabs(value) / most, 1) : 0;
}

static void add_shade(sah_text *text, double value, double most, int columns)
{
    const char *shade = isnan(value) ? "·" /* not scored */
                        : value < 0  ? shades[0]
                                     : shades[step_of(share_of(value, most), N_SHADES)];
    for (int i = 0; i < columns; i++) sah_text_adds(text, shade);
}

static int colour_code(double value, double most)
{
    const double share = share_of(value, most);
    if (isnan(value)) return NOT_SCORED;
    return value < 0 ? cold[step_of(share, N_COLD)] : warm[step_of(share, N_WARM)];
}

/* Two layers a line: the upper is the half block, the lower, where there is one, what is behind it. */
static void add_colours(sah_text *text, const double *upper, const double *lower, int n_heads, double most,
                        int columns)
{
    for (int h = 0; h < n_heads; h++) {
        sah_text_addf(text, "\033[38;5;%d", colour_code(upper[h], most));
        if (lower != NULL) sah_text_addf(text, ";48;5;%d", colour_code(lower[h], most));
        sah_text_adds(text, "m");
        for (int i = 0; i < columns; i++) sah_text_adds(text, "▀");
    }
    sah_text_adds(text, "\033[0m\n");
}

static void add_layers(sah_text *text, const double *values, const sah_result_info *info, double most,
                       bool colour, int columns)
{
    const int step = colour ? 2 : 1, n = info->n_heads;
    for (int l = 0; l < info->n_layers; l += step) {
        const double *row = values + l * n;
        sah_text_addf(text, "%5d ", l);
        if (colour) {
            add_colours(text, row, l + 1 < info->n_layers ? row + n : NULL, n, most, columns);
            continue;
        }
        for (int h = 0; h < n; h++) add_shade(text, row[h], most, columns);
        sah_text_adds(text, "\n");
    }
}

static void add_legend(sah_text *text, double most, bool colour)
{
    for (int i = 0; i < 8; i++) {
        if (colour)
            sah_text_addf(text, "\033[48;5;%dm ", colour_code(most * i / 7, most));
        else
            add_shade(text, most * i / 7, most, 1);
    }
    if (colour) sah_text_adds(text, "\033[0m");
}

/* values [n_layers * n_heads], NaN where nothing was scored; returns the largest, at least 0. */
static double fill_values(const sah_result *result, sah_order order, const sah_ranked *ranked, size_t n,
                          double *values)
{
    double most = 0;
    for (int i = 0; i < result->info.n_layers * result->info.n_heads; i++) values[i] = NAN;
    for (size_t i = 0; i < n; i++) {
        double value = sah_score_of(order, &ranked[i]);
        values[ranked[i].head.layer * result->info.n_heads + ranked[i].head.head] = value;
        most = fmax(most, value);
    }
    return most;
}

static void add_column_numbers(sah_text *text, int n_heads, int columns)
{
    sah_text_adds(text, "      ");
    for (int h = 0; h < n_heads; h++) {
        if (h % 5 == 0) sah_text_addf(text, "%-*d", columns * (n_heads - h < 5 ? n_heads - h : 5), h);
    }
    sah_text_adds(text, " head\n");
}

sah_status sah_heat_map(const sah_result *result, sah_order order, bool colour, int width, char **text,
                        sah_error *error)
{
    const sah_result_info *info = &result->info;
    int columns = 7 + 2 * info->n_heads <= width ? 2 : 1; /* of the terminal, a head */
    sah_text out = {0};
    sah_ranked *ranked = NULL;
    size_t n;
    *text = NULL;
    order = sah_order_of(result, order);
    double *values = sah_alloc_table((size_t)info->n_layers, (size_t)info->n_heads, sizeof *values);
    if (values == NULL) return sah_fail_memory(error, "the heat map");
    sah_status status = sah_rank(result, order, &ranked, &n, error);
    if (status != SAH_OK) goto done;

    double most = fill_values(result, order, ranked, n, values);
    add_column_numbers(&out, info->n_heads, columns);
    add_layers(&out, values, info, most, colour, columns);
    bool below = order == SAH_ORDER_DIFFERENCE || order == SAH_ORDER_EFFECT ||
                 order == SAH_ORDER_TOWARD; /* scores may be */
    sah_text_addf(&out, "layer  %s: 0 ", sah_score_name(result, order));
    add_legend(&out, most, colour);
    const size_t n_cells = (size_t)info->n_layers * (size_t)info->n_heads;
    sah_text_addf(&out, " %.3g (square-root scale%s%s)\n", most,
                  !below   ? ""
                  : colour ? "; blue: below 0"
                           : "; blank: below 0 too",
                  colour && n < n_cells ? "; grey: not scored" : "");
    if (out.failed) status = sah_fail_memory(error, "the heat map");

done:
    if (status == SAH_OK)
        *text = out.data;
    else
        free(out.data);
    free(ranked);
    free(values);
    return status;
}
