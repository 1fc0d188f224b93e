/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/pieces.h"

#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

void sah_pieces_free(sah_pieces *pieces)
{
    free(pieces->text.data);
    free(pieces->items);
    *pieces = (sah_pieces){0};
}

sah_status sah_pieces_add(sah_pieces *pieces, sah_piece piece, sah_error *error)
{
    if (!sah_grow(&pieces->items, &pieces->capacity, pieces->n + 1, sizeof *pieces->items))
        return sah_fail_memory(error, "the parts of a text");
    pieces->items[pieces->n++] = piece;
    return SAH_OK;
}
