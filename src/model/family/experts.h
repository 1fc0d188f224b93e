/* SPDX-License-Identifier: Apache-2.0 */
/* Names and settings that families of experts share. */
#ifndef SAH_MODEL_FAMILY_EXPERTS_H
#define SAH_MODEL_FAMILY_EXPERTS_H

#include "model/family/family.h"

#define SAH_EXPERTS(block, gate, up, down)                                                                   \
    {SAH_ROLE_ROUTER, block ".gate", SAH_CUT_NONE, "ffn_gate_inp", SAH_CUT_NONE},                            \
        {SAH_ROLE_EXPERT_GATE, block ".experts.%d." gate, SAH_CUT_EXPERTS, "ffn_gate_exps",                  \
         SAH_CUT_EXPERT_BLOCK},                                                                              \
        {SAH_ROLE_EXPERT_UP, block ".experts.%d." up, SAH_CUT_EXPERTS, "ffn_up_exps", SAH_CUT_EXPERT_BLOCK}, \
    {                                                                                                        \
        SAH_ROLE_EXPERT_DOWN, block ".experts.%d." down, SAH_CUT_EXPERTS, "ffn_down_exps",                   \
            SAH_CUT_EXPERT_BLOCK                                                                             \
    }
#define SAH_QWEN_EXPERTS SAH_EXPERTS("mlp", "gate_proj", "up_proj", "down_proj")
#define SAH_SHARED_EXPERT(block)                                                                             \
    {SAH_ROLE_SHARED_GATE, block ".gate_proj", SAH_CUT_NONE, "ffn_gate_shexp", SAH_CUT_NONE},                \
        {SAH_ROLE_SHARED_UP, block ".up_proj", SAH_CUT_NONE, "ffn_up_shexp", SAH_CUT_NONE},                  \
    {                                                                                                        \
        SAH_ROLE_SHARED_DOWN, block ".down_proj", SAH_CUT_NONE, "ffn_down_shexp", SAH_CUT_NONE               \
    }
/* Those of all experts in two tensors, gate and up together in one: as transformers 5 has them in memory. */
#define SAH_FUSED_EXPERTS(experts)                                                                           \
    {SAH_ROLE_EXPERT_GATE, experts ".gate_up_proj", SAH_CUT_EXPERT_GATE_UP, "ffn_gate_up_exps",              \
     SAH_CUT_EXPERT_GATE_UP},                                                                                \
        {SAH_ROLE_EXPERT_UP, experts ".gate_up_proj", SAH_CUT_EXPERT_GATE_UP, "ffn_gate_up_exps",            \
         SAH_CUT_EXPERT_GATE_UP},                                                                            \
    {                                                                                                        \
        SAH_ROLE_EXPERT_DOWN, experts ".down_proj", SAH_CUT_EXPERT_BLOCK, "ffn_down_exps",                   \
            SAH_CUT_EXPERT_BLOCK                                                                             \
    }
#define SAH_QWEN_SHARED_EXPERT                                                                               \
    SAH_SHARED_EXPERT("mlp.shared_expert"),                                                                  \
    {                                                                                                        \
        SAH_ROLE_SHARED_ROUTER, "mlp.shared_expert_gate", SAH_CUT_NONE, "ffn_gate_inp_shexp", SAH_CUT_NONE   \
    }

/* How many experts, how many of them a position takes by `active_key` (NULL: "num_experts_per_tok"), and how wide one
 * is by `width_key`; with a family's own numbers for absent keys, of which 0 makes the key a must. */
sah_status sah_read_experts(const json_t *json, int n, const char *active_key, int active,
                            const char *width_key, int width, sah_experts *e, const char *where,
                            sah_error *error);
/* The expert that all positions take, with a gate. */
sah_status sah_read_shared_expert(const json_t *json, int width, sah_experts *e, const char *where,
                                  sah_error *error);
/* Router, and which layers have experts: not those listed, nor those between the steps. */
sah_status sah_read_qwen_experts(const json_t *json, bool normalise, const char *where, sah_config *c,
                                 sah_error *error);
/* The same of GGUF's keys under `prefix`, and of its tensors, which tell the layers and the shared expert. Router and
 * norms of weights are what llama.cpp takes for the architecture. */
typedef enum sah_normalise { SAH_NORMALISE_NEVER, SAH_NORMALISE_ALWAYS, SAH_NORMALISE_BY_KEY } sah_normalise;
sah_status sah_read_experts_gguf(const sah_gguf *gguf, const char *prefix, sah_router router,
                                 sah_normalise normalise, const char *where, sah_config *c, sah_error *error);

#endif
