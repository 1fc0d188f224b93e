/* SPDX-License-Identifier: Apache-2.0 */
/* Responses, verdicts on them, and what ablation costs: the files of generate, judge and utility. Each has a section of
 * its own; the curves and the responses side by side are drawn from all of them together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/canvas.h"
#include "report/html.h"
#include "report/page_answers.h"
#include "report/page_facts.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/json.h"
#include "util/mapfile.h"
#include "util/wholefile.h"

/* Bytes of a file. */
static const size_t LARGEST_FILE = (size_t)1 << 31;

/* Responses without the same heads, of one file. */
typedef struct group {
    size_t file; /* which file, of those taken */
    json_t *names; /* the ablated heads, in a list */
    json_t *part; /* of them that is ablated, or null */
    bool random;
    size_t n_judged, refusals, degenerate;
    json_t *responses; /* [[query, text, verdict or null], ...] */
} group;

struct sah_answers {
    group *groups; /* [n] */
    size_t n, capacity, n_files;
    json_t *queries; /* texts, each once */
    json_t *places; /* text: place in queries */
    json_t *costs; /* [{"names","perplexity","base"}, ...] of utility */
};

/* A file on its way in. */
typedef struct reading {
    sah_answers *answers;
    const char *command;
    const json_t *header;
    const json_t *ablated; /* of lines that name none */
    json_t *part;
    size_t first; /* the file's first group */
    sah_text table; /* rates or measures, for sah_html_table() */
} reading;

sah_answers *sah_answers_new(void)
{
    sah_answers *a = sah_alloc(1, sizeof *a);
    if (a == NULL) return NULL;
    a->queries = json_array();
    a->places = json_object();
    a->costs = json_array();
    if (a->queries != NULL && a->places != NULL && a->costs != NULL) return a;
    sah_answers_free(a);
    return NULL;
}

void sah_answers_free(sah_answers *a)
{
    if (a == NULL) return;
    for (size_t i = 0; i < a->n; i++) {
        json_decref(a->groups[i].names);
        json_decref(a->groups[i].part);
        json_decref(a->groups[i].responses);
    }
    free(a->groups);
    json_decref(a->queries);
    json_decref(a->places);
    json_decref(a->costs);
    free(a);
}

size_t sah_answers_files(const sah_answers *a)
{
    return a->n_files;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* ---- Lines of totals ------------------------------------------------------------------------------------- */

static void add_names(sah_text *table, const json_t *names)
{
    const json_t *head;
    size_t i;
    if (json_array_size(names) == 0) sah_text_adds(table, "none");
    json_array_foreach(names, i, head)
    {
        const char *name = json_string_value(head);
        sah_text_addf(table, "%s%s", i > 0 ? ", " : "", name != NULL ? name : "?");
    }
}

static void add_rates_row(sah_text *table, const json_t *line)
{
    const json_t *ablated = json_object_get(line, "ablated");
    if (ablated == NULL)
        sah_text_adds(table, "all");
    else
        add_names(table, ablated);
    if (json_is_true(json_object_get(line, "random"))) sah_text_adds(table, " (at random)");
    sah_text_addf(table, "\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f %%\t%.1f to %.1f %%\n", number(line, "n"),
                  number(line, "refusal"), number(line, "compliance"), number(line, "degenerate"),
                  100 * number(line, "asr"), 100 * number(line, "low"), 100 * number(line, "high"));
}

/* A measure of utility: unablated and ablated where both are there. */
static void add_measure(sah_text *table, const json_t *line, const char *key, const char *name)
{
    char base[64];
    snprintf(base, sizeof base, "base_%s", key);
    if (!json_is_number(json_object_get(line, key))) return;
    sah_text_addf(table, "%s\t", name);
    if (json_is_number(json_object_get(line, base))) sah_text_addf(table, "%.6f", number(line, base));
    sah_text_addf(table, "\t%.6f\n", number(line, key));
}

static bool add_cost(reading *r, const json_t *line)
{
    static const char *const measures[][2] = {{"acc", "accuracy"},
                                              {"acc_norm", "accuracy, by length"},
                                              {"perplexity", "perplexity, a token"},
                                              {"bits_per_byte", "bits a byte"}};
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++)
        add_measure(&r->table, line, measures[i][0], measures[i][1]);
    if (!json_is_number(json_object_get(line, "perplexity"))) return true;
    const json_t *base = json_object_get(line, "base_perplexity");
    json_t *cost = json_pack("{s:O,s:O,s:f,s:O?}", "names", r->ablated, "part", r->part, "perplexity",
                             number(line, "perplexity"), "base", base);
    return cost != NULL && json_array_append_new(r->answers->costs, cost) == 0;
}

