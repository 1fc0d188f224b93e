/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer/sentencepiece.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/filekind.h"
#include "util/mapfile.h"
#include "util/utf8.h"

enum { LARGEST_MODEL = 256 << 20 }; /* bytes */

/* ---- Protocol buffers ---------------------------------------------------------------------------------- */

/* The rest of a message. */
typedef struct reader {
    const unsigned char *at, *end;
    bool damaged;
} reader;

typedef enum wire { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32 = 5 } wire;

typedef struct field {
    uint64_t number;
    wire wire;
    uint64_t value; /* of a varint or a fixed number */
    reader bytes;
} field;

/* Seven bits a byte, the lowest first; ten bytes at most. */
static uint64_t varint(reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (r->at == r->end) break;
        const unsigned char byte = *r->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return value;
    }
    r->damaged = true;
    return 0;
}

static uint64_t fixed(reader *r, size_t size)
{
    uint64_t value = 0;
    if ((size_t)(r->end - r->at) < size) {
        r->damaged = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++) value |= (uint64_t)r->at[i] << (8 * i);
    r->at += size;
    return value;
}

/* The next field; false at the end, or where the message is damaged. */
static bool next_field(reader *r, field *out)
{
    if (r->damaged || r->at == r->end) return false;
    const uint64_t key = varint(r);
    *out = (field){.number = key >> 3, .wire = (wire)(key & 7)};
    switch (out->wire) {
    case WIRE_VARINT:
        out->value = varint(r);
        break;
    case WIRE_FIXED64:
        out->value = fixed(r, 8);
        break;
    case WIRE_FIXED32:
        out->value = fixed(r, 4);
        break;
    case WIRE_BYTES:
        out->value = varint(r);
        if (r->damaged || out->value > (uint64_t)(r->end - r->at)) {
            r->damaged = true;
            return false;
        }
        out->bytes = (reader){r->at, r->at + out->value, false};
        r->at += out->value;
        break;
    default: /* groups are not part of this format */
        r->damaged = true;
    }
    return !r->damaged && out->number != 0;
}

static sah_bytes bytes_of(const field *f)
{
    return (sah_bytes){(const char *)f->bytes.at, (size_t)(f->bytes.end - f->bytes.at)};
}

/* ---- The messages: fields that are not named here mean nothing to encoding ----------------------------- */

static bool read_piece(reader r, sah_spm_piece *out)
{
    field f;
    *out = (sah_spm_piece){.text = {"", 0}, .type = SAH_PIECE_NORMAL};
    while (next_field(&r, &f)) {
        const uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.wire == WIRE_BYTES) out->text = bytes_of(&f);
        if (f.number == 2 && f.wire == WIRE_FIXED32) memcpy(&out->score, &bits, sizeof bits);
        if (f.number == 3 && f.wire == WIRE_VARINT) out->type = (int64_t)f.value;
    }
    return !r.damaged;
}

static bool read_trainer(reader r, sah_spm *out)
{
    field f;
    while (next_field(&r, &f)) {
        const int64_t number = (int32_t)f.value;
        if (f.wire == WIRE_VARINT) {
            if (f.number == 3) out->kind = number;
            if (f.number == 35) out->byte_fallback = number != 0;
            if (f.number == 40) out->unknown = number;
            if (f.number == 41) out->bos = number;
            if (f.number == 42) out->eos = number;
        } else if (f.wire == WIRE_BYTES) {
            if (f.number == 45) out->unknown_text = bytes_of(&f);
            if (f.number == 46) out->bos_text = bytes_of(&f);
            if (f.number == 47) out->eos_text = bytes_of(&f);
        }
    }
    return !r.damaged;
}

static bool read_normaliser(reader r, sah_spm *out)
{
    field f;
    while (next_field(&r, &f)) {
        if (f.number == 2 && f.wire == WIRE_BYTES) out->charsmap = bytes_of(&f);
        if (f.wire != WIRE_VARINT) continue;
        if (f.number == 3) out->dummy_prefix = f.value != 0;
        if (f.number == 4) out->trim = f.value != 0;
        if (f.number == 5) out->escape = f.value != 0;
    }
    return !r.damaged;
}

static sah_status add_piece(sah_spm *out, reader r, const char *where, sah_error *error)
{
    if (!sah_grow(&out->pieces, &out->capacity, out->n + 1, sizeof *out->pieces))
        return sah_fail_memory(error, where);
    sah_spm_piece *piece = &out->pieces[out->n];
    if (!read_piece(r, piece)) return sah_fail(error, SAH_FAILED, "%s: piece %zu is damaged", where, out->n);
    if (!sah_utf8_valid(piece->text.data, piece->text.size) ||
        memchr(piece->text.data, '\0', piece->text.size) != NULL)
        return sah_fail(error, SAH_FAILED, "%s: piece %zu is not UTF-8 text", where, out->n);
    out->n++;
    return SAH_OK;
}

/* ---- The file ------------------------------------------------------------------------------------------ */

/* tiktoken's files, which go by the same name, are lines of base64 and a number. */
static bool is_tiktoken(const char *data, size_t size)
{
    size_t n = 0;
    while (n < size && n < 512 && data[n] > ' ' && data[n] <= '~') n++;
    return n > 0 && n + 1 < size && data[n] == ' ' && data[n + 1] >= '0' && data[n + 1] <= '9';
}

sah_status sah_spm_parse(const char *data, size_t size, const char *where, sah_spm *out, sah_error *error)
{
    reader r = {(const unsigned char *)data, (const unsigned char *)data + size, false};
    sah_status status = SAH_OK;
    bool good = true;
    field f;
    *out = (sah_spm){.kind = SAH_SPM_UNIGRAM,
                     .bos = 1,
                     .eos = 2,
                     .unknown_text = {"<unk>", 5},
                     .bos_text = {"<s>", 3},
                     .eos_text = {"</s>", 4},
                     .dummy_prefix = true,
                     .trim = true,
                     .escape = true};
    if (is_tiktoken(data, size))
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s is tiktoken's, not SentencePiece's, and not supported: tokenizer.json is needed",
                        where);
    while (status == SAH_OK && good && next_field(&r, &f)) {
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == 1) status = add_piece(out, f.bytes, where, error);
        if (f.number == 2) good = read_trainer(f.bytes, out);
        if (f.number == 3) good = read_normaliser(f.bytes, out);
    }
    if (status != SAH_OK) return status;
    if (!good || r.damaged || r.at != r.end || out->n == 0)
        return sah_fail(error, SAH_FAILED, "%s is not a SentencePiece model, or is damaged", where);
    if (out->kind != SAH_SPM_UNIGRAM && out->kind != SAH_SPM_BPE)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: a SentencePiece model of kind %lld is not supported (unigram and BPE are)",
                        where, (long long)out->kind);
    return SAH_OK;
}

sah_status sah_spm_read(const char *path, sah_spm *out, sah_error *error)
{
    size_t size;
    *out = (sah_spm){0};
    char *file;
    sah_status status = sah_file_read(path, LARGEST_MODEL, &file, &size, error);
    if (status != SAH_OK) return status;
    status =
        is_tiktoken(file, size) ? SAH_OK : sah_expect_bytes(path, file, size, "a SentencePiece model", error);
    if (status == SAH_OK) status = sah_spm_parse(file, size, path, out, error);
    out->file = file;
    return status;
}

void sah_spm_free(sah_spm *spm)
{
    free(spm->file);
    free(spm->pieces);
    *spm = (sah_spm){0};
}
