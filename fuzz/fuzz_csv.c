/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as CSV, and as a list of queries. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_input.h"
#include "util/csv.h"
#include "util/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const sah_strings *strings)
{
    for (size_t i = 0; i < strings->n; i++) {
        if (!sah_utf8_valid(strings->items[i], strlen(strings->items[i]))) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sah_error error;
    sah_strings fields = {0}, queries;
    size_t at = 0, line = 1, before;
    do {
        before = at;
        if (sah_csv_record((const char *)data, size, ',', &at, &line, &fields, "input", &error) != SAH_OK)
            break;
        if ((fields.n == 0) != (before == size) || (fields.n > 0 && at <= before)) abort();
        check(&fields);
    } while (fields.n > 0);
    sah_strings_free(&fields);
    const fuzz_path path = fuzz_file_of(data, size);
    if (sah_queries_read(path.text, NULL, 0, &queries, &error) == SAH_OK) {
        if (queries.n == 0) abort();
        check(&queries);
    }
    sah_strings_free(&queries);
    return 0;
}
