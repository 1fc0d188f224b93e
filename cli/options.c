#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct option_spec {
    const char *name;
    char letter; /* 0: none */
    const char *argument; /* NULL: a flag */
    const char *help;
} option_spec;

static const option_spec specs[N_OPTIONS] = {
    [OPT_HELP] = {"help", 'h', NULL, "this text"},
    [OPT_QUIET] = {"quiet", 'q', NULL, "no progress on standard error"},
    [OPT_OUTPUT] = {"output", 'o', "FILE", "where the result goes (default: standard output)"},
    [OPT_THREADS] = {"threads", 't', "N", "threads to use (default: all processors)"},
    [OPT_PART] = {"part", 0, "q|k|v|q,v...", "what of a head is ablated (default: q)"},
    [OPT_OP] = {"op", 0, "scale|mean", "how (default: scale)"},
    [OPT_SCALE] = {"scale", 0, "F", "factor of scale (default: 1e-4; 0 is exact)"},
    [OPT_LAYERS] = {"layers", 0, "A:B", "only layers A to B-1"},
    [OPT_HEADS] = {"heads", 0, "A:B", "only heads A to B-1 of each layer"},
    [OPT_TEMPLATE] = {"template", 0, "NAME|STRING",
                      "how a query becomes a prompt: ships, sahara, none, chat, a chat family,\n"
                      "or a string with {} for the query and \\n for a line end"},
    [OPT_SYSTEM] = {"system", 0, "TEXT", "system prompt, where the template has a place for one"},
    [OPT_ADAPTER] = {"adapter", 0, "DIR", "a LoRA adapter (PEFT's layout), merged while loading"},
    [OPT_ADAPTER_B] = {"adapter-b", 0, "DIR", "the same for MODEL_B, where --adapter is for MODEL_A"},
    [OPT_LIMIT] = {"limit", 0, "N", "only the first N queries"},
    [OPT_COLUMN] = {"column", 0, "NAME",
                    "column or key of the queries (default: input, goal, query or prompt),\n"
                    "in judge of the responses (response, generation or output)"},
    [OPT_PRECISION] = {"precision", 0, "f32|bf16|auto", "of weights and products (default: f32)"},
    [OPT_MEMORY] = {"memory", 0, "SIZE", "memory beside the weights, as 512M or 2G"},
    [OPT_CONTRAST] = {"contrast", 0, "FILE",
                      "harmless queries, scored in the same run; in compare, their result"},
    [OPT_ABLATE] = {"ablate", 0, "HEADS", "heads to ablate, as 5-6,18-8"},
    [OPT_TOKENS] = {"tokens", 0, "TEXT", "print the token ids of TEXT"},
    [OPT_TOKENS_IN] = {"tokens-in", 0, "IDS", "the prompt as token ids, separated by blanks or commas"},
    [OPT_TEXT] = {"text", 0, "TEXT", "the prompt as text"},
    [OPT_PROMPT] = {"prompt", 0, "TEXT", "print TEXT wrapped in the model's chat template (or --template)"},
    [OPT_JSON] = {"json", 0, NULL, "print JSON"},
    [OPT_TOP] = {"top", 0, "N", "only the first N heads"},
    [OPT_BY_QUERY] = {"by-query", 0, NULL, "rank the heads of every query apart (ten unless --top)"},
    [OPT_FORMAT] = {"format", 0, "tsv|json|reference",
                    "how to write it (default: tsv); reference: one line\n"
                    "{\"query\": {\"layer-head\": score, ... ten}} per query"},
    [OPT_SORT] = {"sort", 0, "mean|count|difference",
                  "what orders the heads (default: difference with --contrast\nresults, else mean)"},
    [OPT_HEAT] = {"heat", 0, NULL, "draw a heat map, layers by heads, instead of a table"},
    [OPT_STEP] = {"step", 0, "N", "which step of a find result (default: 0, every head alone)"},
    [OPT_MATCH_LENGTH] = {"match-length", 0, NULL,
                          "of the harmless queries take one for each harmful one, of like length"},
    [OPT_SCREEN] = {"screen", 0, NULL, "only the --top highest heads (default: 10), by a race: much faster"},
    [OPT_STEPS] = {"steps", 0, "N", "heads to choose, one a step (default: 1)"},
    [OPT_RANK] = {"rank", 0, "R", "singular vectors compared (default: 1)"},
    [OPT_VARIANT] = {"variant", 0, "subspace|right|spectral",
                     "compare spaces of left singular vectors (default) or of right ones,\nor first columns"},
    [OPT_START] = {"start", 0, "HEADS", "heads that are in the group before the first step"},
    [OPT_SHORTLIST] = {"shortlist", 0, "K", "later steps try only the first step's K best heads"},
    [OPT_RANDOM_GROUPS] = {"random-groups", 0, "N",
                           "random groups each later step is held against (default: 19)"},
    [OPT_SAVE_STATES] = {"save-states", 0, "FILE.npy",
                         "hidden states of the unablated model and of each step's group"},
    [OPT_CONCENTRATION] = {"concentration", 0, NULL,
                           "how few heads carry half of the score, and their share of the model"},
    [OPT_RULE] = {"rule", 0, "default|reference",
                  "how to judge: Sahara's rule, or that of the paper's implementation"},
    [OPT_PHRASES] = {"phrases", 0, "FILE", "another list of phrases, one a line"},
    [OPT_JUDGE_MODEL] = {"judge-model", 0, "MODEL",
                         "a guard model (Llama Guard and its like) that is asked as well"},
    [OPT_JUDGE_TEMPLATE] = {"judge-template", 0, "STRING",
                            "what it is asked, with {query} and {response} (default: its own template)"},
    [OPT_JUDGE_THRESHOLD] = {"judge-threshold", 0, "P",
                             "a response is unsafe above this probability (default: 0.5)"},
    [OPT_LABEL] = {"label", 0, "KEY", "key of a verdict given by hand, to report precision and recall"},
    [OPT_MAX_NEW_TOKENS] = {"max-new-tokens", 0, "N", "tokens of a response at most (default: 128)"},
    [OPT_TEMPERATURE] = {"temperature", 0, "T", "draw tokens, logits divided by T (default: greedy, T = 0)"},
    [OPT_TOP_K] = {"top-k", 0, "K", "draw from the K likeliest tokens"},
    [OPT_TOP_P] = {"top-p", 0, "P", "draw from the likeliest tokens that have probability P together"},
    [OPT_SEED] = {"seed", 0, "N", "of the draws (default: 0); the same seed gives the same text"},
    [OPT_SWEEP_HEADS] = {"sweep-heads", 0, "N",
                         "answer N + 1 times: no head ablated, the first of --from, ...\nthe first N"},
    [OPT_FROM] = {"from", 0, "RESULT", "a result whose order of heads --sweep-heads follows (see rank)"},
    [OPT_RANDOM_HEADS] = {"random-heads", 0, "SEED",
                          "with --sweep-heads: beside each number of heads as many random ones"},
    [OPT_PERPLEXITY] = {"perplexity", 0, "FILE", "a text whose perplexity to report"},
    [OPT_WINDOW] = {"window", 0, "N",
                    "tokens of a window of that text (default: the longest the model takes)"},
    [OPT_DELIMITER] = {"delimiter", 0, "TEXT",
                       "put between context and choice (default: nothing; \" \" where the choices\n"
                       "do not begin with a blank)"},
    [OPT_LAYER] = {"layer", 0, "L",
                   "project every head on the direction behind layer L\n(default: each head behind its own)"},
    [OPT_CHECK_REFUSAL] = {"check-refusal", 0, "on|off",
                           "warn when the model hardly refuses a sample of the queries\n"
                           "(default: on with a chat template)"},
    [OPT_SAVE_DIRECTIONS] = {"save-directions", 0, "FILE.npy", "write the directions as a NumPy array"},
    [OPT_ATTENTION] = {"attention", 0, "A|B", "the model whose attention weights to take"},
    [OPT_MLP] = {"mlp", 0, "A|B", "the model whose MLP weights to take"},
    [OPT_REST] = {"rest", 0, "A|B", "the model everything else comes from (default: that of --mlp)"},
};

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

