/* SPDX-License-Identifier: Apache-2.0 */
/* One option parser for every command: the same name means the same thing everywhere. */
#ifndef SAH_CLI_OPTIONS_H
#define SAH_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "sahara.h"

typedef enum option_id {
    OPT_HELP, /* 0: ends a list of options, which every command understands anyway */
    OPT_QUIET,
    OPT_OUTPUT,
    OPT_THREADS,
    OPT_PART,
    OPT_OP,
    OPT_SCALE,
    OPT_PARTNERS,
    OPT_MATCH,
    OPT_DIRECTION,
    OPT_CONTRAST_PARTNERS,
    OPT_REFERENCE,
    OPT_POSITIONS,
    OPT_LAYERS,
    OPT_HEADS,
    OPT_TEMPLATE,
    OPT_SYSTEM,
    OPT_TEMPLATE_VAR,
    OPT_TEMPLATE_DATE,
    OPT_ADAPTER,
    OPT_ADAPTER_B,
    OPT_LIMIT,
    OPT_COLUMN,
    OPT_PRECISION,
    OPT_DEVICE,
    OPT_MEMORY,
    OPT_CONTRAST,
    OPT_ABLATE,
    OPT_TOKENS,
    OPT_TOKENS_IN,
    OPT_TEXT,
    OPT_PROMPT,
    OPT_JSON,
    OPT_TOP,
    OPT_BY_QUERY,
    OPT_FORMAT,
    OPT_SORT,
    OPT_HEAT,
    OPT_STEP,
    OPT_WIDTH,
    OPT_CONCENTRATION,
    OPT_RULE,
    OPT_PHRASES,
    OPT_LABEL,
    OPT_JUDGE_MODEL,
    OPT_JUDGE_TEMPLATE,
    OPT_JUDGE_THRESHOLD,
    OPT_MAX_NEW_TOKENS,
    OPT_TEMPERATURE,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_SEED,
    OPT_SWEEP_HEADS,
    OPT_FROM,
    OPT_RANDOM_HEADS,
    OPT_PERPLEXITY,
    OPT_WINDOW,
    OPT_DELIMITER,
    OPT_LAYER,
    OPT_SAVE_DIRECTIONS,
    OPT_ATTENTION,
    OPT_MLP,
    OPT_REST,
    OPT_CHECK_REFUSAL,
    OPT_STEPS,
    OPT_RANK,
    OPT_VARIANT,
    OPT_START,
    OPT_SHORTLIST,
    OPT_RANDOM_GROUPS,
    OPT_SAVE_STATES,
    OPT_SCREEN,
    OPT_APART,
    OPT_MATCH_LENGTH,
    OPT_OPENING,
    OPT_OPENING_KL,
    OPT_SHARD,
    OPT_TOGETHER,
    OPT_CHECK,
    OPT_QUICK,
    N_OPTIONS
} option_id;

/* Lists of options for a command's `options`: of those that open a model, that ablate, that take states of other
 * prompts for it, that wrap queries, and that go over heads. */
#define MODEL_OPTIONS    OPT_ADAPTER, OPT_PRECISION, OPT_DEVICE, OPT_THREADS
#define ABLATION_OPTIONS OPT_PART, OPT_OP, OPT_SCALE
#define PARTNER_OPTIONS  OPT_PARTNERS, OPT_MATCH, OPT_DIRECTION, OPT_REFERENCE, OPT_POSITIONS
#define TEMPLATE_OPTIONS OPT_TEMPLATE, OPT_SYSTEM, OPT_TEMPLATE_VAR, OPT_TEMPLATE_DATE
#define QUERY_OPTIONS    TEMPLATE_OPTIONS, OPT_LIMIT, OPT_COLUMN
#define SWEEP_OPTIONS    OPT_LAYERS, OPT_HEADS, OPT_MEMORY

/* A number, or a list of growing ones. */
typedef struct cli_counts {
    size_t most; /* the number, or the last of the list */
    size_t items[64], n; /* the list; 0: none */
} cli_counts;

