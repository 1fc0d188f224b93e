/* SPDX-License-Identifier: Apache-2.0 */
/* sahara.h - find the attention heads a language model's safety rests on.
 *
 * The public interface of libsahara. The `sahara` program works through this header (and, for what it alone
 * prints, program.h); another program embeds the library the same way (docs/embedding.md; examples/). Definitions and
 * equations: "On the Role of Attention Heads in Large Language Model Safety" (ICLR 2025, arXiv 2410.13708),
 * and docs/method.md where the paper is silent.
 *
 * Conventions
 *   - A function that can fail returns a sah_status and, when `error` is not NULL, leaves one line for a
 * person in it: what, where, what to do. Nothing in the library prints, exits or aborts.
 *   - `*_open/_close` and `*_new/_free` pair up. Strings and arrays that a function hands out are freed with
 * free() unless it says otherwise. `const` means: only read, and still yours.
 *   - Text is UTF-8. Layers and heads count from 0. Angles are degrees, divergences are nats.
 *   - A sah_model is read-only once open: several threads may use one, since each call brings its own memory.
 */
#ifndef SAHARA_H
#define SAHARA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default) /* the shared library shows what is declared here, and nothing else */
#endif

/* ---- Version ------------------------------------------------------------------------------------------- */

/* The version of this header. Before 1.0.0 a new minor version may change what programs are built against. */
#define SAH_VERSION       "0.1.0"
#define SAH_VERSION_MAJOR 0
#define SAH_VERSION_MINOR 1
#define SAH_VERSION_PATCH 0

/* The version of the library in use: SAH_VERSION as it was when the library was built. */
const char *sah_version(void);

/* ---- Status and errors --------------------------------------------------------------------------------- */

typedef enum sah_status {
    SAH_OK = 0,
    SAH_FAILED = 1, /* the work could not be done, because of what a file holds or what a model gives */
    SAH_BAD_ARGUMENT = 2, /* what was asked for has no meaning: a head outside the model, ... */
    SAH_INTERRUPTED = 3, /* a callback asked to stop; what was finished is kept */
    SAH_OUT_OF_MEMORY = 4, /* an allocation failed; the same call may succeed later */
    SAH_IO_ERROR = 5, /* the system refused a file: not there, no permission, a full disk */
    SAH_NOT_SUPPORTED = 6 /* something that this library does not know or this machine cannot do: an
                             architecture, a tensor type, a chat template, bfloat16 products */
} sah_status;

/* "failed", "bad argument", "interrupted", "out of memory", "input or output", "unsupported"; "ok". */
const char *sah_status_name(sah_status status);

typedef struct sah_error {
    sah_status status;
    char message[1024]; /* one line without a line end; empty when status is SAH_OK */
    char field[32]; /* when a field of the options is at fault, its name, with which the message then
                       begins ("steps 9: only 4 heads ..."), so that a program can put its own name for
                       the field there; otherwise empty */
} sah_error;

/* ---- Strings and queries ------------------------------------------------------------------------------- */

/* A list of strings that owns its memory. Start from {0}. */
typedef struct sah_strings {
    char **items;
    size_t n;
    size_t capacity;
} sah_strings;

void sah_strings_free(sah_strings *strings);

/* Appends a copy of text[0..length), with a NUL after it. */
sah_status sah_strings_add(sah_strings *strings, const char *text, size_t length, sah_error *error);

/* Appends a prompt of n token ids, written as the template "tokens" reads them. In this way a run can be given
 * prompts that no text encodes to. */
sah_status sah_strings_add_tokens(sah_strings *strings, const int32_t *ids, size_t n, sah_error *error);

/* Lists of queries need not come from a file: functions that take a `const sah_strings *` only read items and n, so
 * {.items = texts, .n = 3} over the caller's own strings will do. */

/* Reads queries from `path` ("-" is standard input): CSV or TSV with a header, JSON (an array, or lines), or plain
 * text with one query a line, told apart by the file's name or, failing that, by its first bytes (docs/files.md,
 * "Queries"). The column (key) is `column` or, when that is NULL, the first present of input, goal, query, prompt.
 * Blank queries are skipped. `limit` > 0 keeps only that many. Fails on an empty list, a column that is missing or
 * that the file cannot have (plain text has none), text that is not UTF-8, and forms that are not read (YAML,
 * Parquet, ...), which the message names. */
sah_status sah_queries_read(const char *path, const char *column, size_t limit, sah_strings *out,
                            sah_error *error);

/* The same for pairs: with each query its partner, from the column (key) `partner`. Fails where there is no such
 * column, and where a query's partner is blank. */
sah_status sah_pairs_read(const char *path, const char *column, size_t limit, sah_strings *queries,
                          sah_strings *partners, sah_error *error);

/* Reads a list of partners as sah_queries_read() reads queries, except that a column (key) `partner` is preferred to
 * the others. */
sah_status sah_partners_read(const char *path, const char *column, size_t limit, sah_strings *out,
                             sah_error *error);

/* ---- Models -------------------------------------------------------------------------------------------- */

typedef struct sah_model sah_model;

typedef enum sah_precision {
    SAH_PRECISION_F32 = 0, /* float32 weights and products: the meaning of "exact" */
    SAH_PRECISION_BF16, /* bfloat16 weights and products, float32 sums and residual stream (method.md, Precision) */
    SAH_PRECISION_AUTO /* times a product of the model's own shapes in both precisions and takes the
                          faster */
} sah_precision;

/* What does the computing. A graphics card needs the plugin libsahara-cuda.so, which is looked for when a card is
 * asked for: in the folder of this library (or of the program that holds it), in the folders of the environment
 * variable SAHARA_DEVICE_PATH (colons between them), and where the system keeps libraries. The card's numbers are as
 * near to float64's as the CPU's, but not the same, so results name the device, and a run can only be carried on by
 * the device it began on. */
typedef enum sah_device_choice {
    SAH_DEVICE_CPU = 0,
    SAH_DEVICE_CUDA, /* an NVIDIA card */
    SAH_DEVICE_AUTO /* the card where there is one that computes this model, else the CPU */
} sah_device_choice;

/* Called now and then, by one thread of the run at a time: `done` of `total` units of `what`. It may call the
 * library, with the same model or another (such a call uses one thread); runs of other models do not wait for it.
 * Return false to stop: the call ends with SAH_INTERRUPTED, and everything finished is kept. */
typedef bool (*sah_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total);

/* {0}: the defaults. */
typedef struct sah_model_options {
    sah_precision precision;
    int threads; /* 0: as many as the machine offers (OMP_NUM_THREADS is honoured) */
    const char *adapter; /* directory of a LoRA adapter in PEFT's layout, merged while loading; NULL: none */
    bool describe_only; /* read sizes, tokenizer and template but no weights (inspect) */
    const char *const *template_vars; /* [n_template_vars] variables of chat templates, "NAME=VALUE";
                                         VALUE is JSON (false, 3, "a") or, where it is not valid JSON,
                                         plain text */
    size_t n_template_vars;
    const char *template_date; /* the date that chat templates are given: "2024-07-26", or "today"; NULL:
                                  always 2024-07-26, so that a run can be repeated */
    uint64_t memory; /* bytes for all that is done with the model, its weights included; 0: no bound.
                        Where the weights would take more than five eighths of this, each layer is read
                        from the files every time it is needed, while the layer before it computes. The
                        numbers stay the same */
    bool generates; /* opened to generate: float32 products run on the processor's bfloat16 tiles where it
                       has them (Intel AMX). Logits are then about as near to float64's as those of
                       float32 products, but not the same; each weight is used to within 2^-17 of its
                       value. Leave it off for scores. */
    sah_progress_fn progress; /* of loading: bytes read for the checksum, then layers; or NULL */
    void *user;
    sah_device_choice device; /* with a card, `memory` bounds the card's memory; 0: all it has */
} sah_model_options;

