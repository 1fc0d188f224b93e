/* SPDX-License-Identifier: Apache-2.0 */
/* The program `sahara`: finds the command, checks its options and runs it. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "help.h"
#include "machine.h"
#include "nearest.h"

const cli_command *const cli_commands[] = {
    &command_inspect, &command_logits, &command_ships,    &command_find,  &command_direction, &command_rank,
    &command_compare, &command_report, &command_generate, &command_judge, &command_utility,   &command_ablate,
    &command_graft,   &command_bench,  &command_merge,    &command_audit, &command_completion};
enum { N_COMMANDS = sizeof cli_commands / sizeof *cli_commands };
const size_t n_cli_commands = N_COMMANDS;

static void print_help(FILE *file)
{
    fputs("sahara - find the attention heads a language model's safety rests on\n\n"
          "usage: sahara COMMAND [OPTIONS] ARGUMENTS\n\n",
          file);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(file, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    fputs("\n  sahara COMMAND --help      what a command does, and its options\n"
          "  sahara --version           the version\n\n"
          "MODEL is a Hugging Face directory or a .gguf file. QUERIES is CSV, TSV, JSON or plain text, - "
          "for standard\n"
          "input. HEADS are layer-head pairs counted from 0, as 5-6,18-8.\n",
          file);
}

/* Descriptors 0, 1 and 2 that came closed would be given to the next files opened, and what is printed would
 * land in a model or a result. They get /dev/null, open the wrong way round for 0 and 1, so that using them
 * fails. */
static void hold_standard_files(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) _exit(EXIT_FAILED);
    }
}

/* What went to standard output must have got there. */
static int finish(int status)
{
    if (status == EXIT_DONE && (fflush(stdout) != 0 || ferror(stdout))) {
        fprintf(stderr, "sahara: cannot write standard output: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    return status;
}

static int run_command(const cli_command *command, int argc, char **argv)
{
    cli_options options;
    char message[512];
    int status;
    bool parsed = options_parse(argc, argv, command->options, &options, message);
    if (options.given[OPT_HELP]) {
        help_print(command);
        status = EXIT_DONE;
    } else if (!parsed && message[0] == '\0') {
        status = out_of_memory();
    } else if (!parsed) {
        status = usage_error("%s: %s (see sahara %s --help)", command->name, message, command->name);
    } else if (options.n_arguments < command->least) {
        status = usage_error("%s: an argument is missing; usage: sahara %s %s", command->name, command->name,
                             command->arguments);
    } else if (command->most >= 0 && options.n_arguments > command->most) {
        status = usage_error("%s: too many arguments: \"%s\"; usage: sahara %s %s", command->name,
                             options.arguments[command->most], command->name, command->arguments);
    } else {
        status = command->run(&options);
    }
    options_free(&options);
    return finish(status);
}

/* Weights and rows are large blocks. Left to itself glibc takes larger and larger ones from its heaps, where
 * what is freed stays with the process: 125 MB of 670 after SmolLM2 was loaded. */
static void map_large_blocks(void)
{
#ifdef M_MMAP_THRESHOLD
    enum { LARGE = 1 << 18 };
    (void)mallopt(M_MMAP_THRESHOLD, LARGE);
#endif
}

int main(int argc, char **argv)
{
    hold_standard_files();
    machine_settle(argv);
    map_large_blocks();
    machine_catch_lost_files();
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is a write error like any other, */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that may grow no further */
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return finish(EXIT_DONE);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("sahara %s\n", SAH_VERSION);
        return finish(EXIT_DONE);
    }
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0) return run_command(cli_commands[i], argc - 2, argv + 2);
    }
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++) names[i] = cli_commands[i]->name;
    const char *meant = nearest_word(name, names, N_COMMANDS);
    return meant != NULL ? usage_error("no command %.100s; is %s meant? (see sahara --help)", name, meant)
                         : usage_error("no command %.100s (see sahara --help)", name);
}