/* ---- Lines of responses ---------------------------------------------------------------------------------- */

static const json_t *text_of(const json_t *line, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        const json_t *value = json_object_get(line, *keys);
        if (json_is_string(value)) return value;
    }
    return NULL;
}

/* The place of a query among all texts. */
static bool find_query(sah_answers *a, const json_t *query, json_int_t *place)
{
    const char *text = json_string_value(query);
    const json_t *known = json_object_get(a->places, text);
    *place = known != NULL ? json_integer_value(known) : (json_int_t)json_array_size(a->queries);
    if (known != NULL) return true;
    return json_array_append(a->queries, (json_t *)(uintptr_t)query) == 0 &&
           json_object_set_new_nocheck(a->places, text, json_integer(*place)) == 0;
}

static group *find_group(reading *r, const json_t *names, bool random)
{
    sah_answers *a = r->answers;
    for (size_t i = r->first; i < a->n; i++)
        if (a->groups[i].random == random && json_equal(a->groups[i].names, names)) return &a->groups[i];
    if (!sah_grow(&a->groups, &a->capacity, a->n + 1, sizeof *a->groups)) return NULL;
    json_t *responses = json_array();
    if (responses == NULL) return NULL;
    a->groups[a->n] = (group){.file = a->n_files,
                              .names = json_incref((json_t *)(uintptr_t)names),
                              .part = json_incref(r->part),
                              .random = random,
                              .responses = responses};
    return &a->groups[a->n++];
}

static bool add_response(reading *r, const json_t *line)
{
    static const char *const query_keys[] = {"query", "goal", "input", "prompt", NULL},
                             *const response_keys[] = {"response", "generation", "output", NULL};
    const json_t *names = json_object_get(line, "ablated"), *query = text_of(line, query_keys),
                 *response = text_of(line, response_keys), *verdict = json_object_get(line, "verdict");
    json_int_t place;
    if (response == NULL) return true;
    group *g = find_group(r, json_is_array(names) ? names : r->ablated,
                          json_is_true(json_object_get(line, "random")));
    if (g == NULL) return false;
    if (json_is_string(verdict)) {
        g->n_judged++;
        g->refusals += strcmp(json_string_value(verdict), "refusal") == 0;
        g->degenerate += strcmp(json_string_value(verdict), "degenerate") == 0;
    }
    if (query == NULL) return true;
    if (!find_query(r->answers, query, &place)) return false;
    json_t *item = json_pack("[I,O,O?]", place, response, verdict);
    return item != NULL && json_array_append_new(g->responses, item) == 0;
}

static bool add_line(reading *r, const json_t *line)
{
    if (strcmp(r->command, "utility") == 0)
        return json_object_get(line, "item") != NULL || json_object_get(line, "window") != NULL ||
               add_cost(r, line);
    if (strcmp(r->command, "judge") == 0 && json_object_get(line, "verdict") == NULL) {
        if (json_object_get(line, "asr") != NULL) add_rates_row(&r->table, line);
        return true;
    }
    return add_response(r, line);
}

/* ---- A file ---------------------------------------------------------------------------------------------- */

/* A setting of the run that made the responses. */
static const json_t *setting(const json_t *header, const char *key)
{
    const json_t *settings = json_object_get(header, "settings"),
                 *inner = json_object_get(settings, "responses");
    return json_object_get(inner != NULL ? inner : settings, key);
}

