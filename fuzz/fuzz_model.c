/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the config.json of a checkpoint whose weights are sound, or as an adapter of one: refused with a line,
 * or the model opens, and computes, which takes as long again, where the size is a multiple of four. The first byte
 * chooses the model, and its upper half whether the rest is a configuration or an adapter: adapter_config.json, a byte
 * 0xFF, and the header of a safetensors file that gets its length and data. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_compute.h"
#include "fuzz_input.h"
#include "fuzz_json_mutate.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool fuzz_holds_json(const uint8_t *data, size_t size)
{
    (void)data;
    return size > 0;
}

static const char *const models[] = {"llama-gqa",
                                     "qwen2",
                                     "mistral-swa",
                                     "llama3-rope",
                                     "family-gemma2",
                                     "family-gemma4",
                                     "family-glm4",
                                     "family-gpt-oss",
                                     "family-gpt2",
                                     "family-granite4",
                                     "family-mixtral",
                                     "family-olmo3",
                                     "family-phi3-longrope",
                                     "family-qwen3-5",
                                     "family-qwen3-next",
                                     "family-ministral3",
                                     "family-gemma4-moe"};
enum { N_MODELS = sizeof models / sizeof *models, DATA = 16384 };

static fuzz_folder folders[N_MODELS], adapter;
static int configs[N_MODELS], adapter_config, adapter_weights;
static char golden[N_MODELS][512];

static void remove_folders(void)
{
    for (size_t i = 0; i < N_MODELS; i++) fuzz_folder_remove(&folders[i]);
    fuzz_folder_remove(&adapter);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char here[256], weights[640];
    (void)argc;
    (void)argv;
    omp_set_num_threads(1);
    if (getcwd(here, sizeof here) == NULL) abort();
    fuzz_folder_make(&adapter);
    for (size_t i = 0; i < N_MODELS; i++) {
        fuzz_folder_make(&folders[i]);
        snprintf(golden[i], sizeof golden[i], "%s/tests/golden/models/%s", here, models[i]);
        snprintf(weights, sizeof weights, "%s/model.safetensors", golden[i]);
        if (access(weights, R_OK) != 0) abort(); /* to be run from the repository's root */
        fuzz_folder_link(&folders[i], "model.safetensors", weights);
        configs[i] = fuzz_named(&folders[i], "config.json");
    }
    adapter_config = fuzz_named(&adapter, "adapter_config.json");
    adapter_weights = fuzz_named(&adapter, "adapter_model.safetensors");
    atexit(remove_folders);
    return 0;
}

static void set_adapter(const uint8_t *data, size_t size)
{
    static uint8_t file[8 + (1 << 16) + DATA];
    const uint8_t *border = memchr(data, 0xFF, size);
    const size_t first = border != NULL ? (size_t)(border - data) : size;
    size_t header = border != NULL ? size - first - 1 : 0;
    if (header > 1 << 16) header = 1 << 16;
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)header >> (8 * i));
    if (header > 0) memcpy(file + 8, border + 1, header);
    memset(file + 8 + header, 0, DATA);
    fuzz_set(adapter_config, data, first);
    fuzz_set(adapter_weights, file, 8 + header + DATA);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const size_t i = data[0] % N_MODELS;
    if (data[0] < 128) {
        fuzz_set(configs[i], data + 1, size - 1);
        fuzz_open(folders[i].path, NULL, size % 4 == 0);
    } else {
        set_adapter(data + 1, size - 1);
        fuzz_open(golden[i], adapter.path, size % 4 == 0);
    }
    return 0;
}
