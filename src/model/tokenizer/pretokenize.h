/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to a text before its words are merged into tokens: it is normalised and cut into words. The order and
 * the meaning of every step are those of the tokenizers library. */
#ifndef SAH_MODEL_TOKENIZER_PRETOKENIZE_H
#define SAH_MODEL_TOKENIZER_PRETOKENIZE_H

#include "model/tokenizer/charsmap.h"
#include "model/tokenizer/pattern.h"
#include "model/tokenizer/pieces.h"
#include "model/tokenizer/vocab.h"

typedef enum sah_step_kind {
    SAH_STEP_NORMALISE, /* to a Unicode normal form: `form` holds utf8proc's options */
    SAH_STEP_PREPEND, /* `text` in front */
    SAH_STEP_REPLACE, /* every match by `text` */
    SAH_STEP_STRIP, /* white space at the ends */
    SAH_STEP_CHARSMAP, /* through `charsmap` */
    SAH_STEP_LOWERCASE,
    SAH_STEP_STRIP_MARKS, /* without marks: accents, where they are characters of their own */
    SAH_STEP_NMT, /* SentencePiece's rule "nmt": control characters away, other blanks to one blank */
    SAH_STEP_SPLIT, /* at the matches */
    SAH_STEP_CUT, /* `tokens` cut out */
    SAH_STEP_BYTES /* every byte becomes a character that can be seen (GPT-2's byte alphabet) */
} sah_step_kind;

typedef enum sah_split { /* what becomes of a match */
                         SAH_SPLIT_ISOLATED, /* a piece of its own */
                         SAH_SPLIT_REMOVED,
                         SAH_SPLIT_WITH_PREVIOUS, /* the end of the piece before it */
                         SAH_SPLIT_WITH_NEXT, /* the beginning of the piece behind it */
                         SAH_SPLIT_CONTIGUOUS /* neighbouring matches are one piece */
} sah_split;

typedef struct sah_step {
    sah_step_kind kind;
    sah_pattern *pattern; /* replace, split */
    char *text; /* prepend, replace */
    int form;
    sah_charsmap *charsmap;
    struct sah_added_set *tokens;
    bool clusters; /* charsmap: by grapheme clusters */
    sah_split split;
    bool invert; /* split: what lies between the matches counts as match */
    bool unless_there; /* prepend: not where the piece begins with `text` */
    bool first_only; /* prepend: only where the whole text begins */
    bool left, right; /* strip */
} sah_step;

typedef struct sah_steps {
    sah_step *items;
    size_t n, capacity;
} sah_steps;

/* Takes over what the step owns, also when it fails. */
sah_status sah_steps_add(sah_steps *steps, sah_step step, sah_error *error);
void sah_steps_free(sah_steps *steps);

/* Puts the pieces through the steps in order; pieces that become empty vanish. */
sah_status sah_steps_apply(const sah_steps *steps, sah_pieces *pieces, sah_spans *scratch, sah_error *error);

#endif
