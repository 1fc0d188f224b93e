# SPDX-License-Identifier: Apache-2.0
"""The other programs: next-token logits of a prompt's last token, as float64 arrays."""
import contextlib
import os
import warnings

import numpy as np
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore", category=FutureWarning)
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@contextlib.contextmanager
def silence():
    """Progress bars and remarks that say nothing here."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def distance(a, b):
    """Largest difference, of the largest logit of `b`."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def logits_of(model, tokens):
    # For hidden states: tests/golden/make-families.py, ask().
    with torch.no_grad():
        return model(torch.tensor([tokens]), output_hidden_states=model.config.model_type == "gemma4_text").logits[0, -1].double().numpy()


def load(folder, **how):
    """float32 whatever the file says: its 16-bit weights are widened, not its float32 ones narrowed."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", **how).eval()


def transformers_directory(folder, tokens):
    return logits_of(load(folder), tokens)


def transformers_gguf(path, tokens):
    """The file through the `gguf` package: dequantised, q and k rows put back in order."""
    with silence():
        model = load(path.parent, gguf_file=path.name)
    return logits_of(model, tokens)


def llama_cpp(path, tokens):
    """float32 keys and values. Without the buffers that repack weights: some of them need what a guest system may lack."""
    import llama_cpp.llama_cpp as low
    from llama_cpp import Llama
    default = low.llama_model_default_params

    def plain():
        parameters = default()
        parameters.use_extra_bufts = False
        return parameters

    low.llama_model_default_params = plain
    with silence():
        model = Llama(str(path), n_ctx=max(64, len(tokens)), n_threads=1, n_threads_batch=1, logits_all=True, type_k=0,
                      type_v=0, flash_attn=False, verbose=False)
    low.llama_model_default_params = default
    model.eval(tokens)
    logits = np.array(model.scores[len(tokens) - 1], dtype=np.float64)
    model.close()
    return logits


def logits(path, tokens):
    """A directory in transformers, a GGUF file in llama.cpp."""
    return llama_cpp(path, tokens) if path.suffix == ".gguf" else transformers_directory(path, tokens)


def merged_by_peft(folder, adapter):
    from peft import PeftModel
    return PeftModel.from_pretrained(load(folder), adapter).merge_and_unload().eval()


def mixed(a, b, attention, mlp, rest):
    """The graft made of two loaded models of the same shape: `rest`'s model with the other tensors put in."""
    side = {"A": a.state_dict(), "B": b.state_dict()}
    result = {"A": a, "B": b}[rest]
    state = dict(side[rest])
    for name in state:
        if ".self_attn." in name:
            state[name] = side[attention][name]
        elif ".mlp." in name:
            state[name] = side[mlp][name]
    result.load_state_dict({name: value.clone() for name, value in state.items()})
    return result