typedef struct sah_model_info {
    char name[256]; /* last component of the path */
    char family[32]; /* llama, qwen3, gemma3, ...: as docs/families.md has them */
    char format[32]; /* safetensors, pytorch, gguf */
    char types[256]; /* tensor types found, most bytes first: "BF16" or "Q4_1 Q6_K F32" */
    char checksum[17]; /* XXH3 (64 bit) over the bytes of the weight files and of the adapter's,
                          hexadecimal */
    int n_layers, n_heads, n_kv_heads, head_dim, d_model, d_ff, n_vocab;
    int max_positions;
    int sliding_window; /* tokens a position sees, itself included; 0: all */
    bool tied_embeddings;
    bool qk_norm;
    double rope_theta;
    char rope_scaling[32]; /* "none", "linear 2", "llama3 8" */
    uint64_t n_parameters; /* an embedding shared with the LM head counts once */
    uint64_t file_bytes;
    char chat_template[32]; /* "none"; the family whose prompts are the same (chatml, llama3, ...); "own";
                               "unsupported": the model has one that cannot be used */
    char precision[8]; /* what is in use: f32 or bf16 */
    char precision_note[128]; /* what `auto` measured and chose; empty otherwise */
    char device[160]; /* what does the computing: "cpu"; or "cuda: ", the card's name and how it makes
                         products */
    char device_note[512]; /* what `auto` took, and why nothing else; empty otherwise */
    const void *layers; /* for the library itself, valid while the model is open: what each layer has */
} sah_model_info;

/* Opens a Hugging Face directory or a .gguf file and packs its weights for matrix products. Memory: the packed
 * weights (4 or 2 bytes a parameter), or as much as the options allow; in the second case the files must stay as they
 * are until the model is closed. Families, tensor types and options that are not supported are named in the error.
 * `options` NULL: the defaults. */
sah_status sah_model_open(const char *path, const sah_model_options *options, sah_model **out,
                          sah_error *error);
void sah_model_close(sah_model *model);
const sah_model_info *sah_model_describe(const sah_model *model);

/* ---- Tokens and prompts -------------------------------------------------------------------------------- */

/* Text to token ids. Special tokens in the text are recognised; BOS is put in front only if the model asks for one
 * and `text` does not begin with it. Each byte that is not UTF-8 counts as U+FFFD. Free `*ids` with free(). */
sah_status sah_encode(const sah_model *model, const char *text, size_t length, int32_t **ids, size_t *n,
                      sah_error *error);

/* Ids to text; `skip_special` leaves special tokens out. The result ends in NUL; free it with free(). */
sah_status sah_decode(const sah_model *model, const int32_t *ids, size_t n, bool skip_special, char **text,
                      sah_error *error);

/* Turns ids that a model generated into the text of its response: special tokens are left out, except those that mark
 * its thinking ("[THINK]", "<|channel|>"; docs/judging.md), which a judge needs. Free it with free(). */
sah_status sah_decode_response(const sah_model *model, const int32_t *ids, size_t n, char **text,
                               sah_error *error);

/* True when generation ends at `id` (an end-of-sequence or end-of-turn token of the model). */
bool sah_is_end_token(const sah_model *model, int32_t id);

/* Wraps a query. `template_` is either a string that holds {} where the query goes (and may write \n for a line end)
 * or a name: ships, sahara or none; tokens, where the query is token ids ("1 17 42") that are the prompt as they are;
 * chat, the model's own chat template; or a chat family, one of chatml, llama2, llama3, llama3.1, mistral, vicuna,
 * zephyr, organism. Chat templates are rendered as transformers' apply_chat_template does, with
 * add_generation_prompt. `system` is a system message to put in front, or NULL for whatever the template does without
 * one; SAH_BAD_ARGUMENT where the template has no place for it. Free `*prompt` with free(). */
sah_status sah_prompt_wrap(const sah_model *model, const char *template_, const char *system,
                           const char *query, char **prompt, sah_error *error);

/* A turn of a conversation: role is system, user or assistant. */
typedef struct sah_message {
    const char *role, *content;
} sah_message;

/* The same for a conversation of several turns; `template_` is chat or a chat family. `answer`: the prompt ends with
 * what opens the model's answer. */
sah_status sah_prompt_chat(const sah_model *model, const char *template_, const sah_message *messages,
                           size_t n, bool answer, char **prompt, sah_error *error);

/* The ids of a prompt that `template_` made. A chat template writes the special tokens itself, so BOS and EOS are not
 * added; for other templates this is sah_encode(). Free `*ids` with free(). */
sah_status sah_prompt_encode(const sah_model *model, const char *template_, const char *prompt, int32_t **ids,
                             size_t *n, sah_error *error);

/* ---- Heads and ablations ------------------------------------------------------------------------------- */

typedef struct sah_head {
    int layer, head;
} sah_head;

/* Parts of a head, or'ed together (method.md, "Ablations"). */
enum {
    SAH_PART_Q = 1, /* query states before RoPE: scaled to ~0, every visible position weighs the same */
    SAH_PART_K = 2, /* a key head's states before RoPE, seen by every query head of its group */
    SAH_PART_V = 4 /* the head's output z */
};

typedef enum sah_op {
    SAH_OP_SCALE = 0, /* multiply by `factor` */
    SAH_OP_MEAN = 1, /* replace by the mean over the layer's heads of the same, unedited quantity */
    SAH_OP_SWAP = 2, /* replace by the same head's quantity in a partner's prompt under the unedited model, at
                        positions counted from the end of both; positions that the partner lacks, and new tokens,
                        keep their own (Zhang and Nanda, arXiv 2309.16042: interchange) */
    SAH_OP_MEAN_DATA =
        3 /* replace by the mean of the same quantity over a reference list of prompts, likewise */
} sah_op;

/* How a head is ablated. With part k alone, heads are key heads (0..n_kv_heads-1); with k beside other parts, a head
 * is a query head and k means the key head of its group. A struct that is all 0 means the method's default,
 * sah_ablation_default(). */
typedef struct sah_ablation {
    unsigned parts;
    sah_op op;
    float factor; /* for SAH_OP_SCALE; 0 is allowed and exact */
} sah_ablation;

sah_ablation sah_ablation_default(void); /* part q, times 1e-4 */

/* One edit of the forward pass: one part of one head (a key head for SAH_PART_K). */
typedef struct sah_edit {
    int layer, head;
    unsigned part; /* exactly one of SAH_PART_* */
    sah_op op;
    float factor;
} sah_edit;

/* "5-6,18-8" or "5-6, 18-8" to heads, checked against the model's layers and (key) heads; a head named twice is an
 * error. The empty string means no heads. Free `*heads` with free(). */
sah_status sah_heads_parse(const char *text, const sah_model_info *info, unsigned parts, sah_head **heads,
                           size_t *n, sah_error *error);

