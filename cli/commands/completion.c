/* SPDX-License-Identifier: Apache-2.0 */
/* sahara completion: scripts by which shells complete commands, options and their words. */
#include <string.h>

#include "command.h"

/* Whether an option's value is one of a few words. */
static bool has_words(const option_spec *spec)
{
    return spec->kind == WORD || spec->kind == CHOICE || spec->kind == MAYBE_CHOICE || spec->kind == PARTS ||
           spec->kind == SHARD;
}

/* These words, apart by blanks. */
static void add_words(FILE *out, const option_spec *spec)
{
    const char *words = spec->kind == SHARD ? "auto" : spec->argument;
    for (const char *c = words; *c != '\0' && *c != '.'; c++) fputc(*c == '|' ? ' ' : *c, out);
}

/* The first line of a text, with a backslash before each character of `escaped`, and what one pair of single quotes
 * in a shell needs. */
static void add_text(FILE *out, const char *text, const char *escaped)
{
    for (const char *c = text; *c != '\0' && *c != '\n'; c++) {
        if (*c == '\'') {
            fputs("'\\''", out);
            continue;
        }
        if (strchr(escaped, *c) != NULL) fputc('\\', out);
        fputc(*c, out);
    }
}

static void write_bash(FILE *out)
{
    fputs("# bash completion of sahara\n"
          "_sahara() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} words=\n"
          "    COMPREPLY=()\n"
          "    if ((COMP_CWORD == 1)); then\n"
          "        words='",
          out);
    for (size_t i = 0; i < n_cli_commands; i++) fprintf(out, "%s ", cli_commands[i]->name);
    fputs("--help --version'\n    else\n        case ${COMP_WORDS[COMP_CWORD - 1]} in\n", out);
    for (int i = 0; i < N_OPTIONS; i++) {
        if (!has_words(&options_table[i])) continue;
        fprintf(out, "        --%s) words='", options_table[i].name);
        add_words(out, &options_table[i]);
        fputs("' ;;\n", out);
    }
    fputs("        esac\n        if [[ -z $words && $word == -* ]]; then\n            case ${COMP_WORDS[1]} "
          "in\n",
          out);
    for (size_t i = 0; i < n_cli_commands; i++) {
        fprintf(out, "            %s) words='", cli_commands[i]->name);
        for (int o = 0; o < N_OPTIONS; o++)
            if (options_understood(cli_commands[i]->options, (option_id)o))
                fprintf(out, "--%s ", options_table[o].name);
        fputs("' ;;\n", out);
    }
    fputs("            esac\n        fi\n    fi\n"
          "    [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
          "}\n"
          "complete -o bashdefault -o default -F _sahara sahara\n",
          out);
}

static void write_zsh_option(FILE *out, const option_spec *spec)
{
    fprintf(out, " \\\n            '%s--%s[", spec->kind == LIST ? "*" : "", spec->name);
    add_text(out, spec->help, "[]\\");
    fputs("]", out);
    if (has_words(spec)) {
        fprintf(out, ":%s:(", spec->kind == SHARD ? "shard" : spec->name);
        add_words(out, spec);
        fputs(")", out);
    } else if (spec->argument != NULL) {
        fputs(":", out);
        add_text(out, spec->argument, ":\\");
        fputs(":_files", out);
    }
    fputs("'", out);
}

static void write_zsh(FILE *out)
{
    fputs("#compdef sahara\n"
          "local -a commands\n"
          "commands=(",
          out);
    for (size_t i = 0; i < n_cli_commands; i++) {
        fprintf(out, "\n    '%s:", cli_commands[i]->name);
        add_text(out, cli_commands[i]->summary, ":\\");
        fputs("'", out);
    }
    fputs("\n)\n"
          "if ((CURRENT == 2)); then\n"
          "    _describe command commands\n"
          "else\n"
          "    shift words\n"
          "    ((CURRENT--))\n"
          "    case $words[1] in\n",
          out);
    for (size_t i = 0; i < n_cli_commands; i++) {
        fprintf(out, "    %s)\n        _arguments", cli_commands[i]->name);
        for (int o = 0; o < N_OPTIONS; o++)
            if (options_understood(cli_commands[i]->options, (option_id)o))
                write_zsh_option(out, &options_table[o]);
        fputs(" \\\n            '*:file:_files' ;;\n", out);
    }
    fputs("    esac\nfi\n", out);
}

static void write_fish(FILE *out)
{
    fputs("# fish completion of sahara\n", out);
    for (size_t i = 0; i < n_cli_commands; i++) {
        const cli_command *command = cli_commands[i];
        fprintf(out, "complete -c sahara -n __fish_use_subcommand -f -a %s -d '", command->name);
        add_text(out, command->summary, "\\");
        fputs("'\n", out);
        for (int o = 0; o < N_OPTIONS; o++) {
            const option_spec *spec = &options_table[o];
            if (!options_understood(command->options, (option_id)o)) continue;
            fprintf(out, "complete -c sahara -n '__fish_seen_subcommand_from %s' -l %s", command->name,
                    spec->name);
            if (spec->letter != 0) fprintf(out, " -s %c", spec->letter);
            if (has_words(spec)) {
                fputs(" -x -a '", out);
                add_words(out, spec);
                fputs("'", out);
            } else if (spec->argument != NULL) {
                fputs(" -r", out);
            }
            fputs(" -d '", out);
            add_text(out, spec->help, "\\");
            fputs("'\n", out);
        }
    }
}

static int run(const cli_options *o)
{
    static const struct {
        const char *name;
        void (*write)(FILE *);
    } shells[] = {{"bash", write_bash}, {"zsh", write_zsh}, {"fish", write_fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(o->arguments[0], shells[i].name) != 0) continue;
        shells[i].write(stdout);
        return EXIT_DONE;
    }
    return usage_error("completion: %.100s is not bash, zsh or fish", o->arguments[0]);
}

const cli_command command_completion = {
    .name = "completion",
    .arguments = "bash|zsh|fish",
    .summary = "a script for the shell that completes commands and options",
    .details = "Prints the script. make install puts it where the shells look; otherwise:\n\n"
               "  bash   source <(sahara completion bash)           in ~/.bashrc\n"
               "  zsh    sahara completion zsh > DIR/_sahara        a DIR of $fpath\n"
               "  fish   sahara completion fish | source            in ~/.config/fish/config.fish\n",
    .options = {OPT_HELP},
    .least = 1,
    .most = 1,
    .run = run,
};