/* The heads that a file's settings say are ablated, as a list: a list, or text. */
static json_t *ablated_of(const json_t *header)
{
    const json_t *ablate = setting(header, "ablate");
    if (json_is_array(ablate)) return json_incref((json_t *)(uintptr_t)ablate);
    json_t *names = json_array();
    for (const char *at = json_string_value(ablate); at != NULL && *at != '\0' && names != NULL;) {
        size_t n = strcspn(at, ",");
        if (json_array_append_new(names, json_stringn(at, n)) != 0) {
            json_decref(names);
            return NULL;
        }
        at += n + (at[n] == ',');
    }
    return names;
}

static const char *about(const char *command)
{
    if (strcmp(command, "judge") == 0)
        return "Attack success rate: compliances among all responses, by the judge's rule. Degenerate "
               "responses are "
               "neither refusal nor compliance: many of them mean that the ablation broke more than safety.";
    if (strcmp(command, "utility") == 0)
        return "What the model can do with the heads ablated, beside the unablated model.";
    return "Responses without verdicts: sahara judge gives those.";
}

static void add_section(reading *r, const char *path, sah_text *out)
{
    static const char *const titles[][2] = {
        {"judge", "Judge"}, {"utility", "Utility"}, {"generate", "Responses"}};
    const char *title = r->command;
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (strcmp(titles[i][0], r->command) == 0) title = titles[i][1];
    sah_text_adds(out, "<section>\n");
    sah_page_heading(out, title, r->header);
    sah_html_paragraph(out, NULL, about(r->command));
    if (strcmp(r->command, "judge") == 0)
        sah_text_addf(out, "<div class=\"pictures\" id=\"curve-%zu\"></div>\n", r->answers->n_files);
    if (strcmp(r->command, "generate") != 0) sah_html_table(out, r->table.data != NULL ? r->table.data : "");
    sah_page_facts(out, path, r->header);
    sah_text_adds(out, "</section>\n");
    out->failed = out->failed || r->table.failed;
}

static bool begin(reading *r)
{
    const char *command = json_string_value(json_object_get(r->header, "sahara"));
    r->command = NULL;
    if (command == NULL) return true;
    if (strcmp(command, "judge") == 0)
        sah_text_adds(
            &r->table,
            "ablated\tresponses\trefusals\tcompliances\tdegenerate\tattack success rate\t95 % interval\n");
    else if (strcmp(command, "utility") == 0)
        sah_text_adds(&r->table, "measure\tunablated\tablated\n");
    else if (strcmp(command, "generate") != 0)
        return true;
    r->command = command;
    const json_t *part = setting(r->header, "part");
    r->ablated = ablated_of(r->header);
    r->part = json_is_string(part) ? json_incref((json_t *)(uintptr_t)part) : json_null();
    return r->ablated != NULL;
}

/* The next line of data[*at..size); NULL where it is no JSON, as where a run was cut short. */
static sah_status next_line(const char *data, size_t size, size_t *at, const char *path, json_t **line,
                            sah_error *error)
{
    const char *from = data + *at, *end = memchr(from, '\n', size - *at);
    size_t length = end != NULL ? (size_t)(end - from) : size - *at;
    *at += length + 1;
    json_error_t failed;
    *line = json_loadb(from, length, JSON_ALLOW_NUL, &failed); /* responses may hold it */
    if (*line != NULL) return SAH_OK;
    /* Where jansson gives no reason, an allocation failed. */
    const bool memory = json_error_code(&failed) == json_error_out_of_memory || failed.text[0] == '\0';
    return memory ? sah_fail_memory(error, path) : SAH_OK;
}

