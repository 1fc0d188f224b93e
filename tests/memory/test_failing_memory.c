/* SPDX-License-Identifier: Apache-2.0 */
/* An allocation that fails is reported as that, wherever it is: every call below runs again and again, and each
 * time a later one of its allocations fails. The status says memory; the same call, made again on what the failed one
 * left, gives what it always gives; nothing leaks (under the address sanitizer, which tells at the program's end).
 * The library here; the program in test_failing_commands.c. */
#include "failing.h"

#include <pthread.h>
#include <time.h>

#include "model/format/gguf_split.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/writers.h"
#include "models/chain.h"
#include "program.h"
#include "util/alloc.h"
#include "util/error.h"

/* ---- What is tried --------------------------------------------------------------------------------------- */

#define ORGANISM "models/organism"
#define GOLDEN   "tests/golden/models/"

static const char *made(const char *name)
{
    char inner[256];
    snprintf(inner, sizeof inner, "made/%s", name);
    return scratch(inner);
}

static sah_model *model;
static char paths[12][512];
static char *ships_text; /* that of a result */

static sah_status try_queries(sah_error *error)
{
    sah_status status = SAH_OK;
    for (int i = 0; i < 4 && status == SAH_OK; i++) {
        sah_strings list;
        status = sah_queries_read(paths[i], NULL, 0, &list, error);
        for (size_t q = 0; q < list.n && status == SAH_OK; q++) say(list.items[q], strlen(list.items[q]));
        sah_strings_free(&list);
    }
    return status;
}

static sah_status open_close(const char *path, const char *adapter, bool describe, sah_error *error)
{
    sah_model *opened = NULL;
    const sah_model_options options = {.threads = 1, .adapter = adapter, .describe_only = describe};
    sah_status status = sah_model_open(path, &options, &opened, error);
    sah_model_close(opened);
    return status;
}

static sah_status try_directory(sah_error *error)
{
    return open_close(GOLDEN "llama-gqa", "tests/golden/adapters/patterns", false, error);
}

static sah_status try_gguf(sah_error *error)
{
    return open_close(GOLDEN "llama-gqa/model-f32.gguf", NULL, false, error);
}

static sah_status try_torch(sah_error *error)
{
    return open_close("tests/golden/formats/llama-bin-sharded", NULL, false, error);
}

static sah_status try_tokenizer(sah_error *error)
{
    return open_close(ORGANISM, NULL, true, error);
}

static sah_status try_text(sah_error *error)
{
    char *prompt = NULL, *text = NULL;
    int32_t *ids = NULL;
    size_t n = 0, n_heads, n_edits = 0;
    sah_head *heads = NULL;
    sah_edit *edits = NULL;
    const sah_model_info *info = sah_model_describe(model);
    const sah_ablation ablation = {SAH_PART_Q | SAH_PART_V, SAH_OP_SCALE, 0};
    static float logits[100000];
    assert_true(info->n_vocab <= 100000);
    sah_status status = sah_prompt_wrap(model, "chat", NULL, "How to starve a goat?", &prompt, error);
    if (status == SAH_OK) status = sah_encode(model, prompt, strlen(prompt), &ids, &n, error);
    if (status == SAH_OK) status = sah_decode(model, ids, n, false, &text, error);
    if (status == SAH_OK) status = sah_heads_parse("2-6,2-1", info, SAH_PART_Q, &heads, &n_heads, error);
    if (status == SAH_OK) status = sah_edits_new(info, heads, n_heads, &ablation, &edits, &n_edits, error);
    if (status == SAH_OK) status = sah_logits(model, ids, n, edits, n_edits, logits, error);
    if (status == SAH_OK) say(text, strlen(text));
    if (status == SAH_OK) {
        free(text);
        text = NULL;
        status = sah_logits_text(ids, n, logits, (size_t)info->n_vocab, &text, error);
    }
    if (status == SAH_OK) say(text, 1000);
    free(prompt);
    free(text);
    free(ids);
    free(heads);
    free(edits);
    return status;
}

