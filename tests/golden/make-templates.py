# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/templates.json: what the templates of templates.txt render to.

    pip install jinja2==3.1.6 transformers==5.24.0 tokenizers==0.23.3
    python make-templates.py

Rendering is transformers' own apply_chat_template, on the 26th of July 2024. A template that refuses a conversation, or
that cannot be read, gives null.
"""
import datetime
import json
from pathlib import Path

import tokenizers
import transformers
from transformers.utils import chat_template_utils

HERE = Path(__file__).resolve().parent

SYSTEM = {"role": "system", "content": " Be brief, {name}.\n"}
USER = {"role": "user", "content": "  two lines\nand <b>, 'é', \"日本\" 😀 \n"}
ANSWER = {"role": "assistant", "content": "Yes:\n\n\"a\" & 'b' </think> c.\n"}
AGAIN = {"role": "user", "content": "Why?"}
CONVERSATIONS = {
    "user": [{"role": "user", "content": "How do I bake bread?"}],
    "system": [SYSTEM, USER],
    "turns": [USER, ANSWER, AGAIN],
    "system turns": [SYSTEM, USER, ANSWER, AGAIN],
    "answered": [USER, ANSWER],
}


class Then(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def sections():
    """(name, tokens, [variables], template) of templates.txt."""
    text = (HERE / "templates.txt").read_bytes().decode()
    for section in text.removesuffix("\n").split("\n===== ")[1:]:
        head, template = section.split("\n-----\n", 1)
        name, *lines = head.split("\n")
        tokens = [json.loads(line[7:]) for line in lines if line.startswith("tokens ")]
        variables = [json.loads(line[5:]) for line in lines if line.startswith("vars ")]
        yield name, tokens[0] if tokens else {}, variables, template


def render(template, tokens, conversation, variables):
    special = {key: value for key, value in tokens.items() if key.endswith("_token")}
    others = {key: value for key, value in tokens.items() if not key.endswith("_token")}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    settings = {"add_generation_prompt": True, **others, **variables}
    try:
        return tokenizer.apply_chat_template(conversation, chat_template=template, tokenize=False, **settings)
    except Exception:  # what a template raises, and what Python does when it is wrong
        return None


def main():
    chat_template_utils.datetime = Then
    everything, common = {}, {}
    for name, tokens, variables, template in sections():
        if name == "common":
            common = tokens
            continue
        feature = name.split("-")[0] in ("expr", "stmt", "fail")
        rows = []
        for conversation, messages in CONVERSATIONS.items():
            if not feature or conversation == "system turns":
                rows.append([conversation, -1, render(template, common if feature else tokens, messages, {})])
        for i, values in enumerate(variables):
            rows.append(["user", i, render(template, tokens, CONVERSATIONS["user"], values)])
            rows.append(["system turns", i, render(template, tokens, CONVERSATIONS["system turns"], values)])
        assert not name.startswith("fail") or rows[0][2] is None, name
        assert name.startswith("fail") or any(row[2] is not None for row in rows), name
        everything[name] = rows
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows, ensure_ascii=False)}" for name, rows in everything.items())
    head = json.dumps(CONVERSATIONS, ensure_ascii=False)
    (HERE / "templates.json").write_text(f'{{"conversations": {head},\n"rendered": {{\n{lines}\n}}}}\n', encoding="utf-8")
    print(f"{len(everything)} templates, {sum(map(len, everything.values()))} conversations")


if __name__ == "__main__":
    main()
