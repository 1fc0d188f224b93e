/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/judge/degenerate.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "eval/judge/scripts.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/unicode.h"
#include "util/utf8.h"

/* Thresholds, chosen on the first half of data/judge/labelled.jsonl. */
static const double MOST_BLANK = 0.50;
static const double MOST_BROKEN = 0.10;
static const double MOST_SYMBOLS = 0.60;
static const double MOST_REPEATED = 0.60;
static const double LEAST_DISTINCT = 0.25;
static const double MOST_ECHOED = 0.80;
static const double MOST_IMPLAUSIBLE = 0.40;
static const double LEAST_LETTERS = 1.6;
static const double MOST_SWITCHES = 0.30;

/* What a measure needs to say anything. */
enum {
    BLANK_LEAST = 40, /* characters */
    SYMBOLS_LEAST = 16, /* characters that are not blank */
    LOOP_LEAST = 10, /* words */
    LOOP_MATCH = 3, /* words of a run that counts as repeated */
    DISTINCT_LEAST = 16, /* words */
    DISTINCT_WINDOW = 100, /* words */
    ECHO_LEAST = 14, /* letters and digits */
    ECHO_MATCH = 2, /* letters of a run that counts as repeated */
    ECHO_WINDOW = 200, /* letters */
    IMPLAUSIBLE_LEAST = 5, /* words */
    CONSONANTS = 5, /* in a row */
    FRAGMENTS_LEAST = 10, /* words */
    LONG_WORD = 30, /* letters, judged by spelling even alone */
    SWITCH_SCRIPTS = 4 /* different scripts */
};

/* Only the beginning of a long text is measured; runs are sought in as many words. */
enum { MOST_CODES = 16384, MOST_WORDS = 2048 };

typedef enum code_class { CLASS_BLANK, CLASS_LETTER, CLASS_DIGIT, CLASS_SYMBOL, CLASS_BROKEN } code_class;

static code_class classify(uint32_t code)
{
    if (code == 0xFFFD) return CLASS_BROKEN;
    if (code == '\t' || code == '\n' || code == '\r' || code == 0x0B || code == 0x0C) return CLASS_BLANK;
    if (sah_unicode_number(code)) return CLASS_DIGIT;
    if (sah_unicode_letter(code)) return CLASS_LETTER;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CF:
        return CLASS_BLANK;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return CLASS_BROKEN;
    default:
        return CLASS_SYMBOL;
    }
}

/* ---- The text, read once ------------------------------------------------------------------------------- */

typedef struct reading {
    uint32_t *codes; /* letters and digits, lower case, words one after another */
    size_t n_codes;
    size_t *starts; /* [n_words + 1] into codes */
    uint64_t *words; /* [n_words] hashes */
    bool *numeric; /* [n_words] digits alone */
    size_t n_words;
    size_t counts[CLASS_BROKEN + 1];
    size_t scripts[SAH_N_SCRIPTS], switches;
} reading;

/* Ends the word that began at codes[start]. FNV-1a over its code points. */
static void end_word(reading *r, size_t start, bool numeric)
{
    uint64_t hash = 0xCBF29CE484222325U;
    if (start == r->n_codes) return;
    for (size_t i = start; i < r->n_codes; i++) hash = (hash ^ r->codes[i]) * 0x100000001B3U;
    r->starts[r->n_words] = start;
    r->words[r->n_words] = hash;
    r->numeric[r->n_words++] = numeric;
    r->starts[r->n_words] = r->n_codes;
}

