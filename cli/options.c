/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"
#include "nearest.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PLACE(member) offsetof(cli_options, member)
const option_spec options_table[N_OPTIONS] = {
    [OPT_HELP] = {"help", 'h', NULL, NOTHING, 0, 0, 0, "this text"},
    [OPT_QUIET] = {"quiet", 'q', NULL, FLAG, PLACE(quiet), 0, 0, "no progress on standard error"},
    [OPT_OUTPUT] = {"output", 'o', "FILE", FILE_OR_DASH, PLACE(output), 0, 0,
                    "where the result goes (default: standard output)"},
    [OPT_THREADS] = {"threads", 't', "N", INT_COUNT, PLACE(threads), 1, 1024,
                     "threads to use (default: all processors)"},
    [OPT_PART] = {"part", 0, "q|k|v|q,v...", PARTS, PLACE(ablation.parts), 0, 0,
                  "what of a head is ablated (default: q)"},
    [OPT_OP] = {"op", 0, "scale|mean|swap|mean-data", CHOICE, PLACE(ablation.op), 0, 0,
                "how (default: scale); swap: with the states of each query's partner;\n"
                "mean-data: with means over --reference"},
    [OPT_SCALE] = {"scale", 0, "F", FACTOR, PLACE(ablation.factor), 0, 0,
                   "factor of scale (default: 1e-4; 0 is exact)"},
    [OPT_PARTNERS] = {"partners", 0, "FILE", NAME, PLACE(partners), 0, 0,
                      "for swap: line i is the partner of query i (default: the column partner\nof QUERIES)"},
    [OPT_MATCH] = {"match", 0, "length|words", MAYBE_CHOICE, PLACE(match), 0, 0,
                   "choose partners from --partners: of nearest length (default), or with\n"
                   "most words in common"},
    [OPT_DIRECTION] = {"direction", 0, "necessity|sufficiency", CHOICE, PLACE(direction), 0, 0,
                       "for swap: queries with their partners' states (default), or partners with\n"
                       "the queries'"},
    [OPT_CONTRAST_PARTNERS] = {"contrast-partners", 0, "FILE", NAME, PLACE(contrast_partners), 0, 0,
                               "for swap: the partners of the contrast queries (default: chosen from\n"
                               "--partners, by --match)"},
    [OPT_REFERENCE] = {"reference", 0, "FILE", NAME, PLACE(reference), 0, 0,
                       "for mean-data: the queries whose mean it is"},
    [OPT_POSITIONS] = {"positions", 0, "end|all", CHOICE, PLACE(positions), 0, 0,
                       "for mean-data: a mean for each position counted from the end (default),\n"
                       "or one over all"},
    [OPT_LAYERS] = {"layers", 0, "A:B", RANGE, PLACE(layer_from), 0, 0, "only layers A to B-1"},
    [OPT_HEADS] = {"heads", 0, "A:B", RANGE, PLACE(head_from), 0, 0, "only heads A to B-1 of each layer"},
    [OPT_TEMPLATE] = {"template", 0, "NAME|STRING", TEXT, PLACE(template_), 0, 0,
                      "how a query becomes a prompt: ships, sahara, none, tokens (it is token ids),\n"
                      "chat, a chat family, or a string with {} for it and \\n for a line end"},
    [OPT_SYSTEM] = {"system", 0, "TEXT", TEXT, PLACE(system), 0, 0,
                    "system prompt, where the template has a place for one"},
    [OPT_TEMPLATE_VAR] = {"template-var", 0, "NAME=VALUE", LIST, PLACE(template_vars), 0, 0,
                          "a variable of the chat template (enable_thinking=false); VALUE is JSON,\n"
                          "or else plain text; may be given several times"},
    [OPT_TEMPLATE_DATE] = {"template-date", 0, "YYYY-MM-DD|today", NAME, PLACE(template_date), 0, 0,
                           "the day that a chat template takes for today (default: 2024-07-26,\n"
                           "so that prompts do not change from day to day)"},
    [OPT_ADAPTER] = {"adapter", 0, "DIR", NAME, PLACE(adapter), 0, 0,
                     "a LoRA adapter (PEFT's layout), merged while loading"},
    [OPT_ADAPTER_B] = {"adapter-b", 0, "DIR", NAME, PLACE(adapter_b), 0, 0,
                       "the same for MODEL_B, where --adapter is for MODEL_A"},
    [OPT_LIMIT] = {"limit", 0, "N", COUNT, PLACE(limit), 1, INT_MAX, "only the first N queries"},
    [OPT_COLUMN] = {"column", 0, "NAME", NAME, PLACE(column), 0, 0,
                    "column or key of the queries (default: input, goal, query or prompt),\n"
                    "in judge of the responses (response, generation or output)"},
    [OPT_PRECISION] = {"precision", 0, "f32|bf16|auto", CHOICE, PLACE(precision), 0, 0,
                       "type of weights and products (default: f32)"},
    [OPT_DEVICE] = {"device", 0, "cpu|cuda|auto", CHOICE, PLACE(device), 0, 0,
                    "what to compute on (default: cpu); auto: an NVIDIA card where one will do"},
    [OPT_MEMORY] = {"memory", 0, "SIZE", BYTES, PLACE(memory), 0, 0,
                    "memory for weights and everything else, as 512M or 24G: weights that do not fit\n"
                    "are read again each time they are needed"},
    [OPT_CONTRAST] = {"contrast", 0, "FILE", NAME, PLACE(contrast), 0, 0,
                      "harmless queries, scored in the same run; in compare, their result"},
    [OPT_ABLATE] = {"ablate", 0, "HEADS", TEXT, PLACE(ablate), 0, 0, "heads to ablate, as 5-6,18-8"},
    [OPT_TOKENS] = {"tokens", 0, "TEXT", TEXT, PLACE(tokens), 0, 0, "print the token ids of TEXT"},
    [OPT_TOKENS_IN] = {"tokens-in", 0, "IDS", TEXT, PLACE(tokens_in), 0, 0,
                       "the prompt as token ids, separated by blanks or commas"},
    [OPT_TEXT] = {"text", 0, "TEXT", TEXT, PLACE(text), 0, 0, "the prompt as text"},
    [OPT_PROMPT] = {"prompt", 0, "TEXT", TEXT, PLACE(prompt), 0, 0,
                    "print TEXT wrapped in the model's chat template (or --template)"},
    [OPT_CHECK] = {"check", 0, NULL, FLAG, PLACE(check), 0, 0,
                   "load the model, run a prompt, and say which parts are supported"},
    [OPT_JSON] = {"json", 0, NULL, FLAG, PLACE(json), 0, 0, "print JSON"},
    [OPT_TOP] = {"top", 0, "N", COUNT, PLACE(top), 1, INT_MAX, "only the first N heads"},
    [OPT_BY_QUERY] = {"by-query", 0, NULL, FLAG, PLACE(by_query), 0, 0,
                      "rank the heads of every query separately (ten unless --top)"},
    [OPT_FORMAT] = {"format", 0, "tsv|json|reference", WORD, PLACE(format), 0, 0,
                    "how to write it (default: tsv); reference: one line\n"
                    "{\"query\": {\"layer-head\": score, ... ten}} per query"},
    [OPT_SORT] = {"sort", 0, "mean|count|difference|effect|toward", WORD, PLACE(sort), 0, 0,
                  "what orders the heads (default: difference with --contrast\nresults, else mean)"},
    [OPT_HEAT] = {"heat", 0, NULL, FLAG, PLACE(heat), 0, 0,
                  "draw a heat map, layers by heads, instead of a table"},
    [OPT_STEP] = {"step", 0, "N", COUNT, PLACE(step), 0, INT_MAX,
                  "which step of a find result (default: 0, every head alone)"},
    [OPT_WIDTH] = {"width", 0, "MM", NUMBER, PLACE(width), 20, 2000,
                   "greatest width of a picture in millimetres (default: 89; 183 where there are\n"
                   "more than 20 heads a layer)"},
    [OPT_MATCH_LENGTH] = {"match-length", 0, NULL, FLAG, PLACE(match_length), 0, 0,
                          "take one harmless query of like length for each harmful one"},
    [OPT_OPENING] = {"opening", 0, "M", COUNT, PLACE(opening), 0, 256,
                     "tokens of the model's own answer whose probability is followed, for the\n"
                     "signed effect (default: 8; 0 leaves it out)"},
    [OPT_OPENING_KL] = {"opening-kl", 0, NULL, FLAG, PLACE(opening_kl), 0, 0,
                        "the divergence over all those tokens as well"},
    [OPT_SCREEN] = {"screen", 0, NULL, FLAG, PLACE(screen), 0, 0,
                    "only the --top highest heads (default: 10), by a race: much faster"},
    [OPT_APART] = {"apart", 0, NULL, FLAG, PLACE(apart), 0, 0,
                   "each part of --part alone, in one sweep: FILE.q.jsonl, FILE.v.jsonl for\n"
                   "-o FILE.jsonl"},
    [OPT_STEPS] = {"steps", 0, "N", COUNT, PLACE(steps), 1, INT_MAX,
                   "heads to choose, one a step (default: 1)"},
    [OPT_RANK] = {"rank", 0, "R", COUNT, PLACE(rank), 1, INT_MAX, "singular vectors compared (default: 1)"},
    [OPT_VARIANT] = {"variant", 0, "subspace|spectral|right", CHOICE, PLACE(variant), 0, 0,
                     "compare spaces of left singular vectors (default) or of right ones,\nor first columns"},
    [OPT_START] = {"start", 0, "HEADS", TEXT, PLACE(start), 0, 0,
                   "heads that are in the group before the first step"},
    [OPT_SHORTLIST] = {"shortlist", 0, "K", COUNT, PLACE(shortlist), 1, INT_MAX,
                       "later steps try only the first step's K best heads"},
    [OPT_RANDOM_GROUPS] = {"random-groups", 0, "N", COUNT, PLACE(random_groups), 0, 100000,
                           "random groups that each later step is compared with (default: 19)"},
    [OPT_SAVE_STATES] = {"save-states", 0, "FILE.npy", NAME, PLACE(save_states), 0, 0,
                         "hidden states of the unablated model and of each step's group"},
    [OPT_CONCENTRATION] = {"concentration", 0, NULL, FLAG, PLACE(concentration), 0, 0,
                           "how few heads carry half of the score, and their share of the model"},
    [OPT_RULE] = {"rule", 0, "default|reference", CHOICE, PLACE(judge_rule), 0, 0,
                  "how to judge: Sahara's rule, or that of the paper's implementation"},
    [OPT_PHRASES] = {"phrases", 0, "FILE", NAME, PLACE(phrases), 0, 0, "another list of phrases, one a line"},
    [OPT_JUDGE_MODEL] = {"judge-model", 0, "MODEL", NAME, PLACE(judge_model), 0, 0,
                         "a guard model (Llama Guard and its like) that is asked as well"},
    [OPT_JUDGE_TEMPLATE] = {"judge-template", 0, "STRING", NAME, PLACE(judge_template), 0, 0,
                            "what it is asked, with {query} and {response} (default: its own template)"},
    [OPT_JUDGE_THRESHOLD] = {"judge-threshold", 0, "P", NUMBER, PLACE(judge_threshold), 0, 1,
                             "a response is unsafe above this probability (default: 0.5)"},
    [OPT_LABEL] = {"label", 0, "KEY", NAME, PLACE(label), 0, 0,
                   "key of a verdict given by hand, to report precision and recall"},
    [OPT_MAX_NEW_TOKENS] = {"max-new-tokens", 0, "N", INT_COUNT, PLACE(max_new_tokens), 1, INT_MAX,
                            "greatest length of a response in tokens (default: 128)"},
    [OPT_TEMPERATURE] = {"temperature", 0, "T", NUMBER, PLACE(temperature), 0, DBL_MAX,
                         "draw tokens, logits divided by T (default: greedy, T = 0)"},
    [OPT_TOP_K] = {"top-k", 0, "K", INT_COUNT, PLACE(top_k), 1, INT_MAX, "draw from the K likeliest tokens"},
    [OPT_TOP_P] = {"top-p", 0, "P", NUMBER, PLACE(top_p), DBL_MIN, 1,
                   "draw from the likeliest tokens that together have probability P"},
    [OPT_SEED] = {"seed", 0, "N", SEED, PLACE(seed), 0, 0,
                  "seed of the draws (default: 0); the same seed gives the same text"},
    [OPT_SWEEP_HEADS] = {"sweep-heads", 0, "N|N,N...", COUNTS, PLACE(sweep_heads), 1, INT_MAX,
                         "answer N + 1 times: no head ablated, the first of --from, ...\nthe first N; with "
                         "1,2,4,8 those numbers of heads alone"},
    [OPT_FROM] = {"from", 0, "RESULT", NAME, PLACE(from), 0, 0,
                  "a result whose order of heads --sweep-heads follows (see rank)"},
    [OPT_RANDOM_HEADS] = {"random-heads", 0, "SEED", SEED, PLACE(random_seed), 0, 0,
                          "with --sweep-heads: beside each number of heads, as many random ones"},
    [OPT_PERPLEXITY] = {"perplexity", 0, "FILE", NAME, PLACE(perplexity), 0, 0,
                        "a text whose perplexity to report"},
    [OPT_WINDOW] = {"window", 0, "N", COUNT, PLACE(window), 1, INT_MAX,
                    "tokens in a window of that text (default: the longest the model takes)"},
    [OPT_DELIMITER] = {"delimiter", 0, "TEXT", TEXT, PLACE(delimiter), 0, 0,
                       "text to put between context and choice (default: nothing; \" \" where the choices\n"
                       "do not begin with a blank)"},
    [OPT_LAYER] = {"layer", 0, "L", INT_COUNT, PLACE(layer), 0, INT_MAX,
                   "project every head on the direction after layer L\n(default: each head after its own)"},
    [OPT_CHECK_REFUSAL] = {"check-refusal", 0, "off|on", CHOICE, PLACE(check_refusal), 0, 0,
                           "warn when the model hardly refuses a sample of the queries\n"
                           "(default: on with a chat template)"},
    [OPT_SAVE_DIRECTIONS] = {"save-directions", 0, "FILE.npy", NAME, PLACE(save_directions), 0, 0,
                             "write the directions as a NumPy array"},
    [OPT_ATTENTION] = {"attention", 0, "A|B", CHOICE, PLACE(attention), 0, 0,
                       "the model whose attention weights to take"},
    [OPT_MLP] = {"mlp", 0, "A|B", CHOICE, PLACE(mlp), 0, 0, "the model whose MLP weights to take"},
    [OPT_REST] = {"rest", 0, "A|B", CHOICE, PLACE(rest), 0, 0,
                  "the model everything else comes from (default: that of --mlp)"},
    [OPT_QUICK] = {"quick", 0, NULL, FLAG, PLACE(quick), 0, 0,
                   "24 queries of each kind, by q alone, shorter responses, no search"},
    [OPT_SHARD] = {"shard", 0, "I/N|auto", SHARD, PLACE(shard), 0, 0,
                   "only part I (from 0) of N, for sahara merge; auto: what the scheduler says\n"
                   "(Slurm, mpirun, Kubernetes)"},
    [OPT_TOGETHER] = {"together", 0, "DIR", NAME, PLACE(together), 0, 0,
                      "the folder of all shards' results: shards of --steps or --screen read\n"
                      "what the others find (-o there by default)"},
};
#undef PLACE