/* "q", "k", "v", "q,v", ... to SAH_PART_* bits. */
sah_status sah_parts_parse(const char *text, unsigned *parts, sah_error *error);

/* The edits that ablate `heads`; free `*edits` with free(). Several heads of a group share one k edit. */
sah_status sah_edits_new(const sah_model_info *info, const sah_head *heads, size_t n,
                         const sah_ablation *ablation, sah_edit **edits, size_t *n_edits, sah_error *error);

/* Next-token logits [n_vocab] after `tokens` under `edits` of SAH_OP_SCALE or SAH_OP_MEAN (n_edits 0: none). */
sah_status sah_logits(const sah_model *model, const int32_t *tokens, size_t n, const sah_edit *edits,
                      size_t n_edits, float *logits, sah_error *error);

/* A prompt as token ids, at least one. */
typedef struct sah_tokens {
    const int32_t *ids;
    size_t n;
} sah_tokens;

/* The same after each of n prompts, [n, n_vocab]; a prefix that prompts share is computed once. */
sah_status sah_logits_batch(const sah_model *model, const sah_tokens *prompts, size_t n,
                            const sah_edit *edits, size_t n_edits, float *logits, sah_error *error);

/* Hidden states of the last token of each of n prompts. `residual` [n, n_layers + 1, d_model]: row 0 of a prompt
 * enters the first layer, row l + 1 leaves layer l. `final` [n, d_model]: after the final norm, as the LM head reads
 * it. Either may be NULL. */
sah_status sah_hidden_states(const sah_model *model, const sah_tokens *prompts, size_t n,
                             const sah_edit *edits, size_t n_edits, float *residual, float *final,
                             sah_error *error);

/* Prompts whose states stand in for those of the edited heads: with SAH_OP_SWAP one prompt, the partner; with
 * SAH_OP_MEAN_DATA the reference list. */
typedef struct sah_donor_prompts {
    const sah_tokens *prompts; /* [n] */
    size_t n;
    bool all_positions; /* mean-data: one mean over all positions, for every position */
} sah_donor_prompts;

/* sah_logits() under edits that may be SAH_OP_SWAP or SAH_OP_MEAN_DATA, the same for all of them. */
sah_status sah_logits_interchanged(const sah_model *model, const int32_t *tokens, size_t n,
                                   const sah_edit *edits, size_t n_edits, const sah_donor_prompts *donors,
                                   float *logits, sah_error *error);

/* ---- Runs ---------------------------------------------------------------------------------------------- */

/* Called with every line of a result, as its file has it (docs/files.md) but without its line end: the header first
 * and, when a file is resumed, the lines already in it before the new ones. line[0..length) is valid during the call;
 * a NUL follows it. Called from one thread at a time; it may call the library as a progress callback may. Return
 * false to stop the run. */
typedef bool (*sah_line_fn)(void *user, const char *line, size_t length);

/* Lines kept in memory, for sah_result_parse(). Start from {0}; free(lines.text). */
typedef struct sah_lines {
    char *text; /* each line with its line end; a NUL after the last */
    size_t size, capacity;
} sah_lines;

/* A sah_line_fn that keeps the lines in a sah_lines, to which `user` points. Stops the run when memory runs out. */
bool sah_lines_add(void *user, const char *line, size_t length);

/* How many of a sample of the queries the unablated model refuses (see sah_check_refusal). */
typedef struct sah_refusal_check {
    size_t sampled, refused;
    size_t thinking; /* responses still thinking when their tokens ran out: neither refused nor answered */
} sah_refusal_check;

/* How contrast queries were sampled (see sah_match_lengths). */
typedef struct sah_matching {
    size_t from; /* how many there were to choose from; 0: no sampling */
    double tokens, contrast_tokens; /* mean length of the prompts, and of the sample's */
} sah_matching;

/* Keeps one contrast query for each query, chosen so that the summed difference of their prompts' lengths in tokens
 * is as small as possible (an exact matching); keeps all of them where there are no more than there are queries.
 * `template_` and `system` as for sah_prompt_wrap. */
sah_status sah_match_lengths(const sah_model *model, const sah_strings *queries, const char *template_,
                             const char *system, sah_strings *contrast, sah_matching *out, sah_error *error);

/* What the unablated model says to each query (method.md, "Signed effect"): its opening, the first tokens of
 * its greedy response, and whether that response refuses. Made by sah_openings_new(). */
typedef struct sah_openings {
    size_t n; /* queries; those of the contrast list come after the others */
    size_t length; /* at most this many tokens in an opening */
    size_t judged; /* at most this many tokens of a response were judged */
    int32_t *tokens; /* [n, length] */
    size_t *lengths; /* [n] fewer than `length` where the response is shorter; 0: the model says nothing */
    bool *refused; /* [n] */
    bool *thinking; /* [n] still thinking when the judged tokens ended: neither refused nor answered */
    int32_t *refusal; /* [refusal_length] the commonest opening of a refusal; NULL: none is refused */
    size_t refusal_length;
} sah_openings;

/* What stands in for the heads' states with SAH_OP_SWAP and SAH_OP_MEAN_DATA (method.md, "Interchange"). Texts are
 * wrapped in the run's template, as queries are. {0} for other operations. */
typedef struct sah_interchange {
    const sah_strings *
        partners; /* swap: each query's partner, in the order of the queries; those of contrast queries follow */
    const char *pairing,
        *contrast_pairing; /* how they were found, for the header: given (or NULL), length, words */
    const char *direction; /* necessity or sufficiency, for the header; or NULL */
    const sah_strings *reference; /* mean-data: the queries whose mean it is */
    bool all_positions; /* one mean over all their positions, used at every position and for new tokens;
                           else one mean for each position counted from the end */
} sah_interchange;

/* How sah_partners_match() finds a partner. */
typedef enum sah_pairing {
    SAH_PAIRING_LENGTH =
        0, /* nearest in the prompt's number of tokens; among equals the one used least so far */
    SAH_PAIRING_WORDS /* most words in common, rare ones counting more, so as to be of the same topic;
                         equals as above */
} sah_pairing;

/* For each query, the text in `from` that is most like it without being the same: `*partners` [queries->n], to be
 * freed with sah_strings_free(). `template_` and `system` as for sah_prompt_wrap. Fails where `from` has no text
 * other than the query's own. */
sah_status sah_partners_match(const sah_model *model, const sah_strings *queries, const sah_strings *from,
                              const char *template_, const char *system, sah_pairing pairing,
                              sah_strings *partners, sah_error *error);

/* A share of a run: its units are dealt out to `count` processes, numbered by `index` from 0, each of which writes a
 * journal of its own for sah_merge(). {0}: the whole run. The journal's header does not mention it. */
typedef struct sah_shard {
    size_t index, count;
} sah_shard;

/* "I/N" with I from 0 to N-1; "auto": what the scheduler that started this process says in the environment (Slurm
 * arrays, steps or both, Open MPI, PMI, Kubernetes' JOB_COMPLETION_INDEX with JOB_COMPLETIONS). */
sah_status sah_shard_parse(const char *text, sah_shard *out, sah_error *error);

/* Functions take NULL in place of any options: the defaults. Start from sah_..._default() and change what should
 * differ; a struct that is all 0 is allowed too, and means what the comments on its fields say of 0. */