static bool parse_side(const char *text, sah_side *side)
{
    *side = text[0] == 'B' || text[0] == 'b' ? SAH_SIDE_B : SAH_SIDE_A;
    return strchr("ABab", text[0]) != NULL && text[0] != '\0' && text[1] == '\0';
}

/* Stores one option's value; false when it makes no sense. `why` gets the library's message where it has one.
 */
static bool set_option(cli_options *o, option_id id, const char *value, sah_error *why)
{
    uint64_t count = 0;
    double number = 0;
    switch (id) {
    case OPT_QUIET:
        o->quiet = true;
        return true;
    case OPT_JSON:
        o->json = true;
        return true;
    case OPT_BY_QUERY:
        o->by_query = true;
        return true;
    case OPT_HEAT:
        o->heat = true;
        return true;
    case OPT_MATCH_LENGTH:
        o->match_length = true;
        return true;
    case OPT_SCREEN:
        o->screen = true;
        return true;
    case OPT_CONCENTRATION:
        o->concentration = true;
        return true;
    case OPT_OUTPUT:
        o->output = strcmp(value, "-") == 0 ? NULL : value;
        return value[0] != '\0';
    case OPT_TEMPLATE:
        o->template_ = value;
        return true;
    case OPT_SYSTEM:
        o->system = value;
        return true;
    case OPT_ADAPTER:
        o->adapter = value;
        return value[0] != '\0';
    case OPT_ADAPTER_B:
        o->adapter_b = value;
        return value[0] != '\0';
    case OPT_COLUMN:
        o->column = value;
        return value[0] != '\0';
    case OPT_CONTRAST:
        o->contrast = value;
        return value[0] != '\0';
    case OPT_ABLATE:
        o->ablate = value;
        return true;
    case OPT_TOKENS:
        o->tokens = value;
        return true;
    case OPT_TOKENS_IN:
        o->tokens_in = value;
        return true;
    case OPT_TEXT:
        o->text = value;
        return true;
    case OPT_PROMPT:
        o->prompt = value;
        return true;
    case OPT_FORMAT:
        o->format = value;
        return strcmp(value, "tsv") == 0 || strcmp(value, "json") == 0 || strcmp(value, "reference") == 0;
    case OPT_SORT:
        o->sort = value;
        return strcmp(value, "mean") == 0 || strcmp(value, "count") == 0 || strcmp(value, "difference") == 0;
    case OPT_THREADS:
        if (!parse_count(value, 1, 1024, &count)) return false;
        o->threads = (int)count;
        return true;
    case OPT_LIMIT:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->limit = (size_t)count;
        return true;
    case OPT_TOP:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->top = (size_t)count;
        return true;
    case OPT_STEP:
        if (!parse_count(value, 0, INT_MAX, &count)) return false;
        o->step = (size_t)count;
        return true;
    case OPT_PART:
        return sah_parts_parse(value, &o->ablation.parts, why) == SAH_OK;
    case OPT_OP:
        o->ablation.op = strcmp(value, "mean") == 0 ? SAH_OP_MEAN : SAH_OP_SCALE;
        return strcmp(value, "mean") == 0 || strcmp(value, "scale") == 0;
    case OPT_SCALE:
        if (!parse_number(value, &number) || fabs(number) > 1e30) return false;
        o->ablation.factor = (float)number;
        return true;
    case OPT_LAYERS:
        return parse_range(value, &o->layer_from, &o->layer_to);
    case OPT_HEADS:
        return parse_range(value, &o->head_from, &o->head_to);
    case OPT_MEMORY:
        return parse_size(value, &o->memory);
    case OPT_PRECISION:
        o->precision = strcmp(value, "bf16") == 0   ? SAH_PRECISION_BF16
                       : strcmp(value, "auto") == 0 ? SAH_PRECISION_AUTO
                                                    : SAH_PRECISION_F32;
        return o->precision != SAH_PRECISION_F32 || strcmp(value, "f32") == 0;
    case OPT_RULE:
        o->judge_rule = strcmp(value, "reference") == 0 ? SAH_RULE_REFERENCE : SAH_RULE_DEFAULT;
        return o->judge_rule == SAH_RULE_REFERENCE || strcmp(value, "default") == 0;
    case OPT_PHRASES:
        o->phrases = value;
        return value[0] != '\0';
    case OPT_JUDGE_MODEL:
        o->judge_model = value;
        return value[0] != '\0';
    case OPT_JUDGE_TEMPLATE:
        o->judge_template = value;
        return value[0] != '\0';
    case OPT_JUDGE_THRESHOLD:
        return parse_number(value, &o->judge_threshold) && o->judge_threshold >= 0 && o->judge_threshold <= 1;
    case OPT_LABEL:
        o->label = value;
        return value[0] != '\0';
    case OPT_MAX_NEW_TOKENS:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->max_new_tokens = (int)count;
        return true;
    case OPT_TEMPERATURE:
        return parse_number(value, &o->temperature) && o->temperature >= 0;
    case OPT_TOP_K:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->top_k = (int)count;
        return true;
    case OPT_TOP_P:
        return parse_number(value, &o->top_p) && o->top_p > 0 && o->top_p <= 1;
    case OPT_SEED:
        return parse_count(value, 0, INT64_MAX, &o->seed);
    case OPT_SWEEP_HEADS:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->sweep_heads = (size_t)count;
        return true;
    case OPT_FROM:
        o->from = value;
        return value[0] != '\0';
    case OPT_RANDOM_HEADS:
        return parse_count(value, 0, INT64_MAX, &o->random_seed);
    case OPT_PERPLEXITY:
        o->perplexity = value;
        return value[0] != '\0';
    case OPT_WINDOW:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->window = (size_t)count;
        return true;
    case OPT_DELIMITER:
        o->delimiter = value;
        return true;
    case OPT_LAYER:
        if (!parse_count(value, 0, INT_MAX, &count)) return false;
        o->layer = (int)count;
        return true;
    case OPT_CHECK_REFUSAL:
        o->check_refusal = strcmp(value, "on") == 0;
        return o->check_refusal || strcmp(value, "off") == 0;
    case OPT_STEPS:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->steps = (size_t)count;
        return true;
    case OPT_RANK:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->rank = (size_t)count;
        return true;
    case OPT_VARIANT:
        o->variant = strcmp(value, "spectral") == 0 ? SAH_VARIANT_SPECTRAL
                     : strcmp(value, "right") == 0  ? SAH_VARIANT_RIGHT
                                                    : SAH_VARIANT_SUBSPACE;
        return o->variant != SAH_VARIANT_SUBSPACE || strcmp(value, "subspace") == 0;
    case OPT_START:
        o->start = value;
        return true;
    case OPT_SHORTLIST:
        if (!parse_count(value, 1, INT_MAX, &count)) return false;
        o->shortlist = (size_t)count;
        return true;
    case OPT_RANDOM_GROUPS:
        if (!parse_count(value, 0, 100000, &count)) return false;
        o->random_groups = (size_t)count;
        return true;
    case OPT_SAVE_STATES:
        o->save_states = value;
        return value[0] != '\0';
    case OPT_SAVE_DIRECTIONS:
        o->save_directions = value;
        return value[0] != '\0';
    case OPT_ATTENTION:
        return parse_side(value, &o->attention);
    case OPT_MLP:
        return parse_side(value, &o->mlp);
    case OPT_REST:
        return parse_side(value, &o->rest);
    case OPT_HELP:
    case N_OPTIONS:
        break;
    }
    return true;
}

