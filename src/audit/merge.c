/* SPDX-License-Identifier: Apache-2.0 */
/* The directories of an audit's shards become one: of the results that are dealt out, the files of one name. What
 * follows from them (verdicts, cards) the audit of the united directory makes anew. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "program.h"
#include "util/error.h"
#include "util/strings.h"

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

static int is_dealt_out(const struct dirent *entry)
{
    const char *name = entry->d_name;
    return name[0] != '.' && ends_with(name, ".jsonl") && !ends_with(name, "-judged.jsonl");
}

/* DIRECTORY/NAME, to `paths`. */
static sah_status add_path(sah_strings *paths, const char *directory, const char *name, sah_error *error)
{
    sah_text path = {0};
    sah_text_addf(&path, "%s/%s", directory, name);
    sah_status status = path.failed ? sah_fail_memory(error, "the paths of results")
                                    : sah_strings_add(paths, path.data, path.size, error);
    free(path.data);
    return status;
}

/* The files of this name in all directories that have it. */
static sah_status merge_name(const char *const *directories, size_t n, const char *name, const char *out,
                             sah_strings *notes, sah_error *error)
{
    sah_strings paths = {0}, to = {0};
    sah_merge_report report = {0};
    sah_text note = {0};
    struct stat info;
    sah_status status = add_path(&to, out, name, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        status = add_path(&paths, directories[i], name, error);
        if (status == SAH_OK && stat(paths.items[paths.n - 1], &info) != 0) free(paths.items[--paths.n]);
    }
    if (status == SAH_OK)
        status = sah_merge((const char *const *)paths.items, paths.n, to.items[0], &report, error);
    if (status == SAH_OK && report.n_missing > 0) {
        sah_text_addf(&note, "%s: %zu of %zu are missing", name, report.n_missing, report.n_expected);
        status = note.failed ? sah_fail_memory(error, "what is missing")
                             : sah_strings_add(notes, note.data, note.size, error);
    }
    sah_merge_report_free(&report);
    free(note.data);
    sah_strings_free(&paths);
    sah_strings_free(&to);
    return status;
}

/* Whether an earlier directory has it too, with which it was merged. */
static bool is_done(const sah_strings *done, const char *name)
{
    for (size_t i = 0; i < done->n; i++)
        if (strcmp(done->items[i], name) == 0) return true;
    return false;
}

sah_status sah_audit_merge(const char *const *directories, size_t n, const char *out, sah_strings *notes,
                           sah_error *error)
{
    sah_strings done = {0};
    sah_status status = SAH_OK;
    if (mkdir(out, 0777) != 0 && errno != EEXIST) status = sah_fail_errno(error, "cannot make", out);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        struct dirent **entries = NULL;
        const int found = scandir(directories[i], &entries, is_dealt_out, alphasort);
        if (found < 0) status = sah_fail_errno(error, "cannot list", directories[i]);
        for (int k = 0; k < found; k++) {
            const char *name = entries[k]->d_name;
            if (status == SAH_OK && !is_done(&done, name)) {
                status = sah_strings_add(&done, name, strlen(name), error);
                if (status == SAH_OK) status = merge_name(directories, n, name, out, notes, error);
            }
            free(entries[k]);
        }
        free(entries);
    }
    sah_strings_free(&done);
    return status;
}
