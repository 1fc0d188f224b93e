# SPDX-License-Identifier: Apache-2.0
"""A tiny model of make-families.py as GGUF, in the form that llama.cpp's converter gives its family: names by gguf's own table, keys, rows of q and k
in rotary order for Llama's relatives, Gemma's norms with their 1 added."""
import gguf

ARCHITECTURES = {"gemma2": "GEMMA2", "gemma3_text": "GEMMA3", "phi3": "PHI3", "olmo2": "OLMO2", "smollm3": "SMOLLM3", "granite": "GRANITE", "granitemoehybrid": "GRANITE", "glm4": "GLM4", "gpt2": "GPT2"}
PERMUTED = {"smollm3", "granite", "granitemoehybrid"}


def permuted(rows, heads):
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def keys(writer, c):
    kind = c.model_type
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_head_count(c.num_attention_heads)
    if kind == "gpt2":
        writer.add_feed_forward_length(c.n_inner or 4 * c.n_embd)
        writer.add_layer_norm_eps(c.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(getattr(c, "shared_intermediate_size", c.intermediate_size))
    writer.add_head_count_kv([c.num_key_value_heads] * c.num_hidden_layers if kind == "granitemoehybrid" else c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    if kind in ("gemma2", "gemma3_text", "glm4"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if kind in ("gemma2", "gemma3_text"):
        writer.add_sliding_window(c.sliding_window)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if kind.startswith("granite"):
        writer.add_attention_scale(c.attention_multiplier)
        writer.add_embedding_scale(c.embedding_multiplier)
        writer.add_residual_scale(c.residual_multiplier)
        writer.add_logit_scale(c.logits_scaling)


def pieces(key, values, c):
    """What the converter makes of a tensor: names of Hugging Face's kind, and values."""
    kind = c.model_type
    if kind in PERMUTED and (".q_proj." in key or ".k_proj." in key):
        values = permuted(values, c.num_attention_heads if ".q_proj." in key else c.num_key_value_heads)
    if kind == "gpt2" and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        values = values.T.copy()
    if kind in ("gemma2", "gemma3_text") and key.endswith("norm.weight"):
        values = values + 1
    if "shared_mlp.input_linear" in key:
        half = len(values) // 2
        return [(key.replace("shared_mlp.input_linear", "mlp.gate_proj"), values[:half]), (key.replace("shared_mlp.input_linear", "mlp.up_proj"), values[half:])]
    return [(key.replace("shared_mlp.output_linear", "mlp.down_proj"), values)]


def write(path, model, c):
    arch = getattr(gguf.MODEL_ARCH, ARCHITECTURES[c.model_type])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(path.parent.name)
    keys(writer, c)
    names = gguf.get_tensor_name_map(arch, c.num_hidden_layers)
    for key, weight in model.state_dict().items():
        if key == "lm_head.weight" and c.tie_word_embeddings:
            continue
        for own, values in pieces(key, weight.detach().float().numpy(), c):
            name = names.get_name(own, try_suffixes=(".weight", ".bias"))
            assert name, own
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