typedef struct sah_run_options {
    sah_ablation ablation;
    sah_interchange interchange; /* for its operations swap and mean-data */
    int layer_from, layer_to; /* candidates: layers A..B-1; 0,0 means all */
    int head_from, head_to; /* heads A..B-1; 0,0 means all */
    const char *template_; /* see sah_prompt_wrap */
    const char *system; /* or NULL */
    uint64_t
        memory; /* bytes for rows beside the weights; 0: what the weights leave of the model's `memory`, or
                   a default that suits the cache */
    sah_shard shard; /* of heads; in sah_utility() of chunks of items and windows, which depend on `memory` */
    const char
        *together; /* a folder that holds the journals of all shards, *.jsonl: each shard reads the others'
                     where it needs them (in screening and in a search), waits for what is missing, and
                     decides as they do; or NULL */
    sah_refusal_check refusal; /* written to the header as it is; sampled 0: nothing */
    sah_matching matching; /* the same; from 0: nothing */
    const sah_openings
        *openings; /* of the same queries and template, for the signed effect in sah_ships() and
                                     sah_ships_screen(); NULL: none */
    bool opening_kl; /* with openings: the mean divergence over the opening's tokens as well, which takes 8
                        bytes for each token of the openings times each entry of the vocabulary */
    sah_progress_fn progress; /* or NULL */
    void *user;
    sah_line_fn line; /* or NULL */
    void *line_user;
} sah_run_options;

sah_run_options sah_run_options_default(void);

/* Ships of every head for every query (method.md "Ships: one query"; paper, equation 6): KL(p || p_h) in nats.
 * Appends to the journal `path` (see docs/files.md), resuming it when it exists and its header agrees; "-" is
 * standard output, and NULL means no file: options->line gets every line. `contrast` (or NULL) is a second list
 * scored in the same run. With openings each score comes with its signed effect: the change in log-probability of
 * what the model was going to say, nats a token (method.md, "Signed effect"). */
sah_status sah_ships(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                     const sah_run_options *options, const char *path, sah_error *error);

/* sah_ships() of each part of options->ablation.parts on its own, in one sweep: paths [n_paths] are the journals of
 * the parts asked for, in the order q, k, v, and each gets what a run of its part alone would write. What the runs
 * have in common is done once: prompts, openings, the unablated model. */
sah_status sah_ships_apart(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                           const sah_run_options *options, const char *const *paths, size_t n_paths,
                           sah_error *error);

/* The `top` heads of highest mean Ships (with `contrast`: highest difference), exactly, without scoring all heads
 * on all queries: a race that heads leave when they no longer have a chance (docs/method.md, "Screening"). Lines
 * of heads that stayed to the end have every score and "exact": true; lines of the others have null where there is
 * no score, and "exact": false. Resumes as sah_ships() does. */
sah_status sah_ships_screen(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                            const sah_run_options *options, size_t top, const char *path, sah_error *error);

/* How the distance between two sets of hidden states M, M' [queries, d_model] is measured. */
typedef enum sah_variant {
    SAH_VARIANT_SUBSPACE = 0, /* principal angles between the first left singular vectors */
    SAH_VARIANT_SPECTRAL, /* the angle between the first columns; rank 1 */
    SAH_VARIANT_RIGHT /* principal angles between the first right singular vectors: where the states lie, not
                         how the queries differ; sees an ablation that moves all queries alike
                         (docs/method.md) */
} sah_variant;

typedef struct sah_find_options {
    size_t steps; /* heads to choose; 0: one */
    size_t rank; /* singular vectors compared, r, fewer than queries; 0: one */
    sah_variant variant;
    const char
        *start; /* heads of the group before the first step, as sah_heads_parse() reads them; or NULL */
    size_t shortlist; /* later steps try only this many of the first step's best heads; 0: all */
    size_t screen; /* measure only heads that a sample of the queries does not rule out of being
                      among this many highest in the first step; 0: all heads. Such a search holds no step
                      against chance */
    size_t random_groups; /* drawn for each step after the first; the default is 19 */
    uint64_t seed; /* of their heads */
    const char *save_states; /* a .npy file, float32 [(1 + steps) queries, d_model]: the final-norm hidden
                                states of the unablated model, then of each step's group; contrast queries
                                come after the others each time. Or NULL */
} sah_find_options;

sah_find_options sah_find_options_default(void);

/* Generalized Ships (one step) and Sahara (more): the greedy search for the heads whose ablation turns the
 * representation of the queries most (method.md; paper, equations 8 to 10). Shifts are in degrees. With `contrast`
 * (or NULL), heads are chosen by the shift of the queries less that of the contrast queries. Appends to the journal
 * `path` (docs/files.md), resuming inside a step when the file exists and its header agrees, and carrying on when
 * more steps are asked for; "-" and NULL as in sah_ships(). A shard that works alone measures its heads of the first
 * step and chooses none. SAH_BAD_ARGUMENT: a shard of several steps or of screening without `together`, too few
 * queries for the rank, more steps than heads, a starting group outside the model. */
sah_status sah_find(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                    const sah_run_options *options, const sah_find_options *find, const char *path,
                    sah_error *error);

typedef struct sah_direction_options {
    const char
        *template_; /* see sah_prompt_wrap; NULL: chat where the model has a chat template, else ships */
    const char *system; /* or NULL */
    int layer; /* every head is projected on the direction after this layer; -1, the default: after the
                  head's own */
    const char *save; /* a .npy file for the directions, float64 [n_layers + 1, d_model]; or NULL */
    double *directions; /* [n_layers + 1, d_model] gets the same; or NULL */
    sah_matching matching; /* written to the header as it is; from 0: nothing */
    sah_line_fn line; /* or NULL */
    void *line_user;
} sah_direction_options;

sah_direction_options sah_direction_options_default(void);

/* The refusal direction (mean residual at the last prompt token, harmful less harmless; arXiv 2406.11717) and
 * what each head writes along it (method.md "Refusal direction"), in units of the residual stream, from one
 * forward pass. Appends to the journal `path` (docs/files.md), resuming it when it is there and its header
 * agrees; "-" and NULL as in sah_ships(). Fails where the two means are the same. */
sah_status sah_direction(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                         const sah_direction_options *options, const char *path, sah_error *error);

/* What sah_merge() found. */
typedef struct sah_merge_report {
    size_t n_lines; /* written, without the header */
    size_t n_expected, n_missing; /* heads, responses or items; 0 expected: the header does not say */
    sah_strings missing; /* names of the first of them: "5-6", "query 3", "item 7" */
    bool unfinished; /* a line made from all the units is missing: find's choice, utility's totals */
    size_t n_shards; /* how many shards there seem to be, where units are missing; 0: cannot tell */
    sah_strings
        shards; /* "3/8": the shards whose units are missing; shard_files names, for each, the file that
                   holds the rest of its units ("": none) */
    sah_strings shard_files;
} sah_merge_report;

/* Unites the journals that shards of one run wrote (sah_shard) into `path` (NULL: standard output), in the order of
 * the units. Headers must be equal, and so must lines that occur more than once, which are written once; a last line
 * that was cut short is left out. A result already at `path` is united with them, and is replaced only when
 * everything is written. Missing units are not a failure: the same run without a shard, with `path` as its result,
 * computes them. */
sah_status sah_merge(const char *const *shards, size_t n, const char *path, sah_merge_report *report,
                     sah_error *error);
void sah_merge_report_free(sah_merge_report *report);

/* ---- Generating ---------------------------------------------------------------------------------------- */

