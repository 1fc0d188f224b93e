/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the judge: the first byte chooses between a response, a phrase list and a file of responses. */
#include <stdlib.h>

#include "eval/judge/phrases.h"
#include "eval/judge/responses.h"
#include "fuzz_input.h"
#include "sahara.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sah_judge *judge;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, NULL) != SAH_OK) abort();
    return 0;
}

static void one_response(const char *text, size_t size)
{
    sah_verdict verdict;
    if (sah_judge_text(judge, text, size, &verdict, NULL) == SAH_OK && verdict > SAH_DEGENERATE) abort();
}

static void one_list(const char *text, size_t size)
{
    sah_phrases *phrases;
    if (sah_phrases_new(text, size, "list", &phrases, NULL) == SAH_OK) sah_phrases_free(phrases);
}

static void one_file(const char *text, size_t size)
{
    sah_responses responses;
    sah_record response;
    const fuzz_path path = fuzz_file_of(text, size);
    if (sah_responses_open(path.text, NULL, &responses, NULL) == SAH_OK) {
        while (sah_responses_next(&responses, &response, NULL) == SAH_OK && response.object != NULL)
            one_response(response.text, response.length);
        sah_responses_close(&responses);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const char *text = (const char *)data + 1;
    switch (data[0] % 3) {
    case 0:
        one_response(text, size - 1);
        break;
    case 1:
        one_list(text, size - 1);
        break;
    default:
        one_file(text, size - 1);
    }
    return 0;
}