typedef struct cli_options {
    bool given[N_OPTIONS]; /* on the command line */
    const char **arguments;
    int n_arguments;

    bool quiet, json, by_query, heat, concentration, screen, apart, match_length, opening_kl, check, quick;
    int check_refusal; /* 0 off, 1 on; means something when given */
    const char *output; /* NULL: standard output */
    const char **template_vars; /* [n_template_vars] */
    size_t n_template_vars;
    const char *template_date;
    const char *template_, *system, *adapter, *adapter_b, *column, *contrast;
    const char *ablate, *tokens, *tokens_in, *text, *prompt, *format, *sort;
    int threads;
    size_t limit, top; /* 0: all */
    size_t opening; /* means something when given */
    size_t step;
    double width; /* 0: not given */
    uint64_t memory;
    int layer_from, layer_to, head_from, head_to;
    sah_ablation ablation;
    const char *partners, *contrast_partners, *reference;
    sah_pairing match; /* means something when given */
    int direction, positions; /* 0 necessity, 1 sufficiency; 0 end, 1 all */
    sah_precision precision;
    sah_device_choice device;
    sah_judge_rule judge_rule;
    const char *phrases, *label, *judge_model, *judge_template;
    double judge_threshold;
    int max_new_tokens, top_k; /* 0: not given */
    double temperature, top_p;
    uint64_t seed, random_seed;
    cli_counts sweep_heads; /* {0}: not given */
    const char *from;
    const char *perplexity, *delimiter;
    size_t window;
    int layer; /* -1: not given */
    const char *save_directions;
    sah_side attention, mlp, rest;
    size_t steps, rank, shortlist, random_groups; /* 0: not given, for the first three */
    sah_variant variant;
    const char *start, *save_states;
    sah_shard shard; /* {0}: not given */
    const char *together;
} cli_options;

/* What an option's value is, and where in cli_options it goes. */
typedef enum value_kind {
    NOTHING, /* --help */
    FLAG, /* bool; takes no value */
    TEXT, /* const char *, any text */
    NAME, /* const char *, not empty: a file, a folder, a key */
    FILE_OR_DASH, /* const char *, NULL for "-" */
    WORD, /* const char *, one of the words of the argument */
    CHOICE, /* an enum (or int): the place of the word among those of the argument */
    MAYBE_CHOICE, /* the same; the first word where none of them follows */
    COUNT, /* size_t, between low and high */
    INT_COUNT, /* int, the same */
    SEED, /* uint64_t, up to INT64_MAX */
    NUMBER, /* double, the same */
    FACTOR, /* float */
    BYTES, /* uint64_t */
    RANGE, /* int and behind it int: from, to */
    PARTS, /* SAH_PART_* bits */
    LIST, /* const char ** and behind it size_t: every value that is given, in order */
    SHARD, /* sah_shard */
    COUNTS /* cli_counts */
} value_kind;

/* A row an option: all that the parser and the help know of it. */
typedef struct option_spec {
    const char *name;
    char letter; /* 0: none */
    const char *argument; /* NULL: a flag */
    value_kind kind;
    size_t place; /* in cli_options */
    double low, high;
    const char *help;
} option_spec;
extern const option_spec options_table[N_OPTIONS];

/* Parses argv[0..argc) (behind the command's name); `allowed` are the command's own options, OPT_HELP behind
 * the last; help and quiet come by themselves. Options may stand anywhere; "--" ends them; "-" is an argument. On
 * wrong usage writes one line for a person to `message` and returns false; the line is empty when memory is out.
 * `out->arguments` is for options_free(), in either case. */
bool options_parse(int argc, char **argv, const option_id allowed[N_OPTIONS], cli_options *out,
                   char message[512]);
void options_free(cli_options *options);

/* Whether a command with these options of its own understands `id`. */
bool options_understood(const option_id allowed[N_OPTIONS], option_id id);

/* The option that the library's message speaks of by its field, "--steps", and the length of the field's name, with
 * which the message begins; "" and 0 where it speaks of none. */
size_t options_of_field(const sah_error *error, char option[64]);

/* What the commands share. */
sah_model_options options_model(const cli_options *options);
sah_run_options options_run(const cli_options *options);
/* Where a run's lines go: the file of -o, else "-", standard output. */
const char *options_output(const cli_options *options);

#endif
