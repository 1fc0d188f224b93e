/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a result file: resumed as a journal or merged with itself, by its size; or, for one size of 64 each,
 * read, ranked and drawn, or reported, which takes ten times as long. Whatever a line may be, none of it ends in a
 * signal, and every failure says why in one line. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_scratch.h"
#include "fuzz_json_mutate.h"
#include "run/journal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool fuzz_holds_json(const uint8_t *data, size_t size)
{
    (void)data;
    return size > 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_scratch_make("result.jsonl");
    /* What is written is not looked at, and takes long to make and remove. */
    fuzz_folder_link(&folder, "page.html", "/dev/null");
    fuzz_folder_link(&folder, "merged.jsonl", "/dev/null");
    return 0;
}

/* A failure says why, in one line. */
static bool good(sah_status status, const sah_error *error)
{
    if (status != SAH_OK && (error->message[0] == '\0' || strchr(error->message, '\n') != NULL)) abort();
    return status == SAH_OK;
}

static sah_status count(void *ctx, const json_t *line, size_t number, sah_error *error)
{
    (void)line;
    (void)number;
    (void)error;
    ++*(size_t *)ctx;
    return SAH_OK;
}

/* Resumed with its own header, which must then be there unchanged; its lines are there again the next time. */
static void resume(const char *path)
{
    sah_error error = {0};
    json_t *header = NULL;
    size_t lines[2] = {0, 0};
    bool added = false;
    if (!good(sah_journal_read_header(path, "ships", &header, &error), &error) || header == NULL) return;
    for (size_t turn = 0; turn < 2; turn++) {
        sah_journal *journal = NULL;
        const bool opened =
            good(sah_journal_open(path, header, count, &lines[turn], (sah_line_sink){0}, &journal, &error),
                 &error);
        if (opened && turn == 0) added = good(sah_journal_add(journal, "{}", 2, &error), &error);
        sah_journal_close(journal, NULL);
        if (!opened && turn == 1) abort();
        if (!added) break;
    }
    if (added && lines[0] + 1 != lines[1]) abort();
    json_decref(header);
}

static void read_result(const char *path)
{
    sah_error error = {0};
    sah_result *result = NULL;
    char *text = NULL;
    if (!good(sah_result_open(&path, 1, &result, &error), &error)) return;
    const sah_rank_options by_query = {.format = SAH_FORMAT_JSON, .by_query = true};
    if (good(sah_rank_text(result, &(sah_rank_options){0}, &text, &error), &error)) free(text);
    if (good(sah_rank_text(result, &by_query, &text, &error), &error)) free(text);
    if (good(sah_heat_map(result, SAH_ORDER_DEFAULT, false, 80, &text, &error), &error)) free(text);
    if (good(sah_concentration_text(result, SAH_FORMAT_TSV, &text, &error), &error)) free(text);
    const sah_result *both[] = {result, result};
    if (good(sah_compare_text(both, 2, SAH_ORDER_DEFAULT, SAH_FORMAT_JSON, &text, &error), &error))
        free(text);
    sah_result_close(result);
}

static void report(const char *path)
{
    sah_error error = {0};
    const fuzz_path page = fuzz_path_in(&folder, "page.html");
    good(sah_report(&path, 1, &(sah_report_options){0}, page.text, &error), &error);
}

static void merge(const char *path)
{
    sah_error error = {0};
    sah_merge_report told = {0};
    const char *const both[] = {path, path};
    const fuzz_path merged = fuzz_path_in(&folder, "merged.jsonl");
    good(sah_merge(both, 2, merged.text, &told, &error), &error);
    sah_merge_report_free(&told);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fuzz_path path = fuzz_path_in(&folder, "result.jsonl");
    fuzz_set(file, data, size);
    if (size % 64 == 0)
        read_result(path.text);
    else if (size % 64 == 32)
        report(path.text);
    else if (size % 2 == 0)
        merge(path.text);
    else
        resume(path.text);
    return 0;
}
