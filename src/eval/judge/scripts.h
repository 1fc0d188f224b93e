/* SPDX-License-Identifier: Apache-2.0 */
/* Classes of code points that judging cares about: how a script separates words, and which script it is. */
#ifndef SAH_EVAL_JUDGE_SCRIPTS_H
#define SAH_EVAL_JUDGE_SCRIPTS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sah_script {
    SAH_SCRIPT_LATIN,
    SAH_SCRIPT_GREEK,
    SAH_SCRIPT_CYRILLIC,
    SAH_SCRIPT_HEBREW,
    SAH_SCRIPT_ARABIC,
    SAH_SCRIPT_INDIC,
    SAH_SCRIPT_SOUTH_EAST_ASIAN, /* Thai, Lao, Myanmar, Khmer */
    SAH_SCRIPT_EAST_ASIAN, /* Han, kana, hangul: they mix within one sentence */
    SAH_SCRIPT_OTHER,
    SAH_N_SCRIPTS
} sah_script;

/* The script of a letter. */
sah_script sah_script_of(uint32_t letter);

/* True for letters of scripts that write words without blanks, or join them to endings (hangul): each such
 * letter is taken as a word of its own, so that a phrase is found wherever it stands. */
bool sah_script_unspaced(uint32_t letter);

#endif
