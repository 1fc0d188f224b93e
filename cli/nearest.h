/* SPDX-License-Identifier: Apache-2.0 */
/* What was meant by a word that is not known. */
#ifndef SAH_CLI_NEAREST_H
#define SAH_CLI_NEAREST_H

#include <stddef.h>

/* The one of `words` that `word` is most likely a slip of: at most a third of its letters changed, left out, added or
 * swapped with the next (optimal string alignment), or its beginning, where only one begins so. NULL: none. */
const char *nearest_word(const char *word, const char *const *words, size_t n);

#endif
