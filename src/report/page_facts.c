/* SPDX-License-Identifier: Apache-2.0 */
/* What was run: settings, and the command to repeat it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/html.h"
#include "report/page_facts.h"
#include "util/json.h"

void sah_page_json(sah_text *out, const json_t *value)
{
    char *text = value != NULL ? sah_json_text(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (text != NULL)
        sah_text_adds(out, text);
    else if (value == NULL)
        sah_text_adds(out, "null");
    else
        out->failed = true;
    free(text);
}

void sah_page_heading(sah_text *out, const char *command, const json_t *header)
{
    const char *name = json_string_value(json_object_get(json_object_get(header, "model"), "name"));
    sah_text_adds(out, "<h2>");
    sah_add_escaped(out, command);
    sah_text_adds(out, ": <bdi>");
    sah_add_escaped(out, name != NULL ? name : "responses");
    sah_text_adds(out, "</bdi></h2>\n");
}

/* ---- The command ----------------------------------------------------------------------------------------- */

/* How a member of the settings becomes an option. */
typedef enum option_form { TEXT, NUMBER, RANGE, LIST, FLAG, VARIABLES, FIRST_WORD } option_form;

/* `usual` is the value that needs no option, as JSON. */
static const struct {
    const char *key, *option, *usual;
    option_form form;
} options[] = {
    {"part", "--part", "\"q\"", TEXT},
    {"op", "--op", "\"scale\"", TEXT},
    {"scale", "--scale", "0.0001", NUMBER},
    {"direction", "--direction", "\"necessity\"", TEXT},
    {"positions", "--positions", "\"end\"", TEXT},
    {"template", "--template", "", TEXT},
    {"system", "--system", "", TEXT},
    {"template_vars", "--template-var", "", VARIABLES},
    {"template_date", "--template-date", "\"2024-07-26\"", TEXT},
    {"adapter", "--adapter", "", TEXT},
    {"precision", "--precision", "\"f32\"", TEXT},
    {"device", "--device", "", FIRST_WORD},
    {"layers", "--layers", "", RANGE},
    {"heads", "--heads", "", RANGE},
    {"opening", "--opening", "8", NUMBER},
    {"opening_kl", "--opening-kl", "false", FLAG},
    {"rank", "--rank", "1", NUMBER},
    {"variant", "--variant", "\"subspace\"", TEXT},
    {"start", "--start", "[]", LIST},
    {"shortlist", "--shortlist", "", NUMBER},
    {"random_groups", "--random-groups", "19", NUMBER},
    {"layer", "--layer", "", NUMBER},
    {"ablate", "--ablate", "[]", LIST},
    {"max_new_tokens", "--max-new-tokens", "128", NUMBER},
    {"temperature", "--temperature", "0.0", NUMBER},
    {"top_k", "--top-k", "0", NUMBER},
    {"top_p", "--top-p", "1.0", NUMBER},
    {"seed", "--seed", "0", NUMBER},
    {"rule", "--rule", "\"default\"", TEXT},
    {"phrases", "--phrases", "", TEXT},
    {"window", "--window", "", NUMBER},
    {"delimiter", "--delimiter", "\" \"", TEXT},
};

/* A word for the shell, in quotes where it needs them. */
static void add_word(sah_text *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,=+@";
    if (*word != '\0' && word[strspn(word, plain)] == '\0') {
        sah_text_adds(out, word);
        return;
    }
    sah_text_adds(out, "'");
    for (const char *c = word; *c != '\0'; c++) {
        if (*c == '\'')
            sah_text_adds(out, "'\\''");
        else
            sah_text_add(out, c, 1);
    }
    sah_text_adds(out, "'");
}

/* "cuda" of "cuda: NVIDIA H100, ...". */
static void add_first_word(sah_text *out, const char *text)
{
    char word[32];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(text, ":"), text);
    add_word(out, word);
}

static void add_list(sah_text *out, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *head = json_string_value(json_array_get(list, i));
        sah_text_addf(out, "%s", i > 0 ? "," : "");
        add_word(out, head != NULL ? head : "?");
    }
}

static void add_value(sah_text *out, option_form form, const char *option, const json_t *value)
{
    const char *key;
    const json_t *item;
    if (form == VARIABLES) {
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            sah_text word = {0};
            sah_text_addf(&word, "%s=", key);
            sah_page_json(&word, item);
            sah_text_addf(out, " %s ", option);
            add_word(out, word.data != NULL ? word.data : "");
            out->failed = out->failed || word.failed;
            free(word.data);
        }
        return;
    }
    sah_text_addf(out, " %s", option);
    if (form == FLAG) return;
    sah_text_adds(out, " ");
    if (form == RANGE)
        sah_text_addf(out, "%lld:%lld", (long long)json_integer_value(json_array_get(value, 0)),
                      (long long)json_integer_value(json_array_get(value, 1)));
    else if (form == LIST)
        add_list(out, value);
    else if (form == FIRST_WORD && json_is_string(value))
        add_first_word(out, json_string_value(value));
    else if (json_is_string(value))
        add_word(out, json_string_value(value));
    else
        sah_page_json(out, value);
}

/* A range over all layers or heads needs no option. */
static bool is_whole(const char *key, const json_t *value, const json_t *model)
{
    const json_t *all = json_object_get(model, key);
    return json_is_array(value) && json_integer_value(json_array_get(value, 0)) == 0 &&
           json_integer_value(json_array_get(value, 1)) == json_integer_value(all);
}

