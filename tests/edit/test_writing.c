/* SPDX-License-Identifier: Apache-2.0 */
/* What surgery and grafts leave on the disk: every byte that no edit speaks of, types, and nothing at all
 * when writing stops half way, whatever stops it. */
#include <linux/capability.h>
#include <omp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "surgery.h"
#include "util/scratch.h"

static sah_checkpoint *checkpoint_of(const char *path)
{
    sah_error error = {0};
    sah_checkpoint *c;
    expect_ok(sah_checkpoint_open(path, NULL, true, &c, &error), &error);
    return c;
}

/* ---- The other heads ----------------------------------------------------------------------------------- */

/* True for the weights of `head` (a key head where the matrix has those) in row `row`, column `column`. */
static bool in_head(const sah_matrix *matrix, bool columns, int n_heads, int head, size_t row, size_t column)
{
    const size_t width = (columns ? matrix->columns : matrix->rows) / (size_t)n_heads;
    return (columns ? column : row) / width == (size_t)head;
}

static void check_matrix(const sah_matrix *before, const sah_matrix *after, bool columns, int n_heads,
                         int head)
{
    const size_t n = before->rows * before->columns;
    float *x = calloc(n, sizeof *x), *y = calloc(n, sizeof *y);
    sah_matrix_read(before, 0, before->rows, x);
    sah_matrix_read(after, 0, after->rows, y);
    for (size_t i = 0; i < n; i++) {
        const bool edited = in_head(before, columns, n_heads, head, i / before->columns, i % before->columns);
        const float want = edited ? x[i] * 2 : x[i];
        if (memcmp(&want, &y[i], sizeof want) != 0)
            fail_msg("%s: weight %zu is %.9g where %.9g is due", before->tensor->name, i, (double)y[i],
                     (double)want);
    }
    free(x);
    free(y);
}

/* Twice a number is exact in every type, so the edited head's weights can be held to the last bit as well. */
static void test_other_heads_stay(void **state)
{
    (void)state;
    static const char *const MODEL[] = {MODELS "llama-gqa",
                                        MODELS "llama-gqa/model-f32.gguf",
                                        MODELS "llama-bias",
                                        MODELS "llama-bias/model-f32.gguf",
                                        MODELS "qwen3",
                                        MODELS "qwen2/model-f32.gguf",
                                        MODELS "llama-f16",
                                        MODELS "llama-bf16",
                                        MODELS "llama-quantised/model-mixed.gguf",
                                        MODELS "family-phi3",
                                        MODELS "family-phi3/model-f32.gguf",
                                        MODELS "family-gpt-neox",
                                        MODELS "family-gpt2",
                                        MODELS "family-falcon"};
    for (size_t i = 0; i < sizeof MODEL / sizeof *MODEL; i++) {
        sah_checkpoint *before = checkpoint_of(MODEL[i]);
        const int heads = before->config.n_heads, key_heads = before->config.n_kv_heads;
        const int head = heads - 1, key_head = key_heads - 1;
        char names[2][16];
        snprintf(names[0], sizeof names[0], "1-%d", head);
        snprintf(names[1], sizeof names[1], "1-%d", key_head);
        for (unsigned part = SAH_PART_Q; part <= SAH_PART_V; part <<= 1) {
            if (before->config.qk_norm && part != SAH_PART_V) continue; /* refused */
            const char *made = operate(MODEL[i], names[part == SAH_PART_K], part, SAH_OP_SCALE, 2);
            sah_checkpoint *after = checkpoint_of(made);
            const sah_layer_files *x = &before->layers[1], *y = &after->layers[1];
            check_matrix(&x->q, &y->q, false, heads, part == SAH_PART_Q ? head : -1);
            check_matrix(&x->k, &y->k, false, key_heads, part == SAH_PART_K ? key_head : -1);
            check_matrix(&x->v, &y->v, false, key_heads, -1);
            check_matrix(&x->o, &y->o, true, heads, part == SAH_PART_V ? head : -1);
            sah_checkpoint_close(after);
        }
        sah_checkpoint_close(before);
    }
}

/* ---- Safetensors --------------------------------------------------------------------------------------- */

static uint8_t *file_in(const char *folder, const char *name, size_t *size)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return scratch_read(path, size);
}