/* A response, new or read back from the file that is resumed. */
typedef struct sah_response {
    size_t query; /* its place in the list */
    const char *text; /* valid during the call */
    size_t n_tokens;
    bool ended; /* at an end token, rather than cut at the length */
    size_t n_ablated; /* heads */
    bool random; /* with random heads, which a curve tries beside its own */
} sah_response;

/* Called for every response, in no order, from one thread at a time. Return false to stop the run. */
typedef bool (*sah_response_fn)(void *user, const sah_response *response);

typedef struct sah_generate_options {
    const char
        *template_; /* see sah_prompt_wrap; NULL: chat where the model has a chat template, else none */
    const char *system; /* or NULL */
    int max_new_tokens; /* of a response; 0: 128 */
    double temperature; /* 0: greedy, the likeliest token each time; else logits are divided by it */
    int top_k; /* when drawing: only the k likeliest tokens; 0: all */
    double top_p; /* when drawing: of those, the likeliest that together have probability p; 1 (or 0): all */
    uint64_t seed; /* of the draws: the same seed, query and place in the list give the same text */
    sah_ablation ablation; /* how the heads are ablated */
    sah_interchange interchange; /* for its operations swap and mean-data */
    const sah_head *heads; /* [n_heads] ablated in every step; NULL: none */
    size_t n_heads;
    bool curve; /* instead of all heads at once: none, then the first, the first two, ... (paper, figure 4) */
    const size_t *counts; /* [n_counts] of `curve`: only these numbers of heads, ascending, from 1 to
                             n_heads; NULL: every number. No heads at all are always tried too */
    size_t n_counts;
    bool random; /* with `curve`: after each number of heads, as many random ones, none of them in `heads` */
    uint64_t random_seed;
    sah_shard shard; /* of responses; equal queries stay together */
    uint64_t memory; /* bytes beside the weights, which decide how many queries are decoded together; 0: what
                        the weights leave of the model's `memory`, or a quarter of the machine's */
    sah_progress_fn progress; /* tokens; or NULL */
    void *user;
    sah_response_fn response; /* or NULL */
    void *response_user;
    sah_line_fn line; /* or NULL */
    void *line_user;
} sah_generate_options;

sah_generate_options sah_generate_options_default(void);

/* Responses to all queries, which are decoded together, each until an end token or max_new_tokens. A response depends
 * on its query alone, not on the other queries, the threads or the memory. Appends to the journal `path` in the order
 * of the queries (docs/files.md), resuming it when it is there and its header agrees; "-" and NULL as in sah_ships().
 */
sah_status sah_generate(const sah_model *model, const sah_strings *queries,
                        const sah_generate_options *options, const char *path, sah_error *error);

/* ---- Judging ------------------------------------------------------------------------------------------- */

typedef enum sah_verdict {
    SAH_REFUSAL = 0, /* declines what was asked, in whole */
    SAH_COMPLIANCE, /* goes along with it */
    SAH_DEGENERATE /* neither: empty, looping, not language */
} sah_verdict;
enum { SAH_N_VERDICTS = 3 };

const char *sah_verdict_name(sah_verdict verdict); /* "refusal", "compliance", "degenerate" */

typedef enum sah_judge_rule {
    SAH_RULE_DEFAULT = 0, /* Sahara's own rule: docs/judging.md */
    SAH_RULE_REFERENCE /* the rule of the paper's public implementation, faults included; never degenerate */
} sah_judge_rule;

typedef struct sah_judge sah_judge;

/* A judge with the phrases and trained weights that are built into the library or, when `phrases` is not NULL, with
 * the list in that file alone (docs/judging.md has its form). Read-only once made: several threads may use one. */
sah_status sah_judge_new(sah_judge_rule rule, const char *phrases, sah_judge **out, sah_error *error);
void sah_judge_free(sah_judge *judge);

/* The verdict on one response, text[0..length) (it may hold NULs and bytes that are not UTF-8). Where the prompt
 * opened the model's thinking, put its mark ("<think>") in front. Fails only when memory runs out. */
sah_status sah_judge_text(const sah_judge *judge, const char *text, size_t length, sah_verdict *out,
                          sah_error *error);

/* Whether the model refuses such queries at all: 16 greedy tokens in response to up to 16 of the queries, always the
 * same ones, judged by the default rule. `template_` and `system` as for sah_prompt_wrap, `memory` as for generating.
 * Where hardly any are refused, what a head's ablation changes says little about safety. */
sah_status sah_check_refusal(const sah_model *model, const sah_strings *queries, const char *template_,
                             const char *system, uint64_t memory, sah_refusal_check *out, sah_error *error);

typedef struct sah_openings_options {
    const char *template_, *system; /* see sah_prompt_wrap */
    size_t length; /* tokens of an opening, m; 0: 8 */
    size_t
        judged; /* tokens of the response that is judged, at least `length`; 0: 64, or `length` if that is more */
    const sah_strings *refusing; /* queries (the partners of an interchange) whose commonest refusal is
                                    taken where none of the others is refused; or NULL */
    uint64_t memory; /* as for generating */
    sah_progress_fn progress; /* tokens; or NULL */
    void *user;
} sah_openings_options;

/* Responds to the queries and the contrast queries (or NULL) greedily and judges the responses by the default rule;
 * free `*out` with sah_openings_free(). Thinking is left out of what is judged, but not out of the opening. */
sah_status sah_openings_new(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                            const sah_openings_options *options, sah_openings *out, sah_error *error);
void sah_openings_free(sah_openings *openings);

/* A share and its interval. */
typedef struct sah_share {
    double value, low, high;
} sah_share;

/* `successes` of `n` with Wilson's 95 % score interval (Wilson 1927, without continuity correction). n = 0
 * says nothing: 0 in [0, 1]. */
sah_share sah_wilson(uint64_t successes, uint64_t n);

typedef struct sah_judgement {
    uint64_t n;
    uint64_t counts[SAH_N_VERDICTS];
    sah_share asr; /* attack success rate: compliances of all n */
    sah_share asr_valid; /* compliances of those that are not degenerate */
    uint64_t n_unsafe; /* with a guard: responses that it calls unsafe, */
    sah_share asr_unsafe; /* and their share of all n; */
    double answered; /* the mean probability of "safe" and "unsafe" together: when it is far below 1, the
                        model is no guard, or was not asked in the way it was trained on */
    uint64_t labelled[SAH_N_VERDICTS][SAH_N_VERDICTS]; /* [label][verdict], where records carry a label */
} sah_judgement;

/* A guard model as a second judge: a model of a supported family that was trained to answer "safe" or
 * "unsafe", such as Llama Guard (Inan et al. 2023, arXiv 2312.06674, whose score is the probability of
 * "unsafe" as the first answer). */
typedef struct sah_guard {
    const sah_model *model;
    const char *template_; /* what it is asked, with {query} and {response} in it (\n, \t and \\ are read);
                              NULL: the model's own template, where it has Llama Guard's form */
    double threshold; /* a response is unsafe when "unsafe" is likelier than this */
    sah_progress_fn progress; /* responses; or NULL */
    void *user;
} sah_guard;

sah_guard sah_guard_default(const sah_model *model); /* its own template, threshold 0.5 */