/* Ids as prompts, and what the model makes of them. */
static sah_status try_prompts(sah_error *error)
{
    static const int32_t first[] = {5, 6, 7}, second[] = {5, 6, 9, 4};
    const sah_tokens both[] = {{first, 3}, {second, 4}};
    const sah_edit edit = {1, 2, SAH_PART_Q, SAH_OP_SCALE, 0};
    const sah_model_info *info = sah_model_describe(model);
    const size_t vocabulary = (size_t)info->n_vocab, width = (size_t)info->d_model;
    sah_strings list = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    char *text = NULL;
    float *logits = sah_alloc(2, vocabulary * sizeof *logits), *states = sah_alloc(2, width * sizeof *states);
    sah_status status = logits != NULL && states != NULL ? SAH_OK : sah_fail_memory(error, "the test");
    for (size_t i = 0; i < 2 && status == SAH_OK; i++)
        status = sah_strings_add_tokens(&list, both[i].ids, both[i].n, error);
    if (status == SAH_OK) status = sah_prompt_encode(model, "tokens", list.items[1], &ids, &n, error);
    if (status == SAH_OK) status = sah_decode_response(model, ids, n, &text, error);
    if (status == SAH_OK) status = sah_logits_batch(model, both, 2, &edit, 1, logits, error);
    if (status == SAH_OK) status = sah_hidden_states(model, both, 2, &edit, 1, NULL, states, error);
    if (status == SAH_OK) {
        say(text, strlen(text));
        say(logits, 2 * vocabulary * sizeof *logits);
        say(states, 2 * width * sizeof *states);
    }
    sah_strings_free(&list);
    free(ids);
    free(text);
    free(logits);
    free(states);
    return status;
}

/* A head's states from other prompts. */
static sah_status try_interchanged(sah_error *error)
{
    static const int32_t tokens[] = {5, 6, 7, 8}, others[] = {9, 6, 4};
    const sah_tokens donors[] = {{others, 3}, {tokens, 3}};
    sah_edit edit = {1, 2, SAH_PART_V, SAH_OP_SWAP, 0};
    const size_t vocabulary = (size_t)sah_model_describe(model)->n_vocab;
    float *logits = sah_alloc(vocabulary, sizeof *logits);
    sah_status status = logits != NULL ? SAH_OK : sah_fail_memory(error, "the test");
    for (size_t n = 1; n <= 2 && status == SAH_OK; n++) {
        const sah_donor_prompts from = {donors, n, false};
        edit.op = n == 1 ? SAH_OP_SWAP : SAH_OP_MEAN_DATA;
        status = sah_logits_interchanged(model, tokens, 4, &edit, 1, &from, logits, error);
        if (status == SAH_OK) say(logits, vocabulary * sizeof *logits);
    }
    free(logits);
    return status;
}

static char *two[] = {"How to starve a goat?", "How to feed a goat?"};
static const sah_strings queries = {two, 2, 2};

static const sah_run_options run_options = {
    .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F}, .layer_to = 2, .head_to = 1, .template_ = "chat"};

static sah_status try_ships(sah_error *error)
{
    return sah_ships(model, &queries, &queries, &run_options, made("out.jsonl"), error);
}

static sah_status try_find(sah_error *error)
{
    const sah_find_options find = {.steps = 2, .rank = 1, .random_groups = 1};
    return sah_find(model, &queries, NULL, &run_options, &find, made("out.jsonl"), error);
}

static sah_status try_direction(sah_error *error)
{
    static char *other[] = {"What is a goat?", "Why?"};
    const sah_strings harmless = {other, 2, 2};
    const sah_direction_options options = {.layer = -1};
    return sah_direction(model, &queries, &harmless, &options, made("out.jsonl"), error);
}

static sah_status try_generate(sah_error *error)
{
    const sah_generate_options options = {.max_new_tokens = 3, .temperature = 1, .top_k = 5};
    return sah_generate(model, &queries, &options, made("out.jsonl"), error);
}

static sah_status try_judge(sah_error *error)
{
    sah_judge *judge = NULL;
    sah_judgement total;
    sah_status status = sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, error);
    if (status == SAH_OK)
        status = sah_judge_file(judge, NULL, paths[4], NULL, NULL, made("out.jsonl"), &total, error);
    sah_judge_free(judge);
    return status;
}

/* Takes the text, in which the call must have ended well. */
static sah_status say_text(sah_status status, char **text)
{
    if (status == SAH_OK) say(*text, strlen(*text));
    free(*text);
    *text = NULL;
    return status;
}

static sah_status try_result(sah_error *error)
{
    sah_result *result = NULL, *harmless = NULL;
    const char *path = paths[5], *plain = paths[6];
    char *text = NULL;
    const sah_rank_options json = {.format = SAH_FORMAT_JSON}, by_query = {.by_query = true},
                           reference = {.format = SAH_FORMAT_REFERENCE};
    const sah_rank_options *const forms[] = {&json, &by_query, &reference};
    sah_status status = sah_result_open(&path, 1, &result, error);
    for (size_t i = 0; i < 3 && status == SAH_OK; i++)
        status = say_text(sah_rank_text(result, forms[i], &text, error), &text);
    if (status == SAH_OK)
        status = say_text(sah_heat_map(result, SAH_ORDER_DEFAULT, false, 80, &text, error), &text);
    if (status == SAH_OK)
        status = say_text(sah_concentration_text(result, SAH_FORMAT_TSV, &text, error), &text);
    sah_result_close(result);
    result = NULL;
    if (status == SAH_OK) status = sah_result_open(&plain, 1, &result, error);
    if (status == SAH_OK) status = sah_result_open(&plain, 1, &harmless, error);
    if (status == SAH_OK) status = sah_result_contrast(result, harmless, error);
    const sah_result *const both[] = {result, harmless};
    if (status == SAH_OK)
        status = say_text(sah_compare_text(both, 2, SAH_ORDER_MEAN, SAH_FORMAT_JSON, &text, error), &text);
    sah_result_close(result);
    sah_result_close(harmless);
    return status;
}