sah_status sah_answers_add(sah_answers *answers, const char *path, sah_text *out, bool *taken,
                           sah_error *error)
{
    reading r = {.answers = answers, .first = answers->n};
    char *data = NULL;
    size_t size = 0, at = 0;
    *taken = false;
    sah_status status = sah_file_read(path, LARGEST_FILE, &data, &size, error);
    if (status != SAH_OK) return status;
    json_t *header = NULL;
    if (size > 0) status = next_line(data, size, &at, path, &header, error);
    r.header = header;
    if (status == SAH_OK && !begin(&r)) status = sah_fail_memory(error, "the responses");
    while (status == SAH_OK && r.command != NULL && at < size) {
        json_t *line;
        status = next_line(data, size, &at, path, &line, error);
        if (json_is_object(line) && !add_line(&r, line)) status = sah_fail_memory(error, "the responses");
        json_decref(line);
    }
    *taken = r.command != NULL;
    if (status == SAH_OK && *taken) add_section(&r, path, out);
    answers->n_files += *taken;
    json_decref((json_t *)(uintptr_t)r.ablated);
    json_decref(r.part);
    json_decref(header);
    free(r.table.data);
    free(data);
    return status;
}

/* ---- For the script -------------------------------------------------------------------------------------- */

static void add_share(sah_text *data, const char *key, size_t count, size_t n)
{
    sah_share share = sah_wilson(count, n);
    sah_text_addf(data, ",\"%s\":[%.4f,%.4f,%.4f]", key, share.value, share.low, share.high);
}

/* The most different sets first, when not all have room: none, then chosen heads, many before few, then random ones. */
static size_t turn_of(const group *g)
{
    size_t n = json_array_size(g->names);
    return n == 0 ? 0 : (g->random ? (size_t)1 << 32 : 1) + ((size_t)1 << 31) - n;
}

static int compare_turns(const void *a, const void *b)
{
    size_t x = turn_of(*(group *const *)a), y = turn_of(*(group *const *)b);
    return (x > y) - (x < y);
}

/* Whether there was room for the responses. */
static bool add_group(sah_text *data, const group *g, size_t *room)
{
    sah_text responses = {0};
    sah_text_adds(data, "{\"names\":");
    sah_page_json(data, g->names);
    sah_text_adds(data, ",\"part\":");
    sah_page_json(data, g->part);
    sah_text_addf(data, ",\"file\":%zu,\"random\":%s,\"n\":%zu", g->file, g->random ? "true" : "false",
                  g->n_judged);
    if (g->n_judged > 0) {
        add_share(data, "refusal", g->refusals, g->n_judged);
        add_share(data, "degenerate", g->degenerate, g->n_judged);
    }
    sah_text_adds(data, ",\"responses\":");
    sah_page_json(&responses, g->responses);
    const bool fit = responses.data != NULL && responses.size <= *room;
    if (fit) {
        *room -= responses.size;
        sah_text_add(data, responses.data, responses.size);
    } else {
        sah_text_adds(data, "null");
    }
    data->failed = data->failed || responses.failed;
    free(responses.data);
    sah_text_adds(data, "}");
    return fit;
}

void sah_answers_data(const sah_answers *a, sah_text *data, size_t *room)
{
    const group **order = sah_alloc(a->n, sizeof *order);
    if (a->n == 0 && json_array_size(a->costs) == 0) {
        sah_text_adds(data, "null");
        free(order);
        return;
    }
    data->failed = data->failed || order == NULL;
    for (size_t i = 0; i < a->n && order != NULL; i++) order[i] = &a->groups[i];
    if (order != NULL) qsort(order, a->n, sizeof *order, compare_turns);
    bool any = false;
    sah_text_adds(data, "{\"costs\":");
    sah_page_json(data, a->costs);
    sah_text_adds(data, ",\"groups\":[");
    for (size_t i = 0; i < a->n && order != NULL; i++) {
        sah_text_adds(data, i > 0 ? "," : "");
        any = add_group(data, order[i], room) || any;
    }
    sah_text_adds(data, "],\"queries\":");
    if (any)
        sah_page_json(data, a->queries);
    else
        sah_text_adds(data, "[]");
    sah_text_adds(data, "}");
    free(order);
}
