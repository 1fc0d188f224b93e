/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a list of queries, of pairs, of partners or of items. The first byte chooses the reader and the file's
 * name, by which its form is told. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_scratch.h"
#include "fuzz_json_mutate.h"
#include "sahara.h"
#include "util/utf8.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"q", "q.txt", "q.csv", "q.tsv", "q.jsonl", "q.json"};
enum { N_NAMES = sizeof names / sizeof *names };

static bool fuzz_holds_json(const uint8_t *data, size_t size)
{
    return size > 0 && data[0] % N_NAMES >= 4;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_scratch_make(names[0]);
    for (size_t i = 1; i < N_NAMES; i++) fuzz_folder_link(&folder, names[i], names[0]);
    return 0;
}

static void check(const sah_strings *strings)
{
    for (size_t i = 0; i < strings->n; i++)
        if (!sah_utf8_valid(strings->items[i], strlen(strings->items[i]))) abort();
}

static void check_items(const sah_items *items)
{
    for (size_t i = 0; i < items->n; i++)
        if (items->items[i].choices.n == 0 || items->items[i].label >= items->items[i].choices.n) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sah_error error = {0};
    sah_strings queries = {0}, partners = {0};
    sah_items items = {0};
    sah_status status;
    if (size == 0) return 0;
    const fuzz_path path = fuzz_path_in(&folder, names[data[0] % N_NAMES]);
    fuzz_set(file, data + 1, size - 1);
    switch (data[0] / N_NAMES % 4) {
    case 0:
        status = sah_queries_read(path.text, NULL, 0, &queries, &error);
        if (status == SAH_OK && queries.n == 0) abort();
        break;
    case 1:
        status = sah_pairs_read(path.text, NULL, 3, &queries, &partners, &error);
        if (status == SAH_OK && (queries.n != partners.n || queries.n == 0 || queries.n > 3)) abort();
        break;
    case 2:
        status = sah_partners_read(path.text, "text", 0, &partners, &error);
        break;
    default:
        status = sah_items_read(path.text, 0, &items, &error);
        if (status == SAH_OK && items.n == 0) abort();
        check_items(&items);
    }
    if (status != SAH_OK && error.message[0] == '\0') abort();
    if (strchr(error.message, '\n') != NULL) abort();
    check(&queries);
    check(&partners);
    sah_strings_free(&queries);
    sah_strings_free(&partners);
    sah_items_free(&items);
    return 0;
}