static void add_options(sah_text *out, const json_t *settings, const json_t *model)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const json_t *value = json_object_get(settings, options[i].key);
        sah_text usual = {0};
        if (value == NULL || json_is_null(value) ||
            (options[i].form == RANGE && is_whole(options[i].key, value, model)))
            continue;
        sah_page_json(&usual, value);
        const bool needed = usual.data == NULL || strcmp(usual.data, options[i].usual) != 0;
        out->failed = out->failed || usual.failed;
        free(usual.data);
        if (needed) add_value(out, options[i].form, options[i].option, value);
    }
}

/* The command of a header that is none of judge; names of files, which no header holds, in capitals. */
static void add_command(sah_text *out, const char *command, const json_t *header, const json_t *settings,
                        const char *path)
{
    const json_t *model = json_object_get(header, "model"), *sweep = json_object_get(settings, "sweep_heads"),
                 *screen = json_object_get(settings, "screen");
    const char *name = json_string_value(json_object_get(model, "name"));
    const bool contrast = json_object_get(header, "contrast_queries") != NULL,
               direction = strcmp(command, "direction") == 0;
    sah_text_addf(out, "sahara %s ", command);
    add_word(out, name != NULL ? name : "MODEL");
    sah_text_adds(out, strcmp(command, "utility") == 0 ? " ITEMS"
                       : direction                     ? " HARMFUL HARMLESS"
                                                       : " QUERIES");
    if (contrast && !direction) sah_text_adds(out, " --contrast HARMLESS");
    if (json_object_get(header, "contrast_matched") != NULL) sah_text_adds(out, " --match-length");
    if (json_object_get(header, "partners") != NULL) sah_text_adds(out, " --partners PARTNERS");
    if (json_object_get(header, "reference") != NULL) sah_text_adds(out, " --reference REFERENCE");
    if (json_is_integer(screen))
        sah_text_addf(out, " --screen --top %lld", (long long)json_integer_value(screen));
    if (sweep != NULL) {
        const json_t *counts = json_object_get(settings, "sweep_counts"), *count;
        size_t i;
        sah_text_adds(out, " --sweep-heads ");
        json_array_foreach(counts, i, count)
            sah_text_addf(out, "%s%lld", i > 0 ? "," : "", (long long)json_integer_value(count));
        if (counts == NULL) sah_text_addf(out, "%zu", json_array_size(sweep));
        sah_text_adds(out, " --from RESULT");
    }
    if (json_object_get(settings, "random_heads") != NULL) sah_text_adds(out, " --random-heads SEED");
    if (json_object_get(header, "text") != NULL) sah_text_adds(out, " --perplexity TEXT");
    add_options(out, settings, model);
    sah_text_adds(out, " -o ");
    add_word(out, path);
}

static void add_commands(sah_text *out, const char *path, const json_t *header)
{
    const json_t *settings = json_object_get(header, "settings");
    const char *command = json_string_value(json_object_get(header, "sahara"));
    sah_text text = {0};
    if (command == NULL) return;
    if (strcmp(command, "judge") == 0) {
        const json_t *responses = json_object_get(settings, "responses");
        if (responses != NULL) {
            add_command(&text, "generate", header, responses, "RESPONSES");
            sah_text_adds(&text, "\n");
        }
        sah_text_adds(&text, "sahara judge RESPONSES");
        add_options(&text, settings, NULL);
        sah_text_adds(&text, " -o ");
        add_word(&text, path);
    } else {
        add_command(&text, command, header, settings, path);
    }
    sah_text_adds(
        out, "<p>To repeat it (names in capitals, and the model's folder, are not in the file):</p><pre>");
    sah_add_escaped(out, text.data != NULL ? text.data : "");
    sah_text_adds(out, "</pre>\n");
    out->failed = out->failed || text.failed;
    free(text.data);
}

/* ---- Settings -------------------------------------------------------------------------------------------- */

static void add_fact(sah_text *out, const char *name, const char *text)
{
    sah_text_adds(out, "<dt>");
    sah_add_escaped(out, name);
    sah_text_adds(out, "</dt><dd><bdi>");
    sah_add_escaped(out, text);
    sah_text_adds(out, "</bdi></dd>\n");
}

/* A member of the settings, whatever it is. */
static void add_member(sah_text *out, const char *name, const json_t *value)
{
    char *text = json_is_string(value) ? strdup(json_string_value(value))
                 : value != NULL
                     ? sah_json_text(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9))
                     : NULL;
    if (text != NULL) add_fact(out, name, text);
    out->failed = out->failed || (text == NULL && value != NULL);
    free(text);
}

void sah_page_facts(sah_text *out, const char *path, const json_t *header)
{
    const json_t *model = json_object_get(header, "model"), *value;
    const char *name;
    char queries[64];
    sah_text_adds(out, "<details><summary>Settings, and the command to repeat it</summary>\n");
    add_commands(out, path, header);
    sah_text_adds(out, "<dl>\n");
    add_fact(out, "file", path);
    add_member(out, "version of Sahara", json_object_get(header, "version"));
    add_member(out, "model", json_object_get(model, "name"));
    add_member(out, "checksum of its weights (XXH3)", json_object_get(model, "xxh3"));
    add_member(out, "family", json_object_get(model, "family"));
    snprintf(queries, sizeof queries, "%zu", json_array_size(json_object_get(header, "queries")));
    add_fact(out, "queries", queries);
    if (json_object_get(header, "contrast_queries") != NULL) {
        snprintf(queries, sizeof queries, "%zu",
                 json_array_size(json_object_get(header, "contrast_queries")));
        add_fact(out, "contrast queries", queries);
    }
    json_object_foreach((json_t *)(uintptr_t)json_object_get(header, "settings"), name, value)
        add_member(out, name, value);
    sah_text_adds(out, "</dl></details>\n");
}