static option_id find_long(const char *name, size_t length)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        if (strlen(specs[i].name) == length && memcmp(specs[i].name, name, length) == 0) return (option_id)i;
    }
    return N_OPTIONS;
}

static option_id find_short(char letter)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        if (specs[i].letter == letter) return (option_id)i;
    }
    return N_OPTIONS;
}

/* Parses the option at argv[*at] and moves *at to the last word it uses. A cluster of one-letter flags
 * ("-qh") is allowed, a value may follow its letter directly ("-t4"). */
static bool parse_option(int argc, char **argv, int *at, uint64_t allowed, cli_options *out,
                         char message[512])
{
    const char *word = argv[*at];
    bool is_long = word[1] == '-';
    const char *rest = word + 1; /* letters still to read, for short cli_options */
    do {
        size_t length = is_long ? strcspn(word + 2, "=") : 1;
        option_id id = is_long ? find_long(word + 2, length) : find_short(*rest);
        const char *value = is_long && word[2 + length] == '=' ? word + 2 + length + 1 : NULL;
        rest += 1;
        if (id == N_OPTIONS || !(allowed & OPTION(id))) {
            snprintf(message, 512, "%s option %.*s", id == N_OPTIONS ? "unknown" : "this command has no",
                     is_long ? (int)length + 2 : 200, word);
            return false;
        }
        const option_spec *spec = &specs[id];
        if (spec->argument == NULL && value != NULL) {
            snprintf(message, 512, "--%s takes no value", spec->name);
            return false;
        }
        if (spec->argument != NULL && value == NULL) {
            if (!is_long && *rest != '\0') {
                value = rest;
                rest = "";
            } else if (*at + 1 < argc) {
                value = argv[++*at];
            } else {
                snprintf(message, 512, "--%s needs a value: --%s %s", spec->name, spec->name, spec->argument);
                return false;
            }
        }
        sah_error why = {0};
        if (!set_option(out, id, value, &why)) {
            if (why.message[0] != '\0')
                snprintf(message, 512, "--%s: %.400s", spec->name, why.message);
            else
                snprintf(message, 512, "--%s %.200s: expected %s", spec->name, value, spec->argument);
            return false;
        }
        out->given |= OPTION(id);
    } while (!is_long && *rest != '\0');
    return true;
}

