/* SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int report_error(const sah_error *error)
{
    if (error->status == SAH_INTERRUPTED) {
        /* A run says no more than that; what came to nothing says what it was. */
        const bool run = strcmp(error->message, "interrupted") == 0;
        fprintf(stderr, "sahara: %s%s\n", error->message,
                run ? "; what was finished is kept, and the same command carries on" : "");
        return EXIT_INTERRUPTED;
    }
    char option[64];
    const char *rest = error->message + options_of_field(error, option);
    fprintf(stderr, "sahara: %s%s\n", option, rest);
    return error->status == SAH_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

int report_checkpoint(const cli_options *options, sah_status status, const sah_strings *notes,
                      const sah_error *error)
{
    if (status != SAH_OK) return report_error(error);
    for (size_t i = 0; i < notes->n && !options->quiet; i++) fprintf(stderr, "%s\n", notes->items[i]);
    return EXIT_DONE;
}

int usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("sahara: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_USAGE;
}

int out_of_memory(void)
{
    fputs("sahara: not enough memory\n", stderr);
    return EXIT_FAILED;
}

/* What a failed write left of a file must not be taken for a result. */
static void remove_regular(const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) (void)remove(path);
}

/* Whether a file begins as every run does: hours may lie in it. */
static bool is_run(const char *path)
{
    static const char begins[] = "{\"sahara\":";
    char head[sizeof begins - 1];
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return false;
    FILE *file = fopen(path, "rb");
    const bool is = file != NULL && fread(head, 1, sizeof head, file) == sizeof head &&
                    memcmp(head, begins, sizeof head) == 0;
    if (file != NULL) (void)fclose(file);
    return is;
}

int write_result(const char *path, const char *text)
{
    if (path != NULL && is_run(path)) {
        fprintf(stderr, "sahara: %s holds a run of sahara; write to another file, or remove it\n", path);
        return EXIT_USAGE;
    }
    FILE *file = path != NULL ? fopen(path, "wb") : stdout;
    bool opened = file != NULL, good = opened && fputs(text, file) != EOF && fflush(file) == 0;
    int code = errno;
    if (opened && path != NULL && fclose(file) != 0 && good) {
        good = false;
        code = errno;
    }
    if (good) return EXIT_DONE;
    if (opened && path != NULL) remove_regular(path);
    fprintf(stderr, "sahara: cannot write %s: %s\n", path != NULL ? path : "standard output", strerror(code));
    return EXIT_FAILED;
}
