/* SPDX-License-Identifier: Apache-2.0 */
#include "help.h"

#include <string.h>

/* Groups in the order in which they are printed. An option that stands in none is the command's own. */
static const struct {
    const char *title;
    option_id members[16]; /* N_OPTIONS behind the last */
} groups[] = {
    {"Common options",
     {OPT_HELP, OPT_QUIET, OPT_OUTPUT, OPT_CONTRAST, OPT_ABLATE, OPT_PART, OPT_TEMPLATE, OPT_LIMIT, OPT_TOP,
      OPT_THREADS, N_OPTIONS}},
    {"Options of this command", {N_OPTIONS}},
    {"What is ablated, and how",
     {OPT_OP, OPT_SCALE, OPT_PARTNERS, OPT_MATCH, OPT_DIRECTION, OPT_CONTRAST_PARTNERS, OPT_REFERENCE,
      OPT_POSITIONS, OPT_LAYERS, OPT_HEADS, N_OPTIONS}},
    {"Queries and prompts",
     {OPT_COLUMN, OPT_MATCH_LENGTH, OPT_SYSTEM, OPT_TEMPLATE_VAR, OPT_TEMPLATE_DATE, N_OPTIONS}},
    {"The model and the machine",
     {OPT_ADAPTER, OPT_ADAPTER_B, OPT_PRECISION, OPT_MEMORY, OPT_SHARD, OPT_TOGETHER, N_OPTIONS}},
};
enum { N_GROUPS = sizeof groups / sizeof *groups, OWN = 1, INDENT = 32 };

static int group_of(option_id id)
{
    for (int g = 0; g < N_GROUPS; g++)
        for (const option_id *member = groups[g].members; *member != N_OPTIONS; member++)
            if (*member == id) return g;
    return OWN;
}

static void print_option(const option_spec *spec)
{
    char left[64], letter[8] = "    ";
    if (spec->letter != 0) snprintf(letter, sizeof letter, "-%c, ", spec->letter);
    snprintf(left, sizeof left, spec->kind == MAYBE_CHOICE ? "  %s--%s [%s]" : "  %s--%s %s", letter,
             spec->name, spec->argument != NULL ? spec->argument : "");
    if (strlen(left) >= INDENT)
        printf("%s\n%*s", left, INDENT, "");
    else
        printf("%-*s", INDENT, left);
    for (const char *c = spec->help; *c != '\0'; c++) {
        if (*c == '\n')
            printf("\n%*s", INDENT, "");
        else
            putchar(*c);
    }
    putchar('\n');
}

void help_print(const cli_command *command)
{
    printf("sahara %s - %s\n\nusage: sahara %s [OPTIONS] %s\n\n%s", command->name, command->summary,
           command->name, command->arguments, command->details);
    for (int g = 0; g < N_GROUPS; g++) {
        bool titled = false;
        for (int i = 0; i < N_OPTIONS; i++) {
            if (!options_understood(command->options, (option_id)i) || group_of((option_id)i) != g) continue;
            if (!titled) printf("\n%s:\n", groups[g].title);
            titled = true;
            print_option(&options_table[i]);
        }
    }
}