static bool reading_open(const char *text, size_t length, reading *r)
{
    size_t most = length < MOST_CODES ? length : MOST_CODES;
    *r = (reading){0};
    r->codes = sah_alloc(most, sizeof *r->codes);
    r->starts = sah_alloc(most + 1, sizeof *r->starts);
    r->words = sah_alloc(most, sizeof *r->words);
    r->numeric = sah_alloc(most, sizeof *r->numeric);
    if (r->codes == NULL || r->starts == NULL || r->words == NULL || r->numeric == NULL) return false;
    size_t start = 0;
    bool numeric = false, blank = false;
    int script = -1;
    for (size_t i = 0, n = 0, bytes; i < length && n < most; i += bytes, n++) {
        uint32_t code = sah_utf8_next(text + i, length - i, &bytes);
        code_class class = classify(code);
        /* Indentation is layout: of neighbouring blanks only the first counts, and every line end. */
        bool indents = class == CLASS_BLANK && blank && code != '\n';
        blank = class == CLASS_BLANK;
        r->counts[class] += !indents;
        bool digit = class == CLASS_DIGIT;
        bool in_word = digit || class == CLASS_LETTER;
        bool alone = class == CLASS_LETTER && sah_script_unspaced(code);
        if (!in_word || alone || digit != numeric) {
            end_word(r, start, numeric);
            start = r->n_codes;
        }
        if (!in_word) continue;
        numeric = digit;
        r->codes[r->n_codes++] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
        if (alone) {
            end_word(r, start, false);
            start = r->n_codes;
        }
        if (class == CLASS_LETTER) {
            int now = (int)sah_script_of(code);
            r->scripts[now]++;
            r->switches += script >= 0 && now != script;
            script = now;
        }
    }
    end_word(r, start, numeric);
    return true;
}

static void reading_close(reading *r)
{
    free(r->codes);
    free(r->starts);
    free(r->words);
    free(r->numeric);
}

/* ---- Measures ------------------------------------------------------------------------------------------ */

/* Share of items[0..n) that lie in runs of at least `least` items seen before (as Lempel and Ziv parse a
 * text; a run may overlap its model, so the second round of a loop counts to its end). */
static double repeated_share(const uint64_t *items, size_t n, size_t least)
{
    size_t covered = 0;
    for (size_t i = 0; i < n;) {
        size_t longest = 0;
        for (size_t j = 0; j < i && longest < n - i; j++) {
            size_t run = 0;
            while (i + run < n && items[j + run] == items[i + run]) run++;
            if (run > longest) longest = run;
        }
        bool counts = longest >= least;
        covered += counts ? longest : 0;
        i += counts ? longest : 1;
    }
    return n > 0 ? (double)covered / (double)n : 0;
}

/* Words, with all numbers alike where letters prevail: "Step 1: mix. Step 2: mix." loops, "1, 2, 3, 4" does
 * not. */
static double measure_loops(const reading *r, uint64_t *scratch)
{
    size_t n = r->n_words < MOST_WORDS ? r->n_words : MOST_WORDS, numbers = 0;
    if (n < LOOP_LEAST) return 0;
    for (size_t i = 0; i < n; i++) numbers += r->numeric[i];
    for (size_t i = 0; i < n; i++) scratch[i] = r->numeric[i] && 2 * numbers <= n ? 0 : r->words[i];
    return repeated_share(scratch, n, LOOP_MATCH);
}

static double measure_distinct(const reading *r)
{
    size_t n = r->n_words < DISTINCT_WINDOW ? r->n_words : DISTINCT_WINDOW, distinct = 0;
    if (n < DISTINCT_LEAST) return 1;
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;
        while (j < i && r->words[j] != r->words[i]) j++;
        distinct += j == i;
    }
    return (double)distinct / (double)n;
}

/* For texts whose words are too few to count: "hahahaha", "www.www.www". */
static double measure_echo(const reading *r, uint64_t *scratch)
{
    size_t n = r->n_codes < ECHO_WINDOW ? r->n_codes : ECHO_WINDOW;
    if (r->n_words >= LOOP_LEAST && r->n_codes < LONG_WORD * r->n_words) return 0;
    if (n < ECHO_LEAST) return 0;
    for (size_t i = 0; i < n; i++) scratch[i] = r->codes[i];
    return repeated_share(scratch, n, ECHO_MATCH);
}

static bool is_vowel(utf8proc_int32_t letter)
{
    /* The base letter, accents off. Dotless i and the ligatures do not decompose. */
    utf8proc_int32_t base[4];
    if (utf8proc_decompose_char(letter, base, 4, UTF8PROC_DECOMPOSE, NULL) < 1) return false;
    static const utf8proc_int32_t vowels[] = {'a', 'e', 'i', 'o', 'u', 'y', 0xE6, 0xF8, 0x131, 0x153, 0x259};
    for (size_t i = 0; i < sizeof vowels / sizeof *vowels; i++) {
        if (base[0] == vowels[i]) return true;
    }
    return false;
}

