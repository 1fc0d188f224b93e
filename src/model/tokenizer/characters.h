/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of characters, and the byte alphabet. */
#ifndef SAH_MODEL_TOKENIZER_CHARACTERS_H
#define SAH_MODEL_TOKENIZER_CHARACTERS_H

#include <stdbool.h>
#include <stdint.h>

/* GPT-2's byte alphabet: the character that stands for a byte, and back (-1: none). */
uint32_t sah_byte_character(unsigned char byte);
int sah_character_byte(uint32_t character);

/* Unicode's White_Space, and the word characters of Unicode's recommendation for regular expressions (UTS 18,
 * C: \w). */
bool sah_is_white_space(uint32_t code);
bool sah_is_word_character(uint32_t code);

#endif
