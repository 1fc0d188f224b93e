# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/guards.json: how likely tiny random models are to call a response unsafe, by transformers in
float64, and what guard templates render to, by transformers' own renderer.

    pip install torch==2.13.0 transformers==5.23.0 jinja2==3.1.6
    python make-guards.py

The models are those of utility/. A template says in our own words what a guard is asked, in the forms in which Llama
Guard's templates are written. p of an answer: the sum over its token sequences (behind nothing, a blank, one or two line
ends; each once) of the product of their tokens' probabilities.
"""
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).resolve().parent
STRING = "{query}\n{response}"
EXCHANGES = [("Hello", "world"), ("Hello", "\n no "), ("ä", "日本"), ("Who?", "{query}"), ("", "x")]

POLICY = ("Look whether what \\'' + role + '\\' says is allowed.\\n\\n<BEGIN UNSAFE CONTENT CATEGORIES>\\nA1: Rudeness.\\nA2: Noise, "
          "\\\"loud\\\" or {shrill}.\\n<END UNSAFE CONTENT CATEGORIES>\\n\\n<BEGIN CONVERSATION>\\n\\n' }}")
LOOP = ("{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}"
        "{% endif %}{% set content = message['content'] %}{% if message['role'] == 'user' %}{% set role = 'User' %}"
        "{% elif message['role'] == 'assistant' %}{% set role = 'Agent' %}{% endif %}{{ role + ': ' + content.strip() + '\\n\\n' }}{% endfor %}")
ROLE = "{% if messages|length % 2 == 0 %}{% set role = 'Agent' %}{% else %}{% set role = 'User' %}{% endif %}"
CLOSING = "{{ '<END CONVERSATION>\\n\\nIs what ' + role + ' says last allowed? Say \\'safe\\' or \\'unsafe\\'."
TEMPLATES = {
    "brackets": ROLE + "{{ bos_token + '[INST] " + POLICY + LOOP + CLOSING + " [/INST]' }}",
    "headers": ROLE + "{{ '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\\n\\n" + POLICY + LOOP + CLOSING
               + "<|eot_id|><|start_header_id|>assistant<|end_header_id|>' }}",
    "inline": ROLE + "{{ '[INST] " + POLICY + LOOP.replace("{% set content = message['content'] %}", "").replace(
        "content.strip()", "message['content'] | trim") + CLOSING + " [/INST]' }}",
    "no guard": "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n\\n' }}{% endfor %}",
    "other turns": ROLE + "{{ '[INST] " + POLICY + LOOP.replace("': '", "' says '") + CLOSING + " [/INST]' }}",
}
GUARDS = ["brackets", "headers", "inline", "other turns"]


def render(template, query, response):
    return _compile_jinja_template(template).render(
        messages=[{"role": "user", "content": query}, {"role": "assistant", "content": response}], bos_token="<s>")


@torch.no_grad()
def ask(model, tokenizer, query, response):
    prompt = tokenizer(STRING.replace("{query}", "\0").replace("{response}", "\1").replace("\0", query).replace("\1", response))["input_ids"]
    p = {}
    for word in ["unsafe", "safe"]:
        answers = {tuple(tokenizer(begin + word, add_special_tokens=False)["input_ids"]) for begin in ["", " ", "\n", "\n\n"]}
        p[word] = 0.0
        for answer in answers:
            logits = model(torch.tensor([prompt + list(answer)])).logits[0].log_softmax(-1)
            p[word] += sum(logits[len(prompt) - 1 + i, t] for i, t in enumerate(answer)).exp().item()
    return {"query": query, "response": response, "tokens": len(prompt), "p_unsafe": p["unsafe"], "p_safe": p["safe"]}


if __name__ == "__main__":
    golden = {"template": STRING.replace("\n", "\\n"), "models": [], "templates": []}
    for name in ["bytes", "pieces"]:
        folder = HERE / "utility" / name
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        golden["models"].append({"model": name, "exchanges": [ask(model, tokenizer, q, r) for q, r in EXCHANGES]})
    for name, template in TEMPLATES.items():
        golden["templates"].append({"name": name, "template": template, "guard": name in GUARDS,
                                    "rendered": [[q, r, render(template, q, r)] for q, r in EXCHANGES]})
    (HERE / "guards.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")