static sah_status try_search_result(sah_error *error)
{
    sah_result *result = NULL;
    const char *path = paths[7];
    char *text = NULL;
    const sah_rank_options options = {0};
    sah_status status = sah_result_open(&path, 1, &result, error);
    if (status == SAH_OK) status = sah_result_select(result, 1, error);
    if (status == SAH_OK) status = say_text(sah_rank_text(result, &options, &text, error), &text);
    sah_result_close(result);
    return status;
}

static sah_status try_report(sah_error *error)
{
    const char *const files[] = {paths[5], paths[7]};
    const sah_report_options options = {0};
    return sah_report(files, 2, &options, made("page.html"), error);
}

static sah_status try_picture(sah_error *error)
{
    const char *path = paths[5];
    const sah_report_options options = {0};
    return sah_report(&path, 1, &options, made("map.svg"), error);
}

/* ---- Models and their tokenizers ---- */

static sah_status try_split_gguf(sah_error *error)
{
    return open_close("tests/golden/formats/llama-split/model-00001-of-00003.gguf", NULL, false, error);
}

static sah_status try_torch_adapter(sah_error *error)
{
    return open_close(GOLDEN "llama-gqa", "tests/golden/formats/adapter-bin", false, error);
}

static sah_status try_experts(sah_error *error)
{
    return open_close(GOLDEN "family-qwen3-moe", NULL, false, error);
}

static sah_status try_fp8(sah_error *error)
{
    return open_close(GOLDEN "llama-fp8", NULL, false, error);
}

/* Both ways through a tokenizer. */
static sah_status use_tokenizer(const sah_tokenizer *tokenizer, sah_error *error)
{
    static const char text[] = "Wie viele Stra\xC3\x9F"
                               "en <s> 12 \xF0\x9F\x98\x80?";
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n = 0;
    sah_status status = sah_tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &n, error);
    if (status == SAH_OK) say(ids, n * sizeof *ids);
    if (status == SAH_OK)
        status = say_text(sah_tokenizer_decode_response(tokenizer, ids, n, &back, error), &back);
    free(ids);
    return status;
}

static sah_status use_directory(const char *path, sah_error *error)
{
    sah_tokenizer *tokenizer = NULL;
    sah_status status = sah_tokenizer_from_directory(path, &tokenizer, error);
    if (status == SAH_OK) status = use_tokenizer(tokenizer, error);
    sah_tokenizer_free(tokenizer);
    return status;
}

static char piece_models[2][512]; /* directories with a tokenizer.model: one of either kind */

static sah_status try_byte_pairs(sah_error *error)
{
    return use_directory(piece_models[0], error);
}

static sah_status try_unigram(sah_error *error)
{
    return use_directory(piece_models[1], error);
}

static sah_status try_added_tokens(sah_error *error)
{
    return use_directory("tests/golden/tokenizers/added-flags", error);
}

static sah_status try_normaliser(sah_error *error)
{
    return use_directory("tests/golden/tokenizers/llama2", error);
}

static sah_status try_gguf_tokenizer(sah_error *error)
{
    static const char *const files[] = {"tests/golden/tokenizers/llama2/tokenizer.gguf",
                                        "tests/golden/tokenizers/qwen2/tokenizer.gguf"};
    sah_status status = SAH_OK;
    for (size_t i = 0; i < 2 && status == SAH_OK; i++) {
        sah_gguf gguf = {0};
        sah_tokenizer *tokenizer = NULL;
        status = sah_gguf_open(files[i], &gguf, error);
        if (status == SAH_OK) status = sah_tokenizer_from_gguf(&gguf, &tokenizer, error);
        if (status == SAH_OK) status = use_tokenizer(tokenizer, error);
        sah_tokenizer_free(tokenizer);
        sah_gguf_close(&gguf);
    }
    return status;
}

