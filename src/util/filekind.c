/* SPDX-License-Identifier: Apache-2.0 */
#include "util/filekind.h"

#include <string.h>
#include <strings.h>

#include "util/error.h"

/* ---- What downloads leave in a file's place ------------------------------------------------------------ */

/* The pointer's first line: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md */
static const char lfs_line[] = "version https://git-lfs.github.com/spec/";

enum { HTML_HEAD = 4096 /* bytes in which a page's head or body begins */ };

static bool begins(const char *text, size_t size, const char *with)
{
    size_t n = strlen(with);
    return size >= n && strncasecmp(text, with, n) == 0;
}

/* A page says so in its first line, or begins with <html> and soon has a head or a body: a line of text about
 * the tag is no page. */
static bool is_html(const char *text, size_t size)
{
    size_t at = size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (at < size && text[at] != '\0' && strchr(" \t\r\n", text[at]) != NULL) at++;
    if (begins(text + at, size - at, "<!doctype html")) return true;
    if (!begins(text + at, size - at, "<html")) return false;
    for (size_t end = size - at < HTML_HEAD ? size : at + HTML_HEAD; at < end; at++) {
        if (begins(text + at, size - at, "<head") || begins(text + at, size - at, "<body")) return true;
    }
    return false;
}

static sah_status refuse_download(const char *where, const void *data, size_t size, const char *wanted,
                                  sah_error *error)
{
    if (size >= sizeof lfs_line - 1 && memcmp(data, lfs_line, sizeof lfs_line - 1) == 0) {
        return sah_fail(
            error, SAH_FAILED,
            "%s is a Git LFS pointer, not %s: it only names the file; fetch that with `git lfs pull`", where,
            wanted);
    }
    if (is_html(data, size)) {
        return sah_fail(error, SAH_FAILED,
                        "%s is an HTML page, not %s: download the file itself, not the page about it", where,
                        wanted);
    }
    return SAH_OK;
}

/* ---- Containers ---------------------------------------------------------------------------------------- */

/* With the byte behind a name in letters: a text may begin with the letters. */
static const struct magic {
    const char *bytes;
    size_t size;
    const char *name;
} MAGICS[] = {
    {"PAR1\x15", 5, "a Parquet file"},
    {"ARROW1\0", 7, "an Arrow file"},
    {"FEA1\0", 5, "a Feather file"},
    {"PK\3\4", 4, "a zip archive (as .xlsx, .ods and .npz files are)"},
    {"\xD0\xCF\x11\xE0", 4, "an old Excel or Word file"},
    {"\x1F\x8B", 2, "gzip compressed"},
    {"\x28\xB5\x2F\xFD", 4, "zstd compressed"},
    {"\xFD"
     "7zXZ",
     5, "xz compressed"},
    {"7z\xBC\xAF", 4, "a 7z archive"},
    {"SQLite format 3", 16, "an SQLite database"},
    {"%PDF-", 5, "a PDF"},
    {"\x93NUMPY", 6, "a NumPy array"},
    {"\x80\2", 2, "a Python pickle"},
    {"\x80\3", 2, "a Python pickle"},
    {"\x80\4", 2, "a Python pickle"},
    {"\x80\5", 2, "a Python pickle"},
    {"Obj\1", 4, "an Avro file"},
    {"\x89HDF", 4, "an HDF5 file"},
    {"GGUF\3", 5, "a GGUF file"},
};

static const char *container(const void *data, size_t size)
{
    for (size_t i = 0; i < sizeof MAGICS / sizeof *MAGICS; i++) {
        if (size >= MAGICS[i].size && memcmp(data, MAGICS[i].bytes, MAGICS[i].size) == 0)
            return MAGICS[i].name;
    }
    const bool parquet = size >= 8 && memcmp(data, "PAR1", 4) == 0 &&
                         memcmp((const char *)data + size - 4, "PAR1", 4) == 0; /* at both ends */
    return parquet ? "a Parquet file" : NULL;
}

/* By its mark, or by the NULs beside the first character, which is ASCII in nearly every file. */
static bool is_wide(const unsigned char *data, size_t size)
{
    if (size >= 2 && ((data[0] == 0xFF && data[1] == 0xFE) || (data[0] == 0xFE && data[1] == 0xFF)))
        return true;
    if (size < 4) return false;
    const bool little = data[0] != 0 && data[1] == 0 && data[3] == 0;
    const bool big = data[0] == 0 && (data[1] != 0 ? data[2] == 0 : data[2] == 0 || data[2] == 0xFE);
    return little || big;
}

sah_status sah_expect_text(const char *where, const void *data, size_t size, const char *wanted,
                           sah_error *error)
{
    sah_status status = refuse_download(where, data, size, wanted, error);
    if (status != SAH_OK) return status;
    const char *name = container(data, size);
    if (name != NULL) return sah_fail(error, SAH_FAILED, "%s is %s, not %s", where, name, wanted);
    if (is_wide(data, size))
        return sah_fail(error, SAH_FAILED, "%s is UTF-16 or UTF-32 text: save it as UTF-8", where);
    return SAH_OK;
}

sah_status sah_expect_bytes(const char *where, const void *data, size_t size, const char *wanted,
                            sah_error *error)
{
    enum { SHOWN = 40 };
    const char *text = data;
    if (size == 0) {
        return sah_fail(error, SAH_FAILED, "%s is empty: was it downloaded in full?", where);
    }
    sah_status status = refuse_download(where, data, size, wanted, error);
    if (status != SAH_OK) return status;
    size_t n = 0;
    while (n < size && n < SHOWN && ((text[n] >= ' ' && text[n] <= '~') || text[n] == '\n')) n++;
    if (n < SHOWN && n < size) return SAH_OK;
    const char *end = memchr(text, '\n', n);
    return sah_fail(error, SAH_FAILED, "%s is text, not %s: it begins \"%.*s\"", where, wanted,
                    (int)(end != NULL ? end - text : (ptrdiff_t)n), text);
}