static bool same_in(const char *a, const char *b, const char *name)
{
    size_t n, m;
    uint8_t *x = file_in(a, name, &n), *y = file_in(b, name, &m);
    bool same = n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

static json_t *header_in(const char *folder, const char *name)
{
    size_t size, length = 0;
    uint8_t *data = file_in(folder, name, &size);
    for (int i = 7; i >= 0; i--) length = length << 8 | data[i];
    assert_true(length % 8 == 0 && 8 + length <= size);
    json_t *header = json_loadb((const char *)data + 8, length, 0, NULL);
    assert_non_null(header);
    free(data);
    return header;
}

/* Where nothing is widened a shard's bytes differ inside the edited tensor alone, header and all; the other
 * shards and the index do not differ. */
static void test_shards_stay(void **state)
{
    (void)state;
    const char *model = MODELS "llama-sharded",
               *made = operate(model, "1-2", SAH_PART_Q, SAH_OP_SCALE, 1e-4F);
    sah_checkpoint *c = checkpoint_of(model);
    const sah_tensor *edited = c->layers[1].q.tensor;
    assert_true(c->tensors->n_files > 1);
    for (size_t f = 0; f < c->tensors->n_files; f++) {
        const char *name = strrchr(c->tensors->files[f].path, '/') + 1;
        size_t n, m, differ = 0;
        uint8_t *x = file_in(model, name, &n), *y = file_in(made, name, &m);
        assert_int_equal(n, m);
        for (size_t i = 0; i < n; i++) {
            if (x[i] == y[i]) continue;
            assert_true(f == edited->file && i >= edited->offset && i < edited->offset + edited->bytes);
            differ++;
        }
        assert_true((differ > 0) == (f == edited->file));
        free(x);
        free(y);
    }
    assert_true(same_in(model, made, "model.safetensors.index.json"));
    assert_true(same_in(model, made, "config.json"));
    sah_checkpoint_close(c);
}

/* One shard of a model in the making. */
typedef struct shard {
    json_t *header;
    uint8_t *data;
    size_t size;
} shard;

static void add_tensor(shard *s, const char *name, const char *type, json_t *shape, const void *data,
                       size_t size)
{
    s->data = realloc(s->data, s->size + size);
    memcpy(s->data + s->size, data, size);
    json_object_set_new(s->header, name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", type, "shape", shape, "data_offsets",
                                  (json_int_t)s->size, (json_int_t)(s->size + size)));
    s->size += size;
}

static void write_shard(const char *folder, const char *name, shard *s)
{
    char path[600], length[8];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *text = json_dumps(s->header, JSON_COMPACT);
    const size_t n = strlen(text), padded = (n + 7) / 8 * 8;
    for (int i = 0; i < 8; i++) length[i] = (char)(padded >> (8 * i));
    FILE *file = fopen(path, "wb");
    fwrite(length, 1, 8, file);
    fprintf(file, "%-*s", (int)padded, text);
    fwrite(s->data, 1, s->size, file);
    assert_int_equal(fclose(file), 0);
    free(text);
    free(s->data);
    json_decref(s->header);
}

/* llama-f16 in two shards, with metadata, a tensor of integers that no reader of models knows, and files
 * beside. */