/* What chat templates are made of. */
static const char chat_template[] =
    "{%- macro turn(m, i=0) -%}<{{ m.role | upper }}>{{ m['content'].strip().split(' ') | join('_') }}"
    "{%- endmacro -%}{% set ns = namespace(n=0, seen=[]) %}{%- for m in messages if m.content is string %}"
    "{% set ns.n = ns.n + loop.index0 %}{% set ns.seen = ns.seen + [m.role] %}{{ turn(m) ~ '|' }}"
    "{% if not loop.last and m.role in ['user', \"system\"] %}{{ {'a': [1, 2.5, none], 'b': m} | "
    "tojson(indent=2) }}"
    "{% elif loop.first %}{{ raise_exception('no') }}{% else %}{{ '%s %03d' % (m.role, ns.n) }}{% endif %}"
    "{% endfor %}{{ messages | map(attribute='role') | unique | list | sort | length }}"
    "{{ messages[1:][::-1][0].content[:5] | replace('a', 'b') | title }}{{ strftime_now('%d %b %Y') }}"
    "{% set block %}{% filter trim %}  x {{ ns.seen | first }} {% endfilter %}{% endset %}{{ block }}"
    "{% macro box(a, b=2) %}[{{ a }}{{ caller('c') }}]{% endmacro %}"
    "{% call(x) box(messages | length) %}{{ x }}{% endcall %}{% for k, v in messages[0].items() %}{{ k + '=' "
    "+ v }}"
    "{% endfor %}{{ range(3) | sum }}{{ 'é' | length }}{{ (enable_thinking | default(true)) and 7 // 2 }}";

static sah_model *templated;

static sah_status try_template(sah_error *error)
{
    char *prompt = NULL;
    static const sah_message talk[] = {{"system", "Be brief."}, {"user", " How to bake a cake? "}};
    sah_status status = say_text(sah_prompt_chat(templated, "chat", talk, 2, true, &prompt, error), &prompt);
    if (status == SAH_OK)
        status = say_text(sah_prompt_chat(templated, "llama3", talk, 2, true, &prompt, error), &prompt);
    return status;
}

static sah_status try_template_opened(sah_error *error)
{
    static const char *const variables[] = {"enable_thinking=false"};
    const sah_model_options options = {
        .threads = 1, .template_vars = variables, .n_template_vars = 1, .template_date = "2024-02-03"};
    sah_model *opened = NULL;
    char *text = NULL;
    sah_status status = sah_model_open(scratch("templated"), &options, &opened, error);
    if (status == SAH_OK) status = say_text(sah_model_text(opened, true, &text, error), &text);
    if (status == SAH_OK) status = say_text(sah_model_text(opened, false, &text, error), &text);
    sah_model_close(opened);
    return status;
}

static sah_status try_description(sah_error *error)
{
    char *text = NULL;
    sah_status status = say_text(sah_model_text(templated, true, &text, error), &text);
    return status == SAH_OK ? say_text(sah_model_text(templated, false, &text, error), &text) : status;
}

static sah_status try_check(sah_error *error)
{
    const sah_model_options options = {.threads = 1};
    sah_checks checks = {0};
    char *text = NULL;
    sah_status status = sah_check(GOLDEN "llama-gqa/model-f32.gguf", &options, &checks, error);
    return status == SAH_OK ? say_text(sah_checks_text(&checks, true, &text, error), &text) : status;
}

/* ---- More runs ---- */

static sah_status try_signed_ships(sah_error *error)
{
    sah_openings openings = {0};
    sah_run_options options = run_options;
    const sah_openings_options asked = {.template_ = "chat", .length = 2, .judged = 4};
    sah_status status = sah_openings_new(model, &queries, &queries, &asked, &openings, error);
    options.openings = &openings;
    options.opening_kl = true;
    if (status == SAH_OK) status = sah_ships(model, &queries, &queries, &options, made("out.jsonl"), error);
    sah_openings_free(&openings);
    return status;
}

static char *many[] = {"What is a goat?", "Why?", "How to feed a goat?", "Where is it?", "Who are you?"};
static const sah_strings others = {many, 5, 5};

static sah_status try_screen(sah_error *error)
{
    sah_run_options options = run_options;
    options.head_to = 2;
    return sah_ships_screen(model, &others, NULL, &options, 1, made("out.jsonl"), error);
}

static sah_status try_matching(sah_error *error)
{
    sah_strings list = {0};
    sah_matching matching;
    sah_status status = sah_queries_read(paths[3], NULL, 0, &list, error);
    if (status == SAH_OK) status = sah_match_lengths(model, &queries, "chat", NULL, &list, &matching, error);
    for (size_t q = 0; q < list.n && status == SAH_OK; q++) say(list.items[q], strlen(list.items[q]));
    sah_strings_free(&list);
    return status;
}

static void say_list(const sah_strings *list)
{
    for (size_t q = 0; q < list->n; q++) say(list->items[q], strlen(list->items[q]) + 1);
}