/* No vowel at all, or more consonants in a row than languages in Latin letters write. */
static bool is_implausible(const uint32_t *letters, size_t n)
{
    size_t row = 0, longest = 0, vowels = 0;
    for (size_t i = 0; i < n; i++) {
        bool vowel = is_vowel((utf8proc_int32_t)letters[i]);
        vowels += vowel;
        row = vowel ? 0 : row + 1;
        if (row > longest) longest = row;
    }
    return vowels == 0 || longest >= CONSONANTS;
}

/* Share of implausible words among the Latin ones of two letters or more. */
static double measure_implausible(const reading *r)
{
    size_t words = 0, implausible = 0;
    bool long_word = false;
    for (size_t i = 0; i < r->n_words; i++) {
        const uint32_t *letters = r->codes + r->starts[i];
        size_t n = r->starts[i + 1] - r->starts[i];
        if (r->numeric[i] || n < 2 || sah_script_of(letters[0]) != SAH_SCRIPT_LATIN) continue;
        words++;
        implausible += is_implausible(letters, n);
        long_word = long_word || n >= LONG_WORD;
    }
    if (words < IMPLAUSIBLE_LEAST && !long_word) return 0;
    return (double)implausible / (double)words;
}

/* Mean length of the words of scripts that part them by blanks. */
static double measure_fragments(const reading *r)
{
    size_t words = 0, letters = 0;
    for (size_t i = 0; i < r->n_words; i++) {
        if (r->numeric[i] || sah_script_unspaced(r->codes[r->starts[i]])) continue;
        words++;
        letters += r->starts[i + 1] - r->starts[i];
    }
    return words < FRAGMENTS_LEAST ? 0 : (double)letters / (double)words;
}

static double measure_switches(const reading *r)
{
    size_t scripts = 0;
    for (int i = 0; i < SAH_N_SCRIPTS; i++) scripts += r->scripts[i] > 0;
    if (scripts < SWITCH_SCRIPTS) return 0;
    return (double)r->switches / (double)(r->n_words > 1 ? r->n_words - 1 : 1);
}

sah_status sah_degeneracy_measure(const char *text, size_t length, sah_degeneracy *out, sah_error *error)
{
    reading r;
    sah_status status = SAH_OK;
    uint64_t *scratch = NULL;
    *out = (sah_degeneracy){.distinct = 1};
    if (reading_open(text, length, &r)) scratch = sah_alloc(r.n_codes, sizeof *scratch);
    if (scratch == NULL) {
        status = sah_fail_memory(error, "a response");
        goto done;
    }
    size_t plain = r.counts[CLASS_LETTER] + r.counts[CLASS_DIGIT];
    size_t odd = r.counts[CLASS_SYMBOL] + r.counts[CLASS_BROKEN];
    size_t seen = plain + odd, all = seen + r.counts[CLASS_BLANK];
    out->empty = plain == 0;
    if (all >= BLANK_LEAST) out->blank = (double)r.counts[CLASS_BLANK] / (double)all;
    if (seen > 0) out->broken = (double)r.counts[CLASS_BROKEN] / (double)seen;
    if (seen >= SYMBOLS_LEAST) out->symbols = (double)odd / (double)seen;
    out->repeated = measure_loops(&r, scratch);
    out->distinct = measure_distinct(&r);
    out->echoed = measure_echo(&r, scratch);
    out->implausible = measure_implausible(&r);
    out->fragments = measure_fragments(&r);
    out->switches = measure_switches(&r);
done:
    free(scratch);
    reading_close(&r);
    return status;
}

const char *sah_degeneracy_found(const sah_degeneracy *m)
{
    if (m->empty) return "empty";
    if (m->blank > MOST_BLANK) return "blank";
    if (m->broken > MOST_BROKEN) return "broken";
    if (m->symbols > MOST_SYMBOLS) return "symbols";
    if (m->repeated > MOST_REPEATED || m->distinct < LEAST_DISTINCT || m->echoed > MOST_ECHOED)
        return "loops";
    if (m->implausible > MOST_IMPLAUSIBLE) return "spelling";
    if (m->fragments > 0 && m->fragments < LEAST_LETTERS) return "fragments";
    if (m->switches > MOST_SWITCHES) return "scripts";
    return NULL;
}