/* Whole-string conversions: false when anything is left over or out of range. */

static bool parse_count(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    if (text[0] < '0' || text[0] > '9') return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < low || value > high) return false;
    *out = value;
    return true;
}

static bool parse_number(const char *text, double *out)
{
    if (text[0] == '\0' || strchr(" \t\n\v\f\r", text[0]) != NULL) return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

/* "A:B" with 0 <= A < B. */
static bool parse_range(const char *text, int *from, int *to)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL || colon - text > 15) return false;
    char first[16] = "";
    memcpy(first, text, (size_t)(colon - text));
    uint64_t a, b;
    if (!parse_count(first, 0, INT_MAX, &a) || !parse_count(colon + 1, a + 1, INT_MAX, &b)) return false;
    *from = (int)a;
    *to = (int)b;
    return true;
}

/* Bytes, with K, M, G or T for powers of 1024 ("1.5G", "512MB", "64MiB"). */
static bool parse_size(const char *text, uint64_t *out)
{
    if (text[0] < '0' || text[0] > '9') return false;
    char *end;
    double value = strtod(text, &end);
    static const char units[] = "KMGT";
    const char *unit = *end != '\0' ? strchr(units, *end & ~0x20) : NULL;
    if (unit != NULL) {
        value = ldexp(value, 10 * (int)(unit - units + 1));
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B') end++;
    if (*end != '\0' || !(value >= 1) || value > 0x1p60) return false;
    *out = (uint64_t)value;
    return true;
}

/* The place of `word` among those of "one|two|three", as `same` (strncmp or strncasecmp) compares them; -1: not
 * among them. */
static int find_word(const char *words, const char *word, int (*same)(const char *, const char *, size_t))
{
    size_t length = strlen(word);
    for (int i = 0; length > 0; i++) {
        size_t n = strcspn(words, "|");
        if (n == length && same(words, word, n) == 0) return i;
        if (words[n] == '\0') break;
        words += n + 1;
    }
    return -1;
}

/* Stores a number of a kind that counts; false when it is not one, or out of range. */
static bool set_count(const option_spec *spec, const char *value, void *place)
{
    uint64_t count;
    uint64_t high = spec->kind == SEED ? INT64_MAX : (uint64_t)spec->high;
    if (!parse_count(value, (uint64_t)spec->low, high, &count)) return false;
    if (spec->kind == COUNT)
        *(size_t *)place = (size_t)count;
    else if (spec->kind == INT_COUNT)
        *(int *)place = (int)count;
    else
        *(uint64_t *)place = count;
    return true;
}

/* "8", or "1,2,4,8". */
static bool parse_counts(const option_spec *spec, const char *value, cli_counts *out)
{
    const bool single = strchr(value, ',') == NULL;
    *out = (cli_counts){0};
    for (const char *at = value;; at++) {
        const size_t length = strcspn(at, ",");
        char digits[32] = "";
        uint64_t count;
        if (length >= sizeof digits || out->n == sizeof out->items / sizeof *out->items) return false;
        memcpy(digits, at, length);
        if (!parse_count(digits, (uint64_t)spec->low, (uint64_t)spec->high, &count) || count <= out->most)
            return false;
        out->most = out->items[out->n++] = (size_t)count;
        at += length;
        if (*at == '\0') break;
    }
    if (single) out->n = 0;
    return true;
}

/* False when memory is out. */
static bool add_to_list(void *place, const char *value)
{
    const char ***list = place;
    size_t *n = (size_t *)(list + 1);
    const char **grown = realloc(*list, (*n + 1) * sizeof **list);
    if (grown == NULL) return false;
    grown[(*n)++] = value;
    *list = grown;
    return true;
}

/* Stores one option's value; false when it makes no sense. `why` gets the library's message where it has one.
 */
static bool set_option(cli_options *o, const option_spec *spec, const char *value, sah_error *why)
{
    void *place = (char *)o + spec->place;
    double number;
    int word;
    switch (spec->kind) {
    case NOTHING:
        return true;
    case FLAG:
        *(bool *)place = true;
        return true;
    case TEXT:
        *(const char **)place = value;
        return true;
    case NAME:
        *(const char **)place = value;
        return value[0] != '\0';
    case FILE_OR_DASH:
        *(const char **)place = strcmp(value, "-") == 0 ? NULL : value;
        return value[0] != '\0';
    case WORD:
        *(const char **)place = value;
        return find_word(spec->argument, value, strncmp) >= 0;
    case CHOICE:
    case MAYBE_CHOICE:
        word = find_word(spec->argument, value, strncasecmp);
        *(int *)place = word;
        return word >= 0;
    case COUNT:
    case INT_COUNT:
    case SEED:
        return set_count(spec, value, place);
    case NUMBER:
        if (!parse_number(value, &number) || number < spec->low || number > spec->high) return false;
        *(double *)place = number;
        return true;
    case FACTOR:
        if (!parse_number(value, &number) || fabs(number) > 1e30) return false;
        *(float *)place = (float)number;
        return true;
    case BYTES:
        return parse_size(value, (uint64_t *)place);
    case RANGE:
        return parse_range(value, (int *)place, (int *)place + 1);
    case LIST:
        if (add_to_list(place, value)) return true;
        why->status = SAH_OUT_OF_MEMORY;
        return false;
    case PARTS:
        return sah_parts_parse(value, (unsigned *)place, why) == SAH_OK;
    case SHARD:
        return sah_shard_parse(value, place, why) == SAH_OK;
    case COUNTS:
        return parse_counts(spec, value, place);
    }
    return false;
}

/* What the option's value must be, for a person. */
static void describe_value(const option_spec *spec, char out[96])
{
    const double high = spec->kind == SEED ? (double)INT64_MAX : spec->high;
    switch (spec->kind) {
    case COUNT:
    case INT_COUNT:
    case SEED:
        if (high >= INT_MAX)
            snprintf(out, 96, "%s, a whole number from %.0f on", spec->argument, spec->low);
        else
            snprintf(out, 96, "%s, a whole number from %.0f to %.0f", spec->argument, spec->low, high);
        return;
    case NUMBER:
        if (high == DBL_MAX)
            snprintf(out, 96, "%s, a number from %g on", spec->argument, spec->low);
        else if (spec->low == DBL_MIN)
            snprintf(out, 96, "%s, a number above 0 and up to %g", spec->argument, high);
        else
            snprintf(out, 96, "%s, a number from %g to %g", spec->argument, spec->low, high);
        return;
    case FACTOR:
        snprintf(out, 96, "%s, a number", spec->argument);
        return;
    case COUNTS:
        snprintf(out, 96, "%s, a whole number from %.0f on, or several in ascending order", spec->argument,
                 spec->low);
        return;
    case RANGE:
        snprintf(out, 96, "%s, whole numbers with A below B, B left out, as in 0:4", spec->argument);
        return;
    case BYTES:
        snprintf(out, 96, "%s, as in 512M or 24G", spec->argument);
        return;
    default:
        snprintf(out, 96, "%s", spec->argument);
    }
}

bool options_understood(const option_id allowed[N_OPTIONS], option_id id)
{
    if (id == OPT_HELP || id == OPT_QUIET) return true;
    for (int i = 0; i < N_OPTIONS && allowed[i] != OPT_HELP; i++)
        if (allowed[i] == id) return true;
    return false;
}

static option_id find_long(const char *name, size_t length)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        if (strlen(options_table[i].name) == length && memcmp(options_table[i].name, name, length) == 0)
            return (option_id)i;
    }
    return N_OPTIONS;
}