static const char *make_sharded_f16(void)
{
    const char *folder = fresh("");
    char path[600];
    sah_checkpoint *c = checkpoint_of(MODELS "llama-f16");
    shard shards[2] = {
        {.header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt")},
        {.header = json_pack("{s:{s:s, s:s}}", "__metadata__", "format", "pt", "note", "kept \xc3\xa9")}};
    json_t *map = json_object();
    json_int_t total = 16;
    const int64_t ids[2] = {7, -7};
    assert_int_equal(mkdir(folder, 0777), 0);
    add_tensor(&shards[1], "model.position_ids", "I64", json_pack("[i]", 2), ids, sizeof ids);
    json_object_set_new(map, "model.position_ids", json_string("model-00002-of-00002.safetensors"));
    for (size_t i = 0; i < c->tensors->n; i++) {
        const sah_tensor *t = &c->tensors->items[i];
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->dims[d]));
        const bool second = strstr(t->name, "layers.1.") != NULL;
        add_tensor(&shards[second], t->name, "F16", shape, t->data, t->bytes);
        json_object_set_new(
            map, t->name,
            json_string(second ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors"));
        total += (json_int_t)t->bytes;
    }
    sah_checkpoint_close(c);
    write_shard(folder, "model-00001-of-00002.safetensors", &shards[0]);
    write_shard(folder, "model-00002-of-00002.safetensors", &shards[1]);
    json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", total, "weight_map", map);
    char *text = json_dumps(index, JSON_INDENT(2));
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    scratch_write_text(path, text);
    free(text);
    json_decref(index);
    size_t size;
    uint8_t *config = file_in(MODELS "llama-f16", "config.json", &size);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write(path, config, size);
    free(config);
    snprintf(path, sizeof path, "%s/LICENSE", folder);
    scratch_write_text(path, "ours\r\n");
    snprintf(path, sizeof path, "%s/.hidden", folder);
    scratch_write_text(path, "left behind");
    snprintf(path, sizeof path, "%s/pytorch_model.bin", folder);
    scratch_write_text(path, "the old weights");
    return folder;
}

/* What float16 would lose is widened: places move, and everything else stays true. */
static void test_widened_shard(void **state)
{
    (void)state;
    static const char FIRST[] = "model-00001-of-00002.safetensors",
                      SECOND[] = "model-00002-of-00002.safetensors";
    static const char *const Q[] = {"model.layers.1.self_attn.q_proj.weight", NULL};
    const char *model = make_sharded_f16(), *made = operate(model, "1-2", SAH_PART_Q, SAH_OP_SCALE, 1e-7F);
    char path[600];
    check_unedited(model, made, Q);
    assert_true(same_in(model, made, FIRST));
    assert_true(same_in(model, made, "LICENSE"));
    snprintf(path, sizeof path, "%s/.hidden", made);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/pytorch_model.bin", made);
    assert_int_not_equal(access(path, F_OK), 0);

    json_t *was = header_in(model, SECOND), *is = header_in(made, SECOND);
    assert_true(json_equal(json_object_get(was, "__metadata__"), json_object_get(is, "__metadata__")));
    assert_int_equal(json_object_size(was), json_object_size(is));
    json_t *ids = json_object_get(is, "model.position_ids");
    assert_string_equal(json_string_value(json_object_get(ids, "dtype")), "I64");
    const size_t at = (size_t)json_integer_value(json_array_get(json_object_get(ids, "data_offsets"), 0));
    size_t size, length = 0;
    uint8_t *data = file_in(made, SECOND, &size);
    for (int i = 7; i >= 0; i--) length = length << 8 | data[i];
    assert_memory_equal(data + 8 + length + at, ((int64_t[]){7, -7}), 16);
    free(data);
    json_decref(was);
    json_decref(is);

    sah_error error = {0};
    json_t *old, *new;
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", model);
    expect_ok(sah_json_read(path, 1u << 20, &old, &error), &error);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", made);
    expect_ok(sah_json_read(path, 1u << 20, &new, &error), &error);
    assert_true(json_equal(json_object_get(old, "weight_map"), json_object_get(new, "weight_map")));
    const json_int_t more =
        json_integer_value(json_object_get(json_object_get(new, "metadata"), "total_size")) -
        json_integer_value(json_object_get(json_object_get(old, "metadata"), "total_size"));
    assert_int_equal(more, 2 * 32 * 32); /* 32 by 32 numbers, two bytes more each */
    json_decref(old);
    json_decref(new);

    /* Half of a number is in float16 what it is in float32: nothing is widened, no place moves. */
    made = operate(model, "1-2", SAH_PART_V, SAH_OP_SCALE, 0.5F);
    assert_true(same_in(model, made, "model.safetensors.index.json"));
    was = header_in(model, SECOND);
    is = header_in(made, SECOND);
    assert_true(json_equal(was, is));
    json_decref(was);
    json_decref(is);
}

/* ---- GGUF ---------------------------------------------------------------------------------------------- */

/* Metadata pair by pair but for the provenance; order, places and alignment of the tensors. */
static void check_gguf(const char *model, const char *made)
{
    sah_checkpoint *before = checkpoint_of(model), *after = checkpoint_of(made);
    const sah_gguf *x = &before->gguf, *y = &after->gguf;
    size_t n = 0, end = y->data_offset;
    assert_int_equal(x->version, y->version);
    assert_int_equal(x->alignment, y->alignment);
    assert_int_equal(y->data_offset % y->alignment, 0);
    for (size_t i = 0; i < x->n_values; i++) {
        const sah_gguf_value *old = &x->values[i], *new = &y->values[n];
        if (old == sah_gguf_find(x, SAH_GGUF_PROVENANCE)) continue;
        const size_t key = (size_t)((const char *)old->bytes + old->size - old->key);
        assert_memory_equal(old->key, new->key, key); /* key, type, value */
        n++;
    }
    assert_int_equal(y->n_values, n + 1);
    assert_ptr_equal(sah_gguf_find(y, SAH_GGUF_PROVENANCE), &y->values[n]);
    for (size_t i = 0; i < y->tensors.n; i++) {
        const sah_tensor *t = &y->tensors.items[i];
        assert_int_equal(t->offset % y->alignment, 0);
        if (t->offset + t->bytes > end) end = t->offset + t->bytes;
    }
    assert_int_equal((end + y->alignment - 1) / y->alignment * y->alignment, y->tensors.files[0].size);
    for (size_t i = y->header_end; i < y->data_offset; i++) assert_int_equal(y->tensors.files[0].data[i], 0);
    sah_checkpoint_close(before);
    sah_checkpoint_close(after);
}

static void test_gguf_stays(void **state)
{
    (void)state;
    static const char *const MODEL[] = {MODELS "llama-gqa/model-f32.gguf",
                                        MODELS "llama-gqa/model-f32-v2.gguf",
                                        MODELS "llama-tied/model-f32.gguf",
                                        MODELS "llama-headdim-odd-count/model-f32.gguf", /* aligned to 64 */
                                        MODELS "qwen3/model-f32.gguf",
                                        MODELS "llama-quantised/model-mixed.gguf"};
    for (size_t i = 0; i < sizeof MODEL / sizeof *MODEL; i++) {
        const char *first = operate(MODEL[i], "1-0", SAH_PART_Q, SAH_OP_SCALE, 0);
        check_gguf(MODEL[i], first);
        check_unedited(MODEL[i], first, (const char *[]){"blk.1.attn_q.weight", NULL});
        const char *second = operate(first, "0-1", SAH_PART_V, SAH_OP_SCALE, 0);
        check_gguf(first, second);
        check_unedited(first, second, (const char *[]){"blk.0.attn_output.weight", NULL});
    }
}

/* The numbers of a tensor of 8-bit blocks become multiples of 1/64, which float16 holds; those of the file do
 * not. */
static const char *make_round_scales(const char *model, const char *name)
{
    enum { BLOCK = 34 }; /* a float16 scale, 32 signed bytes */
    size_t size;
    const char *path = fresh(".gguf");
    uint8_t *data = scratch_read(model, &size);
    sah_checkpoint *c = checkpoint_of(model);
    const sah_tensor *t = sah_tensors_find(c->tensors, name);
    assert_true(t != NULL && t->type == SAH_Q8_0);
    for (size_t at = t->offset; at < t->offset + t->bytes; at += BLOCK) {
        data[at] = 0;
        data[at + 1] = 0x24;
    }
    sah_checkpoint_close(c);
    scratch_write(path, data, size);
    free(data);
    return path;
}

static sah_dtype type_in(const char *path, const char *name)
{
    sah_checkpoint *c = checkpoint_of(path);
    const sah_dtype type = sah_tensors_find(c->tensors, name)->type;
    sah_checkpoint_close(c);
    return type;
}

static void test_types(void **state)
{
    (void)state;
    static const char O[] = "blk.0.attn_output.weight";
    const char *model = MODELS "llama-quantised/model-mixed.gguf";
    assert_int_equal(type_in(operate(model, "0-1", SAH_PART_V, SAH_OP_SCALE, 0.5F), O), SAH_F32);
    const char *round = make_round_scales(model, O);
    assert_int_equal(type_in(operate(round, "0-1", SAH_PART_V, SAH_OP_SCALE, 0.5F), O), SAH_F16);
    assert_int_equal(type_in(operate(round, "0-1", SAH_PART_V, SAH_OP_SCALE, 1e-4F), O), SAH_F32);
    const char *made = operate(round, "0-1", SAH_PART_V, SAH_OP_SCALE, 0.5F);
    check_gguf(round, made);
    check_unedited(round, made, (const char *[]){O, NULL});

    /* What float16 holds to its last place stays float16; what it holds worse does not, nor what it does not
     * hold. */
    static const struct {
        float factor;
        sah_dtype type;
    } CASES[] = {{0, SAH_F16},    {0.5F, SAH_F16},  {2, SAH_F16},     {-1.37F, SAH_F16},
                 {1e3F, SAH_F16}, {1e-3F, SAH_F16}, {1e-5F, SAH_F32}, {1e6F, SAH_F32}};
    static const char Q[] = "model.layers.1.self_attn.q_proj.weight";
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        made = operate(MODELS "llama-f16", "1-2", SAH_PART_Q, SAH_OP_SCALE, CASES[i].factor);
        if (type_in(made, Q) != CASES[i].type) fail_msg("times %g: another type", (double)CASES[i].factor);
        made = operate(MODELS "llama-bf16", "1-2", SAH_PART_Q, SAH_OP_SCALE, CASES[i].factor);
        assert_int_equal(type_in(made, Q), SAH_BF16);
    }
}

