/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the head of a GGUF file whose weights are sound: metadata and the tensors' names, shapes, types and
 * places. Refused with a line, or the model computes. The first byte chooses the model whose weights follow; what
 * stands behind the head is left out. */
#include <omp.h>

#include "fuzz_compute.h"
#include "fuzz_gguf_mutate.h"
#include "fuzz_input.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

static const char *const models[] = {"llama-gqa/model-f32",
                                     "qwen2/model-f32",
                                     "family-olmo/model-f32",
                                     "family-exaone/model-f32",
                                     "family-gemma4-moe/model-f32",
                                     "family-gemma3-capped/model-f32",
                                     "family-starcoder2/model-f32",
                                     "family-cohere-gguf/model-f32",
                                     "family-stablelm-parallel/model-f32",
                                     "family-nemotron/model-f32",
                                     "family-gpt-oss-mxfp4/model-mxfp4",
                                     "family-qwen3-next-gguf/model-f32",
                                     "family-granite4-moe/model-f32",
                                     "family-glm4-moe/model-f32",
                                     "family-lfm2-moe/model-f32",
                                     "family-gemma2-gguf/model-f32",
                                     "family-gpt-neox/model-f32",
                                     "family-ministral3/model-f32",
                                     "family-glm/model-f32",
                                     "family-phi3/model-f32",
                                     "family-falcon/model-f32",
                                     "family-olmo3/model-f32",
                                     "family-smollm3/model-f32",
                                     "family-gpt2/model-f32",
                                     "family-qwen3-5/model-f32",
                                     "family-mixtral-gguf/model-f32",
                                     "family-gemma4/model-f32"};
enum { N_MODELS = sizeof models / sizeof *models, LARGEST = 1 << 18, ALIGNMENT = 32 };

static fuzz_folder folder;
static int file;
static uint8_t *weights[N_MODELS];
static size_t weights_sizes[N_MODELS];

static void remove_folder(void)
{
    fuzz_folder_remove(&folder);
}

/* Where the head of data[0..size) ends. */
static size_t head_end(const uint8_t *data, size_t size)
{
    static walk w;
    w = (walk){.data = data, .size = size};
    walk_head(&w);
    return w.at;
}

static size_t aligned(size_t at)
{
    return (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static uint8_t all[LARGEST];
    char path[256];
    (void)argc;
    (void)argv;
    omp_set_num_threads(1);
    for (size_t i = 0; i < N_MODELS; i++) {
        snprintf(path, sizeof path, "tests/golden/models/%s.gguf", models[i]);
        FILE *golden = fopen(path, "rb");
        if (golden == NULL) abort(); /* to be run from the repository's root */
        const size_t size = fread(all, 1, sizeof all, golden), begin = aligned(head_end(all, size));
        fclose(golden);
        if (begin >= size || size == sizeof all) abort();
        weights_sizes[i] = size - begin;
        weights[i] = malloc(size - begin);
        if (weights[i] == NULL) abort();
        memcpy(weights[i], all + begin, size - begin);
    }
    fuzz_folder_make(&folder);
    atexit(remove_folder);
    file = fuzz_named(&folder, "m.gguf");
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    if (size > 1) size = 1 + head_end(data + 1, size - 1);
    if (seed % 4 == 0 || size < 24 || !mutate_head(data, size, 1, seed))
        return LLVMFuzzerMutate(data, size, room);
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t all[2 * LARGEST];
    if (size == 0 || size > LARGEST / 2) return 0;
    const size_t i = data[0] % N_MODELS, end = head_end(data + 1, size - 1), begin = aligned(end);
    memcpy(all, data + 1, end);
    memset(all + end, 0, begin - end);
    memcpy(all + begin, weights[i], weights_sizes[i]);
    fuzz_set(file, all, begin + weights_sizes[i]);
    fuzz_open(fuzz_path_in(&folder, "m.gguf").text, NULL, true);
    return 0;
}