static sah_status try_partners(sah_error *error)
{
    sah_strings list = {0}, partners = {0}, from = {0};
    sah_status status = sah_pairs_read(scratch("pairs.csv"), NULL, 0, &list, &partners, error);
    if (status == SAH_OK) status = sah_partners_read(scratch("pairs.csv"), NULL, 0, &from, error);
    if (status == SAH_OK) {
        say_list(&list);
        say_list(&partners);
    }
    for (int i = 0; i < 2 && status == SAH_OK; i++) {
        sah_strings chosen = {0};
        status = sah_partners_match(model, &queries, &from, "chat", NULL,
                                    i == 0 ? SAH_PAIRING_LENGTH : SAH_PAIRING_WORDS, &chosen, error);
        if (status == SAH_OK) say_list(&chosen);
        sah_strings_free(&chosen);
    }
    sah_strings_free(&list);
    sah_strings_free(&partners);
    sah_strings_free(&from);
    return status;
}

static sah_status try_apart(sah_error *error)
{
    char q[512], v[512];
    const char *const results[] = {q, v};
    sah_run_options options = run_options;
    options.ablation.parts = SAH_PART_Q | SAH_PART_V;
    snprintf(q, sizeof q, "%s", made("out.q.jsonl"));
    snprintf(v, sizeof v, "%s", made("out.v.jsonl"));
    return sah_ships_apart(model, &queries, NULL, &options, results, 2, error);
}

static sah_status try_swap(sah_error *error)
{
    const sah_strings partners = {many, 2, 2};
    const sah_interchange interchange = {.partners = &partners};
    sah_run_options options = run_options;
    options.ablation.op = SAH_OP_SWAP;
    options.interchange = interchange;
    return sah_ships(model, &queries, NULL, &options, made("out.jsonl"), error);
}

/* What rankings are made of, and the queries of the project's own. */
static sah_status try_numbers(sah_error *error)
{
    sah_result *result = NULL, *parsed = NULL;
    const char *path = paths[5];
    sah_head *heads = NULL;
    double *scores = NULL;
    sah_ranked *ranked = NULL;
    size_t n;
    sah_concentration concentration;
    sah_comparison comparison;
    sah_strings harmful = {0}, harmless = {0};
    sah_status status = sah_result_open(&path, 1, &result, error);
    if (status == SAH_OK) status = sah_result_parse(ships_text, strlen(ships_text), &parsed, error);
    if (status == SAH_OK) status = sah_result_scores(result, SAH_SCORE_KL, &heads, &scores, error);
    if (status == SAH_OK) status = sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, error);
    if (status == SAH_OK) status = sah_concentrate(result, SAH_ORDER_MEAN, &concentration, error);
    if (status == SAH_OK) status = sah_compare(result, parsed, SAH_ORDER_MEAN, &comparison, error);
    if (status == SAH_OK) status = sah_audit_queries(8, &harmful, &harmless, error);
    if (status == SAH_OK) {
        say(heads, n * sizeof *heads);
        say(&ranked->mean, sizeof ranked->mean);
        say(&concentration.total, sizeof concentration.total);
        say(&comparison.spearman, sizeof comparison.spearman);
        say_list(&harmful);
    }
    free(heads);
    free(scores);
    free(ranked);
    sah_result_close(result);
    sah_result_close(parsed);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    return status;
}

static sah_status try_refusal_check(sah_error *error)
{
    sah_refusal_check check;
    sah_status status = sah_check_refusal(model, &queries, "chat", NULL, 0, &check, error);
    if (status == SAH_OK) say(&check, sizeof check);
    return status;
}

/* The other shard has done its part. */
static sah_status try_together(sah_error *error)
{
    const sah_find_options find = {.steps = 2, .rank = 1};
    sah_run_options options = run_options;
    char folder[512];
    snprintf(folder, sizeof folder, "%s", scratch("made"));
    options.together = folder;
    options.shard = (sah_shard){0, 2};
    const bool there = access(made("shard-1-of-2.jsonl"), F_OK) == 0;
    if (!there && symlink(scratch("together/shard-1-of-2.jsonl"), made("shard-1-of-2.jsonl")) != 0) abort();
    return sah_find(model, &queries, NULL, &options, &find, made("shard-0-of-2.jsonl"), error);
}

static sah_status try_find_more(sah_error *error)
{
    char states[512];
    snprintf(states, sizeof states, "%s", made("states.npy"));
    const sah_find_options find = {
        .steps = 1, .rank = 1, .start = "3-1", .save_states = states, .variant = SAH_VARIANT_RIGHT};
    return sah_find(model, &queries, &others, &run_options, &find, made("out.jsonl"), error);
}

static sah_status try_sweep(sah_error *error)
{
    static const sah_head heads[] = {{1, 2}, {0, 1}};
    const sah_generate_options options = {.max_new_tokens = 2,
                                          .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F},
                                          .heads = heads,
                                          .n_heads = 2,
                                          .curve = true,
                                          .random = true,
                                          .random_seed = 3};
    return sah_generate(model, &queries, &options, made("out.jsonl"), error);
}