/* ---- Stopped half way ---------------------------------------------------------------------------------- */

static bool is_there(const char *path)
{
    struct stat there;
    return lstat(path, &there) == 0;
}

/* Ends the process without a chance to clean up, once so many bytes are written. */
static bool die(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)total;
    if (done >= *(uint64_t *)user) raise(SIGKILL);
    return true;
}

static const char *const CONTAINERS[] = {MODELS "llama-sharded", MODELS "llama-gqa/model-f32.gguf"};

static sah_status work(const char *model, bool graft, const char *out, sah_progress_fn progress, void *user,
                       sah_error *error)
{
    if (graft) {
        const sah_graft_options options = {.attention = SAH_SIDE_B, .progress = progress, .user = user};
        return sah_graft(model, model, &options, out, NULL, error);
    }
    const sah_surgery_options options = {
        .heads = "1-1", .ablation = {SAH_PART_Q, SAH_OP_SCALE, 0}, .progress = progress, .user = user};
    return sah_surgery(model, &options, out, NULL, error);
}

/* A kill at any time: nothing has the result's name, and the next run makes it. */
static void test_killed(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const char *model = CONTAINERS[i % 2], *out = fresh(i % 2 ? ".gguf" : "");
        sah_error error = {0};
        for (uint64_t after = 1; after < 1000000; after *= 8) {
            pid_t child = fork();
            int status;
            if (child == 0) _exit(work(model, i >= 2, out, die, &after, &error) == SAH_OK ? 0 : 1);
            assert_int_equal(waitpid(child, &status, 0), child);
            if (WIFEXITED(status)) { /* so many bytes there are not */
                assert_int_equal(WEXITSTATUS(status), 0);
                assert_true(after > 8 && is_there(out));
                break;
            }
            assert_int_equal(WTERMSIG(status), SIGKILL);
            assert_false(is_there(out));
        }
        if (!is_there(out)) expect_ok(work(model, i >= 2, out, NULL, NULL, &error), &error);
        sah_checkpoint_close(checkpoint_of(out));
    }
}