static option_id find_short(char letter)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        if (options_table[i].letter == letter) return (option_id)i;
    }
    return N_OPTIONS;
}

/* The command's option whose name is nearest to the one written; NULL: none is near. */
static const char *nearest_option(const option_id allowed[N_OPTIONS], const char *name, size_t length)
{
    const char *names[N_OPTIONS];
    size_t n = 0;
    char written[32] = "";
    if (length >= sizeof written) return NULL;
    memcpy(written, name, length);
    for (int i = 0; i < N_OPTIONS; i++)
        if (options_understood(allowed, (option_id)i)) names[n++] = options_table[i].name;
    return nearest_word(written, names, n);
}

/* Parses the option at argv[*at] and moves *at to the last word it uses. A cluster of one-letter flags
 * ("-qh") is allowed, a value may follow its letter directly ("-t4"). */
static bool parse_option(int argc, char **argv, int *at, const option_id allowed[N_OPTIONS], cli_options *out,
                         char message[512])
{
    const char *word = argv[*at];
    bool is_long = word[1] == '-';
    const char *rest = word + 1; /* letters still to read, for short cli_options */
    char first[32], expected[96];
    do {
        size_t length = is_long ? strcspn(word + 2, "=") : 1;
        option_id id = is_long ? find_long(word + 2, length) : find_short(*rest);
        const char *value = is_long && word[2 + length] == '=' ? word + 2 + length + 1 : NULL;
        rest += 1;
        if (id == N_OPTIONS || !options_understood(allowed, id)) {
            const int shown = is_long && length < 200 ? (int)length + 2 : 200;
            const char *meant = is_long ? nearest_option(allowed, word + 2, length) : NULL;
            snprintf(message, 512, "%s option %.*s%s%s%s",
                     id == N_OPTIONS ? "unknown" : "this command has no", shown, word,
                     meant != NULL ? "; is --" : "", meant != NULL ? meant : "",
                     meant != NULL ? " meant?" : "");
            return false;
        }
        const option_spec *spec = &options_table[id];
        if (spec->argument == NULL && value != NULL) {
            snprintf(message, 512, "--%s takes no value", spec->name);
            return false;
        }
        if (spec->argument != NULL && value == NULL) {
            if (!is_long && *rest != '\0') {
                value = rest;
                rest = "";
            } else if (spec->kind == MAYBE_CHOICE) {
                bool follows = *at + 1 < argc && find_word(spec->argument, argv[*at + 1], strncmp) >= 0;
                snprintf(first, sizeof first, "%.*s", (int)strcspn(spec->argument, "|"), spec->argument);
                value = follows ? argv[++*at] : first;
            } else if (*at + 1 < argc) {
                value = argv[++*at];
            } else {
                snprintf(message, 512, "--%s needs a value: --%s %s", spec->name, spec->name, spec->argument);
                return false;
            }
        }
        sah_error why = {0};
        if (!set_option(out, spec, value, &why)) {
            if (why.status == SAH_OUT_OF_MEMORY) {
                message[0] = '\0';
            } else if (why.message[0] != '\0') {
                snprintf(message, 512, "--%s: %.400s", spec->name, why.message);
            } else {
                describe_value(spec, expected);
                snprintf(message, 512, "--%s %.200s: expected %s", spec->name, value, expected);
            }
            return false;
        }
        out->given[id] = true;
    } while (!is_long && *rest != '\0');
    return true;
}