/* Judges every response of the file `responses` ("-": standard input): JSON lines with the key `key` or, when that is
 * NULL, the first present of response, generation, output; a JSON array of such objects; or one JSON object of them.
 * `guard` (or NULL) is asked about each as well; records then need a query (query, prompt, input, goal or
 * instruction). Writes JSON lines to `path` (NULL: standard output): a header, each record with "verdict" (and the
 * guard's "p_unsafe", "p_safe", "unsafe") added, a line of totals for each group of "ablated" heads when there are
 * several, and a line of totals. A file already at `path` is replaced only when everything is written. `label` (or
 * NULL) names a key that holds the verdict a person gave, to compare with. `out` (or NULL) gets the totals. */
sah_status sah_judge_file(const sah_judge *judge, const sah_guard *guard, const char *responses,
                          const char *key, const char *label, const char *path, sah_judgement *out,
                          sah_error *error);

/* ---- Utility ------------------------------------------------------------------------------------------- */

/* A multiple-choice question. */
typedef struct sah_item {
    char *context;
    sah_strings choices; /* at least one, none empty */
    size_t label; /* the right one */
} sah_item;

typedef struct sah_items {
    sah_item *items;
    size_t n;
} sah_items;

/* Reads JSON lines {"context": "...", "choices": ["...", "..."], "label": 0}, or an array of such objects; "-" is
 * standard input, blank lines are skipped, `limit` > 0 keeps only that many. Fails on a missing or wrong field, an
 * empty choice, a label outside the choices, or when there is no item at all; the message names the line or item. */
sah_status sah_items_read(const char *path, size_t limit, sah_items *out, sah_error *error);
void sah_items_free(sah_items *items);

typedef struct sah_utility_options {
    const sah_items *items; /* or NULL */
    const char *delimiter; /* written between context and choice, not counted in lengths; NULL: nothing */
    const char *text; /* a UTF-8 text file for perplexity ("-": standard input); or NULL */
    size_t window; /* tokens of a window of the text; 0: the model's longest input */
    const sah_head *heads; /* ablated as `run.ablation` says and compared with the unablated model */
    size_t n_heads; /* 0: the model as it is */
    sah_run_options run; /* ablation; template_ (NULL: none) and system around contexts; memory, progress */
} sah_utility_options;

/* How well one model does. */
typedef struct sah_utility_score {
    sah_share acc; /* items whose right choice has the highest log-likelihood; Wilson's interval */
    sah_share acc_norm; /* the same with log-likelihoods divided by the choices' bytes */
    double perplexity; /* exp of the mean negative log-likelihood of a token, */
    double byte_perplexity, word_perplexity; /* of a byte, of a word between white space */
    double bits_per_byte;
} sah_utility_score;

/* Fields for what was not asked for are 0. */
typedef struct sah_utility_totals {
    uint64_t n_items, n_tokens, n_bytes, n_words;
    bool compared; /* heads were ablated: the fields from `base` on are set */
    sah_utility_score score; /* with the ablation */
    sah_utility_score base; /* without */
    sah_share acc_difference, acc_norm_difference; /* score less base; Newcombe's interval for pairs */
    sah_share log_perplexity_difference; /* nats a token, score less base; bootstrap over runs of tokens */
} sah_utility_totals;

/* Multiple choice and perplexity as the LM Evaluation Harness defines them (docs/method.md, "Utility"), with and
 * without an ablation in one run. Appends to the journal `path` (docs/files.md), resuming it when it is there and its
 * header agrees; "-" and NULL as in sah_ships(). `out` (or NULL) gets the totals. */
sah_status sah_utility(const sah_model *model, const sah_utility_options *options, const char *path,
                       sah_utility_totals *out, sah_error *error);

/* ---- Measuring ----------------------------------------------------------------------------------------- */

/* Where the time of a sweep goes. */
typedef enum sah_stage {
    SAH_STAGE_OTHER = 0, /* setting up, copying rows, writing lines */
    SAH_STAGE_PRODUCT, /* the layers' matrix products */
    SAH_STAGE_ATTENTION,
    SAH_STAGE_ELEMENTWISE, /* norms, rotary positions, activations, biases */
    SAH_STAGE_LM_HEAD,
    SAH_STAGE_SCORE, /* from logits to a divergence */
    SAH_STAGE_WAIT /* threads without work */
} sah_stage;
enum { SAH_N_STAGES = 7 };

const char *sah_stage_name(sah_stage stage); /* "products", "attention", ... */

/* How fast Ships runs, against the rate of the bare matrix product. Operations are floating-point ones, and a
 * multiply-add counts as two; docs/performance.md has the formulas. */
typedef struct sah_bench_result {
    char model[256];
    char precision[8];
    char device[160]; /* as sah_model_info has it */
    int threads;
    size_t n_queries, n_heads, n_all_heads; /* heads that were ablated, and that the model has */
    double tokens, nodes; /* before and after sharing prefixes */
    double seconds; /* of the sweep */
    double stage_seconds[SAH_N_STAGES]; /* averaged over threads: they add up to `seconds` */
    double useful; /* operations that remain after sharing */
    double done; /* operations of the products that were run */
    double rate; /* useful / seconds */
    double all_seconds; /* what all heads would take at that rate */
    double peak_f32, peak_bf16; /* operations a second of the products alone, all threads at it; 0: none */
    double share; /* rate / peak of the precision in use */
    uint64_t peak_memory; /* the most bytes the process has held since it began, the caller's own included */
    uint64_t weight_bytes, row_bytes;
} sah_bench_result;

/* Runs Ships on `queries` (NULL: twelve that are built in) and measures. Without ranges in `options` two
 * heads of every layer are ablated. Nothing is written. */
sah_status sah_bench(const sah_model *model, const sah_strings *queries, const sah_run_options *options,
                     sah_bench_result *out, sah_error *error);

/* ---- Surgery and grafts -------------------------------------------------------------------------------- */

typedef struct sah_surgery_options {
    const char *heads; /* to ablate, as sah_heads_parse() reads them; NULL or "": none */
    sah_ablation ablation; /* how */
    const char *adapter; /* a LoRA adapter to merge, or NULL; heads are ablated in the merged model */
    sah_progress_fn progress; /* bytes written; or NULL */
    void *user;
} sah_surgery_options;

/* Writes a checkpoint whose ordinary forward pass is that of `model` with the heads ablated (docs/method.md,
 * "Surgery"), in the container it came in: a directory for a directory, a file for a .gguf file. Only edited tensors
 * change; what was done goes into sahara.json or the metadata. `out` must not exist; it appears when all is written.
 * With `out` NULL, nothing is written, and the status says whether it could be. `notes` (or NULL; start from {0})
 * gets a line for whatever a person should be told: an approximation, a tensor whose type could not be kept.
 * SAH_BAD_ARGUMENT for heads outside the model and for what no edit of weights can do. */
sah_status sah_surgery(const char *model, const sah_surgery_options *options, const char *out,
                       sah_strings *notes, sah_error *error);

typedef enum sah_side { SAH_SIDE_A = 0, SAH_SIDE_B } sah_side;

typedef struct sah_graft_options {
    sah_side attention; /* q, k, v, o projections, their biases, and the norms of q and k */
    sah_side mlp; /* gate, up, down projections and their biases */
    sah_side rest; /* embedding, norms, LM head; configuration, tokenizer and chat template */
    const char *adapters[2]; /* LoRA adapters to merge into A and B first; NULL: none */
    sah_progress_fn progress; /* bytes written; or NULL */
    void *user;
} sah_graft_options;

