# SPDX-License-Identifier: Apache-2.0
"""The texts every tokenizer golden is made from."""
import random

PLAIN = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", " \n \n ", "\t\t x", "a", "▁", " ▁ ",
    "Hello world", " Hello world", "  Hello  world  ", "Hello world ", "Hello\tworld\t", "\tHello", "a   b    c     d",
    "line one\nline two\n\nline four\r\nline five\r", "trailing line end\n", "    indented\n        twice\n", "x \n\n\n y",
    "0", "7", "42", "123", "1234", "12345678901234567890", "3.14159", "1,000,000.50", "0x1F", "2024-11-24T10:45:00Z",
    "abc123def456", "1a2b3c", "10 20 30", "½ ² Ⅷ ٣٤٥ ४२ 四", "No.5 100% $3.99 #1 @2",
    "I'm you're he'll she'd we've it's can't", "I'M YOU'RE HE'LL SHE'D WE'VE IT'S CAN'T", "I'm' 's 't '' 'S 'LL 'lL",
    "it’s typographic: don’t, can’t", "o'clock rock'n'roll 'tis",
    "## Query:How do I bake bread? \n## Answer:", "## Query:How do I bake bread?\n## Answer:",
    "!!!", "?!?!", "...", "… – — “x” ‘y’", "a,b;c:d.e", "(a)[b]{c}<d>", "\\ / | ~ ^ ` _ __ ___", "foo_bar fooBar FooBAR",
    "https://example.org/a?b=c&d=e#f", "user.name+tag@example.co.uk", "C:\\dir\\file.txt", "#include <stdio.h>\n",
    "def f(x):\n    return x + 1\n\n\nprint(f(2))\n", "for(int i=0;i<10;++i){a[i]=i*i;}\t// squares\n",
    "<a href=\"x\">y</a>", "{\"k\": [1, 2.5, null, true]}", "SELECT * FROM t WHERE a='b';",
    "".join(chr(c) for c in range(32, 127)),
    "a" * 1000, "ab" * 300, "Donaudampfschifffahrtsgesellschaftskapitän" * 8, " " * 100, "\n" * 30, "-" * 80, "😀" * 40,
    "😀", "😀😃", "👨‍👩‍👧‍👦", "👩🏽‍🚀", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️", "a😀b", "☀️ ☀", "👍🏿",
    "é", "e\u0301", "caf\u00e9 cafe\u0301", "A\u030a \u00c5 \u212b", "n\u0303 \u00f1", "q\u0307\u0323", "e\u0301\u0302\u0303",
    "\u1100\u1161\u11a8 \uac01", "ﬁ ﬂ ﬃ", "Ａｂｃ　１２３", "ℌ ℵ ™ ①", "İi̇ıI", "ǅ ß ẞ ſ",
    "你好，世界。", "今天天气很好", "モデルは文を読む", "안녕하세요 세계", "混合 mixed 文字 text", "𠀀𠮷野家",
    "مرحبا بالعالم", "كَتَبَ", "नमस्ते दुनिया", "क्षत्रिय ज्ञान", "שלום עולם", "שָׁלוֹם", "Привет, мир", "Γειά σου Κόσμε", "สวัสดีชาวโลก",
    "ĠĊ Ġa Ċb", "Â Ã ÿ", "\x00", "a\x00b", "\x01\x02\x1f\x7f", "\x80\x85\x9f", "\ufeff", "\ufeffHello", "Hel\ufefflo",
    "a\u00a0b", "\u00a0 \u00a0", "a\u2003b\u2009c\u200bd\u3000e", "\u2028\u2029", "\u000b\u000c", "\u00ad", "\u202eabc\u202c",
    "\ufffd", "\uffff", "\U0010ffff", "\ue000", "<0x41>", "<0x0A>", "<0x>",
]

SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "</s>", "<s>", "<unk>", "<|begin_of_text|>", "<|eot_id|>",
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\nHow do I bake bread?<|im_end|>\n<|im_start|>assistant\n",
    "<s>[INST] Hi [/INST]", "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]",
    "<|user|>\nHi</s>\n<|assistant|>\n", "USER: Hi ASSISTANT:", "A chat. USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT:",
    " <s> ", "<s> <s>", "<s><s>", "a<s>b", "a <s> b", "  <s>  ", "\n</s>\n", "x</s>", "</s>x", " </s> x ", "<s>\n\n<s>",
    "<|im_start", "<|im_start|", "|im_start|>", "<|im_start|><|im_end|>", "<|im_start|> <|im_end|>", "<<|im_start|>>",
    "<|IM_START|>", "<| im_start |>", "< s >", "<S>", "</ s>", "<s", "s>", "<|", "|>", "<unk><unk>", "a<unk>b", "<pad>", "a <pad> b",
    "<sep>", "a  <sep>  b", "<left>", "a  <left>  b", "a\n<left>\nb", "<right>", "a  <right>  b", "a\t<right>\t b",
    "<word>", "a <word> b", "a<word>b", "<word>b <word>", "<norm>", "a<norm>b", "a <norm> b", "a  <norm>", "two words", "a two words b",
    "x<sep><left><right><word>y", "e\u0301<s>e\u0301", "<|im_start|>e\u0301",
]

SCRIPTS = [(0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF),
           (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x2000, 0x206F), (0x2190, 0x21FF),
           (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F6FF), (0x20000, 0x2A6DF), (0x1, 0xD7FF),
           (0xE000, 0x10FFFF)]
ENGLISH = "the model reads one word after another, 12 or 345 of them; don't WE'LL   it's\n\n x\t".split(" ")


def random_texts(count=200, seed=20241124):
    """Runs of a few characters from one script each, with English, digits, blanks and line ends between."""
    rng = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 5)):
            low, high = rng.choice(SCRIPTS)
            kind = rng.random()
            if kind < 0.6:
                parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))))
            elif kind < 0.8:
                parts.append(" ".join(rng.choice(ENGLISH) for _ in range(rng.randint(1, 4))))
            elif kind < 0.9:
                parts.append(str(rng.randint(0, 10 ** rng.randint(1, 9))))
            else:
                parts.append(rng.choice([" ", "  ", "\n", "\n\n", "\t", " \n", "\r\n", "\u00a0", "\u3000"]))
        yield "".join(parts)


def texts():
    return list(dict.fromkeys(PLAIN + SPECIAL + list(random_texts())))