/* What a killed run left under its temporary name is in nobody's way, and is nobody's to remove. */
static void test_left_behind(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *out = fresh(i ? ".gguf" : "");
        char left[600];
        sah_error error = {0};
        snprintf(left, sizeof left, "%s.%ld.part", out, (long)getpid());
        scratch_write_text(left, "half");
        expect_ok(work(CONTAINERS[i], false, out, NULL, NULL, &error), &error);
        assert_true(is_there(left) && is_there(out));
        assert_int_equal(unlink(left), 0);
    }
}

/* Someone else makes the place while we write: theirs stays. */
static bool come_first(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    if (done == total && !is_there(user)) scratch_write_text(user, "theirs");
    return true;
}

static void test_place_taken_meanwhile(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char *out = strdup(fresh(i % 2 ? ".gguf" : ""));
        sah_error error = {0};
        size_t size;
        expect_failure(work(CONTAINERS[i % 2], i >= 2, out, come_first, out, &error), &error, "File exists");
        uint8_t *theirs = scratch_read(out, &size);
        assert_string_equal((char *)theirs, "theirs");
        free(theirs);
        free(out);
    }
}

/* Root may write anywhere: with `on` false it gives that right up until it is called with `on` true. */
static void right_to_write_anywhere(bool on)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    const __u32 right = 1u << CAP_DAC_OVERRIDE;
    assert_int_equal(syscall(SYS_capget, &header, sets), 0);
    sets[0].effective = on ? sets[0].effective | (sets[0].permitted & right) : sets[0].effective & ~right;
    assert_int_equal(syscall(SYS_capset, &header, sets), 0);
}

static void test_read_only(void **state)
{
    (void)state;
    char folder[600], out[700];
    snprintf(folder, sizeof folder, "%s", fresh(""));
    assert_int_equal(mkdir(folder, 0555), 0);
    for (size_t i = 0; i < 4; i++) {
        sah_error error = {0};
        snprintf(out, sizeof out, "%s/made%s", folder, i % 2 ? ".gguf" : "");
        right_to_write_anywhere(false);
        sah_status status = work(CONTAINERS[i % 2], i >= 2, out, NULL, NULL, &error);
        right_to_write_anywhere(true);
        expect_failure(status, &error, "Permission denied");
        assert_non_null(strstr(error.message, out));
        assert_false(is_there(out));
    }
    assert_int_equal(rmdir(folder), 0); /* nothing is in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_heads_stay),
        cmocka_unit_test(test_shards_stay),
        cmocka_unit_test(test_widened_shard),
        cmocka_unit_test(test_gguf_stays),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_left_behind),
        cmocka_unit_test(test_place_taken_meanwhile),
        cmocka_unit_test(test_read_only),
    };
    omp_set_num_threads(1); /* a child that dies half way cannot use threads its parent has made */
    return cmocka_run_group_tests_name("writing", tests, NULL, NULL);
}