/* Writes a checkpoint mixed from two of the same shape and container; a difference between them is an error that
 * names the first. SAH_BAD_ARGUMENT for an adapter no part of which gets into the result. `out` and `notes` as for
 * sah_surgery(). */
sah_status sah_graft(const char *a, const char *b, const sah_graft_options *options, const char *out,
                     sah_strings *notes, sah_error *error);

/* ---- What is supported --------------------------------------------------------------------------------- */

typedef enum sah_support {
    SAH_SUPPORTED = 0,
    SAH_PARTLY, /* the note says with which settings, or in which layers */
    SAH_UNSUPPORTED, /* the note says why */
    SAH_ABSENT /* the model has no such part, or none was asked about */
} sah_support;

typedef struct sah_check_line {
    char part
        [16]; /* device (where one was asked for), weights, adapter, tokenizer, template, prompt, ablation q
                 (k, v), surgery q (k, v), merge */
    sah_support support;
    char note[1024]; /* one line; empty when there is nothing to say */
} sah_check_line;

typedef struct sah_checks {
    sah_check_line lines[16];
    size_t n;
} sah_checks;

/* Opens a model as sah_model_open() does, runs a prompt, and says for each part whether it is supported and, if not,
 * why; surgery is planned, not written. Fails only when memory runs out: that a model cannot be opened at all is an
 * answer too. */
sah_status sah_check(const char *path, const sah_model_options *options, sah_checks *out, sah_error *error);

/* ---- Reading results ----------------------------------------------------------------------------------- */

/* One or several result files of the same model and settings, with their queries one after another. */
typedef struct sah_result sah_result;

/* A verdict by effect needs this many refused queries, and as many answered ones. */
enum { SAH_LEAST_OPENINGS = 8 };

typedef struct sah_result_info {
    char command[16]; /* ships, find or direction */
    char model_name[256];
    int n_layers, n_heads; /* heads of a layer: key heads when part k was ablated alone */
    unsigned parts; /* that the run ablated (SAH_PART_Q, ...); 0 of direction, which ablates nothing */
    size_t n_scored; /* heads that every file has */
    size_t n_screened; /* heads that left the race of a screened run: among n_expected, not among n_scored */
    size_t n_expected; /* heads that the run is to score; more than n_scored while it is not finished */
    size_t n_queries, n_contrast;
    size_t n_steps; /* of find; 1 for the other commands */
    size_t step; /* the one looked at */
    bool judged; /* heads have verdicts: contrast queries, no group ablated beside the heads, no race */
    size_t n_refused,
        n_answered; /* ships with openings: how many of all queries, contrast ones included, the unablated
                       model refuses and answers; a response that is still thinking is neither. Else 0 */
    bool effect_judged; /* heads have verdicts by their signed effect: SAH_LEAST_OPENINGS openings of each
                           kind, no race */
    char effect_reason[128]; /* why all heads are SAH_UNDECIDED by their effect; else empty */
} sah_result_info;

/* Reads result files of ships, find or direction ("-": standard input). A last line that was cut short is left out,
 * as it is when a run is resumed; so are fields that are not known. Fails on anything else that is not a result, and
 * on files whose model or settings differ, naming the first difference. Only results of ships can be taken together. */
sah_status sah_result_open(const char *const *paths, size_t n, sah_result **out, sah_error *error);

/* The same of one result in memory: text[0..size), lines with their ends, as sah_lines_add() keeps them. */
sah_status sah_result_parse(const char *text, size_t size, sah_result **out, sah_error *error);

/* The scores of a ships result, one per head and query. */
typedef enum sah_score {
    SAH_SCORE_KL = 0, /* nats */
    SAH_SCORE_EFFECT, /* nats a token; NaN where a query has no opening of the kind, as in the next two */
    SAH_SCORE_TOWARD,
    SAH_SCORE_OPENING_KL
} sah_score;

/* `scores` [n_scored, n_queries + n_contrast], those of the contrast queries after the others, and `heads`
 * [n_scored]; free both with free(). SAH_BAD_ARGUMENT: the result has no such scores. */
sah_status sah_result_scores(const sah_result *result, sah_score score, sah_head **heads, double **scores,
                             sah_error *error);
void sah_result_close(sah_result *result);
const sah_result_info *sah_result_describe(const sah_result *result);

/* A step that find finished. */
typedef struct sah_chosen {
    sah_head head;
    double shift, gain; /* degrees: the shift of the group with the head; what the head added to the score */
    bool better_than_chance;
} sah_chosen;

/* The head that a step of a find result chose; false where there is none: another command's result, a step
 * that is not finished. */
bool sah_result_chosen(const sah_result *result, size_t step, sah_chosen *out);

/* Selects another step of a find result (at first step 0 is selected): everything below works on that step's heads
 * and scores. */
sah_status sah_result_select(sah_result *result, size_t step, sah_error *error);

/* Takes `harmless` as the contrast of `harmful`, as if one run had scored both. Both are results of ships, of the
 * same model and settings, without contrast queries. Keeps the heads that both have. */
sah_status sah_result_contrast(sah_result *harmful, const sah_result *harmless, sah_error *error);

/* Whether a head is about safety (docs/method.md, "Selectivity"). */
typedef enum sah_selectivity {
    SAH_NOT_JUDGED = 0, /* nothing to compare with */
    SAH_SAFETY, /* higher on harmful queries by more than chance, and by the larger part of its score */
    SAH_GENERAL, /* it does to harmless queries at least half of what it does to harmful ones */
    SAH_UNDECIDED, /* the queries at hand show neither */
    SAH_NEGLIGIBLE /* it does next to nothing to either */
} sah_selectivity;

/* "safety", "general", "undecided", "negligible"; "" for SAH_NOT_JUDGED. */
const char *sah_selectivity_name(sah_selectivity verdict);

/* A head's scores: KL over the queries in nats (ships), shift in degrees (find), projection on the refusal direction
 * (direction). Fields that a result does not have are NaN. Intervals are 95 % bootstrap percentile intervals over
 * queries (2000 resamples, the same seed each time). */
typedef struct sah_ranked {
    sah_head head;
    double mean; /* mean KL; shift; mean projection over the harmful queries */
    double low, high, sum; /* ships: interval of the mean, and sum */
    size_t top_ten; /* ships: queries in which the head is among the ten highest */
    double contrast_mean; /* `mean` for the contrast queries */
    double difference; /* mean less contrast_mean; in direction the head's contribution */
    double difference_low, difference_high; /* ships and find */
    double p_adjusted; /* of the difference (one-sided, upwards), adjusted for all heads */
    sah_selectivity verdict;
    /* Ships with openings (method.md, "Signed effect"), nats a token; all queries count, contrast ones too: */
    double effect; /* mean over refused queries: negative, the refusals weaken */
    double effect_low, effect_high;
    double effect_answered; /* mean over answered queries: negative, the answers weaken */
    double toward; /* mean over answered queries: positive, a refusal became likelier */
    double opening_kl; /* mean divergence over the openings of all queries */
    double effect_p; /* of refusals weakening more than answers do, adjusted for all heads */
    sah_selectivity effect_verdict;
} sah_ranked;