bool options_parse(int argc, char **argv, uint64_t allowed, cli_options *out, char message[512])
{
    *out = (cli_options){.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4F}, .layer = -1};
    out->arguments = calloc((size_t)argc + 1, sizeof *out->arguments);
    if (out->arguments == NULL) {
        snprintf(message, 512, "not enough memory");
        return false;
    }
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        if (ended || argv[i][0] != '-' || argv[i][1] == '\0') {
            out->arguments[out->n_arguments++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            ended = true;
        } else if (!parse_option(argc, argv, &i, allowed | COMMON_OPTIONS, out, message)) {
            return false;
        }
    }
    return true;
}

void options_free(cli_options *options)
{
    free(options->arguments);
    options->arguments = NULL;
}

void options_help(FILE *file, uint64_t allowed)
{
    allowed |= COMMON_OPTIONS;
    for (int i = 0; i < N_OPTIONS; i++) {
        if (!(allowed & OPTION(i))) continue;
        const option_spec *spec = &specs[i];
        char left[64];
        char letter[8] = "    ";
        if (spec->letter != 0) snprintf(letter, sizeof letter, "-%c, ", spec->letter);
        snprintf(left, sizeof left, "  %s--%s %s", letter, spec->name,
                 spec->argument != NULL ? spec->argument : "");
        if (strlen(left) > 31)
            fprintf(file, "%s\n%32s", left, "");
        else
            fprintf(file, "%-32s", left);
        for (const char *c = spec->help; *c != '\0'; c++) {
            if (*c == '\n')
                fprintf(file, "\n%32s", "");
            else
                fputc(*c, file);
        }
        fputc('\n', file);
    }
}

sah_model_options options_model(const cli_options *options)
{
    return (sah_model_options){
        .precision = options->precision, .threads = options->threads, .adapter = options->adapter};
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
        .memory = options->memory,
    };
}
