/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "model/family/families.h"

/* clang-format off */
#define FAMILIES(X) \
    X(llama) \
    X(mistral) \
    X(ministral) \
    X(ministral3) \
    X(qwen2) \
    X(qwen3) \
    X(gemma) \
    X(gemma2) \
    X(gemma3) \
    X(gemma4) \
    X(phi3) \
    X(olmo) \
    X(olmo2) \
    X(olmo3) \
    X(smollm3) \
    X(granite) \
    X(granitemoe) \
    X(granitemoehybrid) \
    X(glm) \
    X(glm4) \
    X(gpt2) \
    X(gpt_neox) \
    X(falcon) \
    X(cohere) \
    X(cohere2) \
    X(exaone) \
    X(exaone4) \
    X(seed_oss) \
    X(ernie4_5) \
    X(arcee) \
    X(starcoder2) \
    X(stablelm) \
    X(nemotron) \
    X(mixtral) \
    X(qwen2_moe) \
    X(qwen3_moe) \
    X(olmoe) \
    X(glm4_moe) \
    X(qwen3_5) \
    X(qwen3_next) \
    X(qwen3_5_moe) \
    X(gpt_oss) \
    X(lfm2) \
    X(lfm2_moe)
/* clang-format on */

#define DECLARE(name) extern const sah_family sah_family_##name;
FAMILIES(DECLARE)
#undef DECLARE

#define ADDRESS(name) &sah_family_##name,
const sah_family *const sah_all_families[] = {FAMILIES(ADDRESS) NULL};
#undef ADDRESS

static bool among(const char *const names[SAH_FAMILY_NAMES], const char *name)
{
    for (int i = 0; i < SAH_FAMILY_NAMES && names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

const sah_family *sah_family_of_json(const char *architecture, const char *model_type)
{
    const sah_family *found = NULL;
    for (const sah_family *const *f = sah_all_families; *f != NULL; f++) {
        if (architecture != NULL && !among((*f)->architectures, architecture)) continue;
        if (model_type != NULL && among((*f)->model_types, model_type)) return *f;
        if (architecture != NULL && found == NULL) found = *f;
    }
    return found;
}

/* Prompts of PaliGemma see what stands behind them. */
const sah_family *sah_family_of_part(const char *architecture, const char *model_type)
{
    static const char generates[] = "ForConditionalGeneration";
    const size_t n = strlen(architecture), m = sizeof generates - 1;
    if (n < m || strcmp(architecture + n - m, generates) != 0) return NULL;
    if (strncmp(architecture, "PaliGemma", strlen("PaliGemma")) == 0) return NULL;
    return sah_family_of_json(NULL, model_type);
}

const sah_family *sah_family_of_gguf(const char *name, size_t length, bool experts)
{
    const sah_family *found = NULL;
    for (const sah_family *const *f = sah_all_families; *f != NULL; f++) {
        const char *own = (*f)->gguf;
        if (own == NULL || strlen(own) != length || memcmp(own, name, length) != 0) continue;
        if (found == NULL || (*f)->mixture == experts) found = *f;
    }
    return found;
}

void sah_family_list(bool gguf, char *out, size_t size)
{
    size_t n = 0, left = 0;
    for (const sah_family *const *f = sah_all_families; *f != NULL; f++)
        left += !gguf || ((*f)->gguf != NULL && !(*f)->mixture);
    for (const sah_family *const *f = sah_all_families; *f != NULL; f++) {
        if (gguf && ((*f)->gguf == NULL || (*f)->mixture)) continue;
        left--;
        int wrote = snprintf(out + n, size - n, "%s%s%s",
                             n == 0     ? ""
                             : left > 0 ? ", "
                                        : " and ",
                             gguf ? (*f)->gguf : (*f)->title, "");
        if (wrote < 0 || (size_t)wrote >= size - n) return;
        n += (size_t)wrote;
    }
}