static sah_status try_guard(sah_error *error)
{
    sah_judge *judge = NULL;
    const sah_guard guard = {
        .model = model, .template_ = "Is {query} answered by {response}?", .threshold = 0.5};
    sah_status status = sah_judge_new(SAH_RULE_REFERENCE, NULL, &judge, error);
    if (status == SAH_OK)
        status = sah_judge_file(judge, &guard, scratch("asked.jsonl"), "answer", "label", made("out.jsonl"),
                                NULL, error);
    sah_judge_free(judge);
    return status;
}

static sah_status try_utility(sah_error *error)
{
    static const sah_head heads[] = {{1, 2}};
    sah_items items = {0};
    sah_utility_totals totals;
    const char *const text = scratch("text.txt");
    sah_status status = sah_items_read("tests/golden/utility/items.jsonl", 2, &items, error);
    const sah_utility_options options = {.items = &items,
                                         .delimiter = " ",
                                         .text = text,
                                         .window = 8,
                                         .heads = heads,
                                         .n_heads = 1,
                                         .run = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 0}}};
    if (status == SAH_OK) status = sah_utility(model, &options, made("out.jsonl"), &totals, error);
    sah_items_free(&items);
    return status;
}

/* Shards are merged, and what follows from all their lines is added. */
static sah_status try_merge(sah_error *error)
{
    const char *const files[] = {paths[8], paths[9]};
    sah_merge_report report = {0};
    bool done = false;
    sah_status status = sah_merge(files, 2, made("out.jsonl"), &report, error);
    sah_merge_report_free(&report);
    if (status == SAH_OK) status = sah_find_conclude(made("out.jsonl"), &done, error);
    if (status == SAH_OK) say(&done, sizeof done);
    return status;
}

static sah_status try_merge_utility(sah_error *error)
{
    const char *const files[] = {paths[10], paths[11]};
    sah_merge_report report = {0};
    bool done = false;
    sah_status status = sah_merge(files, 2, made("out.jsonl"), &report, error);
    sah_merge_report_free(&report);
    if (status == SAH_OK) status = sah_utility_conclude(made("out.jsonl"), &done, error);
    if (status == SAH_OK) say(&done, sizeof done);
    return status;
}

/* What is missing is said. */
static sah_status try_merge_part(sah_error *error)
{
    const char *const file = paths[8];
    sah_merge_report report = {0};
    sah_status status = sah_merge(&file, 1, made("out.jsonl"), &report, error);
    for (size_t i = 0; i < report.missing.n && status == SAH_OK; i++)
        say(report.missing.items[i], strlen(report.missing.items[i]));
    sah_merge_report_free(&report);
    return status;
}

/* ---- Edited checkpoints ---- */

static sah_status edit(const char *path, const char *adapter, const char *name, sah_error *error)
{
    sah_strings notes = {0};
    const sah_surgery_options options = {
        .heads = "0-1,1-0", .ablation = {SAH_PART_Q | SAH_PART_V, SAH_OP_SCALE, 0.5F}, .adapter = adapter};
    sah_status status = sah_surgery(path, &options, made(name), &notes, error);
    sah_strings_free(&notes);
    return status;
}

static sah_status try_surgery(sah_error *error)
{
    return edit(GOLDEN "llama-sharded", NULL, "edited", error);
}

static sah_status try_surgery_adapter(sah_error *error)
{
    return edit(GOLDEN "llama-gqa", "tests/golden/adapters/plain", "edited", error);
}

static sah_status try_surgery_gguf(sah_error *error)
{
    return edit(GOLDEN "llama-quantised/model-mixed.gguf", NULL, "edited.gguf", error);
}

static sah_status try_surgery_torch(sah_error *error)
{
    return edit("tests/golden/formats/llama-bin-sharded", NULL, "edited", error);
}

static sah_status graft(const char *a, const char *b, const char *name, sah_error *error)
{
    sah_strings notes = {0};
    const sah_graft_options options = {.attention = SAH_SIDE_A, .mlp = SAH_SIDE_B, .rest = SAH_SIDE_A};
    sah_status status = sah_graft(a, b, &options, made(name), &notes, error);
    sah_strings_free(&notes);
    return status;
}

static sah_status try_graft(sah_error *error)
{
    return graft(GOLDEN "llama-gqa", GOLDEN "llama-gqa", "mixed", error);
}

static sah_status try_graft_gguf(sah_error *error)
{
    return graft(GOLDEN "llama-gqa/model-f32.gguf", GOLDEN "llama-gqa/model-f32.gguf", "mixed.gguf", error);
}

/* ---- Each in turn ---------------------------------------------------------------------------------------- */