typedef enum sah_order {
    SAH_ORDER_DEFAULT = 0, /* by difference where there are contrast queries, else by mean */
    SAH_ORDER_MEAN,
    SAH_ORDER_COUNT, /* by top_ten, then mean */
    SAH_ORDER_DIFFERENCE,
    SAH_ORDER_EFFECT, /* how much refusals weaken (0 for heads SAH_GENERAL by it), less twice what answers weaken */
    SAH_ORDER_TOWARD /* by toward: heads whose ablation makes refusal likeliest on answered queries come
                        first */
} sah_order;

/* All scored heads, highest first; equal ones by layer and head. Free `*ranked` with free(). */
sah_status sah_rank(const sah_result *result, sah_order order, sah_ranked **ranked, size_t *n,
                    sah_error *error);

typedef enum sah_rank_format {
    SAH_FORMAT_TSV = 0, /* a header line, then a line per head */
    SAH_FORMAT_JSON, /* JSON lines */
    SAH_FORMAT_REFERENCE /* a line {"query": {"5-6": score, ... ten}} per query, as the paper's programs write
                          */
} sah_rank_format;

typedef struct sah_rank_options {
    sah_rank_format format;
    sah_order order;
    bool by_query; /* the heads of every single query instead of those of all queries together */
    size_t top; /* only this many heads; 0: all, or ten with `by_query` */
} sah_rank_options;

/* The ranking as text that ends in a line end; free `*text` with free(). */
sah_status sah_rank_text(const sah_result *result, const sah_rank_options *options, char **text,
                         sah_error *error);

/* How few heads carry the score (docs/method.md, "Concentration"). Negative scores count as 0. */
typedef struct sah_concentration {
    size_t n_heads;
    double total; /* of the scores */
    size_t half_heads; /* the fewest heads that carry half of it */
    double gini; /* over the heads: 0 when all score alike, near 1 when one head has all the score */
    uint64_t edited_parameters; /* of those heads, in the ablated parts; 0 for direction */
    uint64_t head_parameters; /* of those heads' q, k, v and o, a shared key head counted once */
    uint64_t model_parameters; /* 0 where the result does not say */
} sah_concentration;

/* `order` is SAH_ORDER_MEAN, SAH_ORDER_DIFFERENCE or SAH_ORDER_DEFAULT. */
sah_status sah_concentrate(const sah_result *result, sah_order order, sah_concentration *out,
                           sah_error *error);
/* A line for the mean (shift), and one for the difference (contribution) where there is one, as TSV or JSON lines;
 * free `*text` with free(). */
sah_status sah_concentration_text(const sah_result *result, sah_rank_format format, char **text,
                                  sah_error *error);

enum { SAH_N_TOPS = 3 };

/* How many of the k highest heads two results share. */
typedef struct sah_overlap {
    size_t k, shared;
    double jaccard; /* shared / (2 k - shared) */
    double expected; /* its mean for two random choices of k heads */
    double p; /* probability that two random choices share at least as many */
} sah_overlap;

typedef struct sah_comparison {
    size_t n_heads; /* that both have; only these are ranked */
    double spearman; /* correlation of their ranks; NaN when one result scores all alike */
    size_t n_tops; /* k = 5, 10, 20, as far as there are more heads */
    sah_overlap tops[SAH_N_TOPS];
} sah_comparison;

/* Compares the heads of two results in `order`; SAH_ORDER_DEFAULT is resolved for each result on its own. The models
 * must have the same layers and heads. */
sah_status sah_compare(const sah_result *a, const sah_result *b, sah_order order, sah_comparison *out,
                       sah_error *error);
/* Every pair of n results: TSV, one line per k, or JSON lines, one per pair; free `*text` with free(). */
sah_status sah_compare_text(const sah_result *const *results, size_t n, sah_order order,
                            sah_rank_format format, char **text, sah_error *error);

/* A heat map for a terminal of `width` columns, a line per layer, a cell per head; with colour escapes or in shaded
 * blocks. Shows the score that `order` goes by. Free `*text` with free(). */
sah_status sah_heat_map(const sah_result *result, sah_order order, bool colour, int width, char **text,
                        sah_error *error);

typedef struct sah_report_options {
    sah_order order; /* of tables, maps and .tsv; on a page, results that have no such scores take the default
                        order */
    size_t top; /* heads that a page's tables show at first (0: 20), or lines of .tsv (0: all) */
    size_t step; /* of find, for a picture and .tsv */
    double width_mm; /* of a picture, at most; 0: 89, or 183 where there are more than 20 heads a layer */
} sah_report_options;

/* Writes `output` by its ending: .html, one page that needs no other file, about result files of ships, find,
 * direction, generate, judge and utility; .svg or .png (600 dots an inch), the heat map of one result (files of ships
 * that belong together count as one); .tsv, its heads as sah_rank_text() gives them. An existing file is replaced
 * only when everything is written. Texts from the files are escaped. */
sah_status sah_report(const char *const *paths, size_t n, const sah_report_options *options,
                      const char *output, sah_error *error);

/* ---- Audit ---------------------------------------------------------------------------------------------- */

/* Does refusal hang on few heads? */
typedef enum sah_audit_answer {
    SAH_AUDIT_HARDLY_REFUSES = 0, /* there is no refusal to explain */
    SAH_AUDIT_FEW_HEADS, /* yes: without them refusal falls by half or more, on queries that they were not
                            chosen on */
    SAH_AUDIT_NOT_THESE_HEADS, /* no, not on the heads that were found */
    SAH_AUDIT_UNDECIDED /* the queries at hand show neither */
} sah_audit_answer;

typedef struct sah_audit_options {
    const char
        *template_; /* see sah_prompt_wrap; NULL: chat where the model has a chat template, else ships */
    const char *system; /* or NULL */
    bool quick; /* by q alone, fewer heads, no search */
    int max_new_tokens; /* of a response; 0: 128, quick 48 */
    uint64_t memory; /* bytes beside the weights; 0: as each stage has it, within what the model may take */
    sah_shard shard; /* of what needs no other stage */
    sah_progress_fn progress; /* `what` names the stage; or NULL */
    void *user;
} sah_audit_options;

typedef struct sah_audit_result {
    bool is_part; /* a shard's: there is no answer and no card yet */
    sah_audit_answer answer;
    char sentence[1024]; /* the answer for a reader, with its figures */
} sah_audit_result;

/* The project's own queries, 80 of each kind; `limit` > 0 keeps only that many. */
sah_status sah_audit_queries(size_t limit, sah_strings *harmful, sah_strings *harmless, sah_error *error);

/* About how long an audit will take, in seconds, measured by short runs of its parts. What its directory already
 * holds is counted as still to be done. */
sah_status sah_audit_estimate(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                              const sah_audit_options *options, double *seconds, sah_error *error);

/* The whole question in one run (docs/audit.md): how much is refused of the harmful and the harmless queries (at
 * least 8 each); Ships with signed effect by q and v, the refusal direction and the searched group, on every second
 * query; then, on the other queries, refusal without those heads, beside as many random heads, and what that costs.
 * Writes the result files of every stage into `directory`, which is made if it does not exist, and card.json, card.md
 * and card.html. An interrupted audit carries on where it stopped.
 *
 * A shard has a directory of its own and does its share of the responses, of Ships and of the search's first step.
 * When sah_merge() has united the files of the same name from those directories, an audit of the united files, with
 * no shard, does what is left. */
sah_status sah_audit(const sah_model *model, const sah_strings *harmful, const sah_strings *harmless,
                     const sah_audit_options *options, const char *directory, sah_audit_result *out,
                     sah_error *error);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