bool options_parse(int argc, char **argv, const option_id allowed[N_OPTIONS], cli_options *out,
                   char message[512])
{
    *out = (cli_options){.ablation = sah_ablation_default(), .layer = sah_direction_options_default().layer};
    out->arguments = calloc((size_t)argc + 1, sizeof *out->arguments);
    message[0] = '\0';
    if (out->arguments == NULL) return false;
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        if (ended || argv[i][0] != '-' || argv[i][1] == '\0') {
            out->arguments[out->n_arguments++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            ended = true;
        } else if (!parse_option(argc, argv, &i, allowed, out, message)) {
            return false;
        }
    }
    return true;
}

void options_free(cli_options *options)
{
    free(options->arguments);
    free(options->template_vars);
    options->arguments = NULL;
    options->template_vars = NULL;
}

size_t options_of_field(const sah_error *error, char option[64])
{
    /* Options that do not bear their field's name. */
    static const struct {
        const char *field;
        option_id id;
    } OTHERS[] = {
        {"guard.template_", OPT_JUDGE_TEMPLATE}, {"random", OPT_RANDOM_HEADS}, {"counts", OPT_SWEEP_HEADS}};
    char name[sizeof error->field] = "";
    const size_t length = strlen(error->field);
    option[0] = '\0';
    if (length == 0 || strncmp(error->message, error->field, length) != 0) return 0;
    for (size_t i = 0; i < length; i++) name[i] = (char)(error->field[i] == '_' ? '-' : error->field[i]);
    option_id id = find_long(name, length);
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++)
        if (strcmp(OTHERS[i].field, error->field) == 0) id = OTHERS[i].id;
    if (id == N_OPTIONS) return 0;
    snprintf(option, 64, "--%s", options_table[id].name);
    return length;
}

sah_model_options options_model(const cli_options *options)
{
    return (sah_model_options){.precision = options->precision,
                               .device = options->device,
                               .threads = options->threads,
                               .adapter = options->adapter,
                               .memory = options->memory,
                               .template_vars = options->template_vars,
                               .n_template_vars = options->n_template_vars,
                               .template_date = options->template_date};
}

sah_run_options options_run(const cli_options *options)
{
    return (sah_run_options){
        .ablation = options->ablation,
        .layer_from = options->layer_from,
        .layer_to = options->layer_to,
        .head_from = options->head_from,
        .head_to = options->head_to,
        .template_ = options->template_,
        .system = options->system,
        .shard = options->shard,
        .together = options->together,
    };
}

const char *options_output(const cli_options *options)
{
    return options->output != NULL ? options->output : "-";
}