static void try_all(const char *name, sah_status (*call)(sah_error *))
{
    int wrong = 0, tries = 0;
    long n = 0, total = 0;
    const clock_t began = clock();
    sah_error first = {0};
    remove_made();
    n_said = 0;
    expect_ok(call(&first), &first);
    sah_text usual = read_made();
    for (bool more = true; more; n = next_allocation(n), tries++) {
        sah_error error = {0}, again = {0};
        remove_made();
        n_said = 0;
        countdown = n;
        failed = coped = false;
        armed = true;
        sah_status status = call(&error);
        armed = false;
        more = failed;
        total = n - countdown;
        const bool told = status == SAH_OUT_OF_MEMORY && error.status == status &&
                          (strstr(error.message, "not enough memory") != NULL ||
                           strstr(error.message, "Cannot allocate memory") != NULL);
        const bool borne = status == SAH_OK && (coped || usual.size > 0) && same_made(&usual);
        const bool good = failed ? told || borne : status == SAH_OK && same_made(&usual);
        n_said = status == SAH_OK ? n_said : 0;
        const bool resumes =
            status == SAH_OK || !left_anything() || (call(&again) == SAH_OK && same_made(&usual));
        if (good && resumes) continue;
        if (wrong++ < 12)
            print_error("%s: allocation %ld: status %d, \"%s\"%s%s\n", name, n, (int)status, error.message,
                        resumes ? "" : "; and the call does not carry on: ", again.message);
    }
    free(usual.data);
    print_message("%s: %d of %ld allocations, %.1f s\n", name, tries - 1, total,
                  (double)(clock() - began) / CLOCKS_PER_SEC);
    assert_int_equal(wrong, 0);
}

#define TRY(name)                                                                                            \
    static void test_##name(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        needs(CAN_FAIL, "glibc");                                                                            \
        try_all(#name, try_##name);                                                                          \
    }
TRY(queries)
TRY(directory)
TRY(gguf)
TRY(torch)
TRY(tokenizer)
TRY(text)
TRY(prompts)
TRY(interchanged)
TRY(ships)
TRY(find)
TRY(direction)
TRY(generate)
TRY(judge)
TRY(result)
TRY(search_result)
TRY(report)
TRY(picture)
TRY(split_gguf)
TRY(torch_adapter)
TRY(experts)
TRY(fp8)
TRY(byte_pairs)
TRY(unigram)
TRY(added_tokens)
TRY(normaliser)
TRY(gguf_tokenizer)
TRY(template)
TRY(template_opened)
TRY(description)
TRY(check)
TRY(signed_ships)
TRY(screen)
TRY(matching)
TRY(partners)
TRY(apart)
TRY(swap)
TRY(numbers)
TRY(refusal_check)
TRY(together)
TRY(find_more)
TRY(sweep)
TRY(guard)
TRY(utility)
TRY(merge)
TRY(merge_utility)
TRY(merge_part)
TRY(surgery)
TRY(surgery_adapter)
TRY(surgery_gguf)
TRY(surgery_torch)
TRY(graft)
TRY(graft_gguf)

static char together[512];

/* Two shards that wait for each other. */
static void *run_shard(void *number)
{
    const size_t index = (size_t)(uintptr_t)number;
    const sah_find_options find = {.steps = 2, .rank = 1};
    sah_run_options options = run_options;
    sah_error error = {0};
    char folder[512], path[1024];
    strcpy(folder, together);
    snprintf(path, sizeof path, "%s/shard-%zu-of-2.jsonl", folder, index);
    options.together = folder;
    options.shard = (sah_shard){index, 2};
    return sah_find(model, &queries, NULL, &options, &find, path, &error) == SAH_OK ? NULL : number;
}

