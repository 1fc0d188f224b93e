/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a chat template: refused with a line, or rendered within its bounds, twice to the same text. What
 * stands behind a byte 0xFF, if any, is the query; the first byte chooses the conversation. */
#include <stdlib.h>
#include <string.h>

#include "model/template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* NULL: refused. */
static char *render(const sah_template *own, const sah_message *messages, size_t n, bool answer)
{
    sah_error error = {0};
    char *prompt = NULL;
    const sah_status status = sah_template_converse(own, messages, n, answer, &prompt, &error);
    if ((status == SAH_OK) != (prompt != NULL) || (status != SAH_OK && error.message[0] == '\0')) abort();
    return prompt;
}

static void render_twice(const sah_chat *chat, uint8_t choice, const char *query)
{
    const sah_message messages[] = {
        {"system", "Be brief."}, {"user", query}, {"assistant", "Yes.\n"}, {"user", "Why?"}};
    const size_t first = choice & 1, n = choice & 2 ? 4 - first : 2 - first;
    const sah_template own = {"chat", chat, NULL};
    char *one = render(&own, messages + first, n, (choice & 4) == 0);
    char *other = render(&own, messages + first, n, (choice & 4) == 0);
    if ((one == NULL) != (other == NULL) || (one != NULL && strcmp(one, other) != 0)) abort();
    free(one);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const char *text = (const char *)data + 1;
    const uint8_t *border = memchr(data + 1, 0xFF, size - 1);
    const size_t length = border != NULL ? (size_t)(border - data) - 1 : size - 1;
    char *query = border != NULL ? strndup((const char *)border + 1, size - length - 2) : strdup("Hi");
    sah_chat chat = {.tokens = json_pack("{s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>")};
    sah_error error = {0};
    if (query == NULL || chat.tokens == NULL || sah_chat_set(&chat, text, length, &error) != SAH_OK) abort();
    if ((chat.jinja == NULL) != (chat.problem != NULL && chat.problem[0] != '\0')) abort();
    if (chat.jinja != NULL) render_twice(&chat, data[0], query);
    sah_chat_free(&chat);
    free(query);
    return 0;
}