static void prepare_searches(void)
{
    const sah_find_options two_steps = {.steps = 2, .rank = 1}, one = {.steps = 1, .rank = 1};
    sah_error error = {0};
    expect_ok(sah_find(model, &queries, NULL, &run_options, &two_steps, paths[7], &error), &error);
    for (size_t i = 0; i < 2; i++) {
        sah_run_options options = run_options;
        options.shard = (sah_shard){i, 2};
        expect_ok(sah_find(model, &queries, NULL, &options, &one, paths[8 + i], &error), &error);
    }
    pthread_t threads[2];
    strcpy(together, scratch("together"));
    mkdir(together, 0777);
    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_shard, (void *)i), 0);
    for (size_t i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void prepare_utility(void)
{
    sah_error error = {0};
    sah_items items;
    expect_ok(sah_items_read("tests/golden/utility/items.jsonl", 4, &items, &error), &error);
    for (size_t i = 0; i < 2; i++) {
        const sah_utility_options options = {.items = &items, .run = {.shard = {i, 2}, .memory = 1 << 20}};
        expect_ok(sah_utility(model, &options, paths[10 + i], NULL, &error), &error);
    }
    sah_items_free(&items);
}

/* tests/golden/sentencepiece has the kinds as 0.model to 4.model. */
static void prepare_pieces(void)
{
    static const char *const models[] = {"0.model", "1.model"};
    for (size_t i = 0; i < 2; i++) {
        char path[2048];
        size_t size;
        strcpy(piece_models[i], scratch(models[i]));
        mkdir(piece_models[i], 0777);
        snprintf(path, sizeof path, "tests/golden/sentencepiece/%s", models[i]);
        uint8_t *data = scratch_read(path, &size);
        snprintf(path, sizeof path, "%s/tokenizer.model", piece_models[i]);
        scratch_write(path, data, size);
        free(data);
    }
}

static int prepare(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"q.csv", "id,goal\n1,\"a, b\"\n2,c\n"},
        {"q.jsonl", "{\"goal\": \"a\", \"x\": [1, 2]}\n{\"goal\": \"b\"}\n"},
        {"q.json", "[\"a\", {\"goal\": \"b\"}]"},
        {"q.txt", "one\ntwo\n"},
        {"r.jsonl",
         "{\"response\": \"I cannot help with that.\"}\n{\"response\": \"Here is how: take a goat.\"}\n"},
        {"ships.jsonl", NULL},
        {"plain.jsonl", NULL},
        {"find.jsonl", NULL},
        {"find-0.jsonl", NULL},
        {"find-1.jsonl", NULL},
        {"utility-0.jsonl", NULL},
        {"utility-1.jsonl", NULL},
    };
    size_t size;
    sah_error error = {0};
    const sah_model_options options = {.threads = 1};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        strcpy(paths[i], scratch(files[i][0]));
        if (files[i][1] != NULL) scratch_write_text(paths[i], files[i][1]);
    }
    scratch_write_text(scratch("pairs.csv"),
                       "goal,partner\nHow to starve a goat?,How to feed a goat?\nWhy?,When?\n");
    scratch_write_text(scratch("text.txt"),
                       "A goat eats grass in the morning, and in the evening it sleeps.\n");
    scratch_write_text(scratch("asked.jsonl"),
                       "{\"query\": \"How?\", \"answer\": \"I cannot.\", \"label\": \"refusal\"}\n");
    expect_ok(sah_model_open(ORGANISM, &options, &model, &error), &error);
    expect_ok(sah_ships(model, &queries, &queries, &run_options, paths[5], &error), &error);
    expect_ok(sah_ships(model, &queries, NULL, &run_options, paths[6], &error), &error);
    ships_text = (char *)scratch_read(paths[5], &size);
    prepare_searches();
    prepare_utility();
    prepare_pieces();
    static const chain_token tokens[] = {{"</s>", 0, true}, {"bake", 0, false}};
    expect_ok(
        sah_model_open(chain_write("templated", tokens, 2, chat_template), &options, &templated, &error),
        &error);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    sah_model_close(model);
    sah_model_close(templated);
    free(ships_text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queries),       cmocka_unit_test(test_directory),
        cmocka_unit_test(test_gguf),          cmocka_unit_test(test_torch),
        cmocka_unit_test(test_tokenizer),     cmocka_unit_test(test_text),
        cmocka_unit_test(test_prompts),       cmocka_unit_test(test_interchanged),
        cmocka_unit_test(test_ships),         cmocka_unit_test(test_find),
        cmocka_unit_test(test_direction),     cmocka_unit_test(test_generate),
        cmocka_unit_test(test_judge),         cmocka_unit_test(test_result),
        cmocka_unit_test(test_search_result), cmocka_unit_test(test_report),
        cmocka_unit_test(test_picture),       cmocka_unit_test(test_split_gguf),
        cmocka_unit_test(test_torch_adapter), cmocka_unit_test(test_experts),
        cmocka_unit_test(test_fp8),           cmocka_unit_test(test_byte_pairs),
        cmocka_unit_test(test_unigram),       cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_normaliser),    cmocka_unit_test(test_gguf_tokenizer),
        cmocka_unit_test(test_template),      cmocka_unit_test(test_template_opened),
        cmocka_unit_test(test_description),   cmocka_unit_test(test_check),
        cmocka_unit_test(test_signed_ships),  cmocka_unit_test(test_screen),
        cmocka_unit_test(test_matching),      cmocka_unit_test(test_partners),
        cmocka_unit_test(test_apart),         cmocka_unit_test(test_swap),
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_refusal_check),
        cmocka_unit_test(test_together),      cmocka_unit_test(test_find_more),
        cmocka_unit_test(test_sweep),         cmocka_unit_test(test_guard),
        cmocka_unit_test(test_utility),       cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_utility), cmocka_unit_test(test_merge_part),
        cmocka_unit_test(test_surgery),       cmocka_unit_test(test_surgery_adapter),
        cmocka_unit_test(test_surgery_gguf),  cmocka_unit_test(test_surgery_torch),
        cmocka_unit_test(test_graft),         cmocka_unit_test(test_graft_gguf),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
