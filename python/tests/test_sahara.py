# SPDX-License-Identifier: Apache-2.0
"""The Python door, on the organism: run from the repository's root, with the library built.

    PYTHONPATH=python python3 -m unittest discover -s python/tests
"""
import csv
import importlib.util
import inspect
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import numpy as np

import sahara

ORGANISM = "models/organism"
HERE = pathlib.Path(__file__).resolve().parent
PANDAS = importlib.util.find_spec("pandas") is not None
TORCH = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("transformers") is not None


def column(path, n):
    with open(path, newline="", encoding="utf-8") as file:
        return [row["input"] for row in csv.DictReader(file)][:n]


class Organism(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = sahara.open(ORGANISM, threads=1)
        cls.harmful, cls.harmless = column("data/harmful.csv", 12), column("data/harmless.csv", 12)
        cls.folder = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def program(self, *arguments):
        return subprocess.run([os.environ.get("SAHARA", "build/sahara"), *arguments], check=True, capture_output=True, text=True).stdout

    # ---- Scores

    def test_token_ids(self):
        texts, others = self.harmful[:3], self.harmless[:2]
        ids, other_ids = ([self.model.prompt_ids(text) for text in list_] for list_ in (texts, others))
        by_text = self.model.ships(texts, others, template="chat", layers=(2, 4))
        by_ids = self.model.ships(ids, other_ids, layers=(2, 4))
        np.testing.assert_array_equal(by_ids.scores, by_text.scores)
        np.testing.assert_array_equal(by_ids.contrast_scores, by_text.contrast_scores)
        np.testing.assert_array_equal(by_ids.effect(), by_text.effect())
        self.assertEqual(self.model.generate(ids, max_new_tokens=8).texts, self.model.generate(texts, max_new_tokens=8).texts)
        np.testing.assert_array_equal(self.model.direction(ids, other_ids).directions, self.model.direction(texts, others, template="chat").directions)
        self.assertEqual(self.model.find(ids, layers=(3, 4)).group, self.model.find(texts, template="chat", layers=(3, 4)).group)
        for wrong in (lambda: self.model.ships(ids, others), lambda: self.model.ships([texts[0], ids[0]]), lambda: self.model.ships(ids, template="chat"),
                      lambda: self.model.ships([[10**6]]), lambda: self.model.ships([[]]), lambda: self.model.ships([[-1]])):
            with self.assertRaises(sahara.BadArgument):
                wrong()

    def test_ships(self):
        result = self.model.ships(self.harmful, self.harmless, template="chat")
        self.assertEqual(result.scores.shape, (32, 12))
        self.assertEqual(result.contrast_scores.shape, (32, 12))
        self.assertEqual(result.scores.dtype, np.float64)
        self.assertEqual(result.effect().shape, (32, 24))
        # The organism's three heads, and they alone (models/organism/training-log.txt).
        ranking = result.ranking()
        self.assertEqual({row["head"] for row in ranking[:3]}, {"2-6", "2-1", "3-3"})
        safety = {row["head"] for row in ranking if row["effect_verdict"] == "safety"}
        self.assertIn("2-6", safety)
        self.assertLessEqual(safety, {"2-6", "2-1", "3-3"})
        heat = result.heat()
        self.assertEqual(heat.shape, (4, 8))
        self.assertAlmostEqual(heat[2, 6], result.scores[22].mean() - result.contrast_scores[22].mean())
        # The definition: KL(p || p_h) of the logits, in float64.
        ids = self.model.prompt_ids(self.harmful[0])
        p, q = (np.float64(self.model.logits(ids, ablate=a)) for a in (None, [(2, 6)]))
        p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (p, q))
        self.assertAlmostEqual(result.scores[22, 0], float((p * np.log(p / q)).sum()), places=4)

    def test_interchange(self):
        """The program's lines, byte for byte."""
        from sahara import MeanData, Swap
        harmful, harmless = self.harmful[:6], self.harmless[:5]
        partners, mine, short = self.path("partners.txt"), self.path("queries.txt"), self.path("contrast.txt")
        for path, texts in ((partners, self.harmless), (mine, harmful), (short, harmless)):
            pathlib.Path(path).write_text("\n".join(texts) + "\n", encoding="utf-8")
        common = ["--template", "chat", "--part", "v", "-q"]
        how = {"template": "chat", "part": "v"}
        cases = [
            ("ships", Swap(self.harmless, match="length"), ["--op", "swap", "--partners", partners, "--match", "length"]),
            ("ships", Swap(self.harmless, match="words", direction="sufficiency"),
             ["--op", "swap", "--partners", partners, "--match", "words", "--direction", "sufficiency"]),
            ("ships", MeanData(self.harmless, positions="all"), ["--op", "mean-data", "--reference", partners, "--positions", "all"]),
            ("find", Swap(self.harmless, match="length"), ["--op", "swap", "--partners", partners, "--match", "length"]),
            ("find", MeanData(self.harmless), ["--op", "mean-data", "--reference", partners]),
        ]
        for i, (command, op, arguments) in enumerate(cases):
            with self.subTest(command=command, arguments=arguments):
                by_program, path = self.path("program-%d.jsonl" % i), self.path("python-%d.jsonl" % i)
                self.program(command, ORGANISM, mine, "--contrast", short, "--layers", "2:4", "--check-refusal", "off", *common, *arguments, "-o", by_program)
                getattr(self.model, command)(harmful, harmless, path=path, layers=(2, 4), op=op, **how)
                written, read = (pathlib.Path(p).read_text().splitlines() for p in (by_program, path))
                self.assertEqual(sorted(written[1:]), sorted(read[1:]))
                headers = [json.loads(lines[0]) for lines in (written, read)]
                for header in headers:  # the program says how many it refuses
                    header.pop("refusal_check", None)
                self.assertEqual(*headers)
        path = self.path("program-generate.jsonl")
        self.program("generate", ORGANISM, mine, "--ablate", "2-6,2-1", "--max-new-tokens", "8", "--template", "chat", "-q",
                     "--op", "swap", "--partners", partners, "--match", "length", "-o", path)
        said = self.model.generate(harmful, template="chat", ablate="2-6,2-1", max_new_tokens=8, op=Swap(self.harmless, match="length"))
        self.assertEqual(said.texts, sahara.read(path).texts)
        given = self.model.ships(harmful, op=Swap(self.harmless[:6]), layers=(2, 3), opening=0, **how)
        ids = [[self.model.prompt_ids(text) for text in texts] for texts in (harmful, self.harmless[:6])]
        by_ids = self.model.ships(ids[0], op=Swap(ids[1]), layers=(2, 3), opening=0, part="v")
        np.testing.assert_array_equal(by_ids.scores, given.scores)

    def test_interchanged_logits(self):
        from sahara import MeanData, Swap
        prompt, partner, other = [3, 1, 4, 1, 5], [9, 2, 6], [5, 3]
        lines = self.path("partner.txt")
        for op, arguments, texts in ((Swap([partner]), ["--op", "swap", "--partners", lines], [partner]),
                                     (MeanData([partner, other]), ["--op", "mean-data", "--reference", lines], [partner, other])):
            pathlib.Path(lines).write_text("".join(" ".join(map(str, ids)) + "\n" for ids in texts))
            said = json.loads(self.program("logits", ORGANISM, "--tokens-in", " ".join(map(str, prompt)), "--ablate", "0-1,2-6", "--part", "v", *arguments))
            got = self.model.logits(prompt, ablate="0-1,2-6", part="v", op=op)
            np.testing.assert_allclose(got, said["logits"], rtol=0, atol=1e-6)
            self.assertFalse(np.array_equal(got, self.model.logits(prompt)))
        two = self.model.logits([prompt, other], ablate="2-6", part="q", op=Swap([partner, prompt]))
        np.testing.assert_array_equal(two[1], self.model.logits(other, ablate="2-6", part="q", op=Swap([prompt])))

    def test_same_as_the_program(self):
        file = self.path("ships.jsonl")
        result = self.model.ships(self.harmful[:3], path=file, opening=0, layers=(1, 3))
        self.assertEqual(result.heads, [(l, h) for l in (1, 2) for h in range(8)])
        self.program("ships", ORGANISM, "data/harmful.csv", "--limit", "3", "-q", "--opening", "0", "--layers", "1:3", "-o", file)
        again = sahara.read(file)  # the program found the same run, and nothing left to do
        np.testing.assert_array_equal(result.scores, again.scores)
        rows = [line.split("\t") for line in self.program("rank", file).splitlines()]
        self.assertEqual([row[1] for row in rows[1:]], [row["head"] for row in again.ranking()])
        self.assertEqual(self.model.ships((q for q in self.harmful[:3]), opening=0, layers=(1, 3)).scores.tolist(), result.scores.tolist())

    def test_find(self):
        result = self.model.find(self.harmful, self.harmless, steps=2, template="chat", random_groups=0)
        self.assertEqual(len(result.chosen), 2)
        self.assertIn(result.group[0], [(2, 6), (2, 1), (3, 3)])
        self.assertGreater(result.chosen[0].shift, 1.0)
        started = self.model.find(self.harmful, start=[(2, 6)], layers=(2, 3), template="chat")
        self.assertNotEqual(started.group[0], (2, 6))

    def test_direction(self):
        result = self.model.direction(self.harmful, self.harmless)
        self.assertEqual(result.directions.shape, (5, 128))
        states = [self.model.hidden_states([self.model.prompt_ids(q) for q in queries]).residual.mean(axis=0, dtype=np.float64)
                  for queries in (self.harmful, self.harmless)]
        np.testing.assert_allclose(result.directions, states[0] - states[1], atol=1e-4)
        self.assertEqual(len(result.ranking()), 32)

    # ---- Text

    def test_tokens(self):
        ids = self.model.encode("How do I make a lamp?")
        self.assertEqual(ids.dtype, np.int32)
        self.assertEqual(self.model.decode(ids, skip_special=True).strip(), "How do I make a lamp?")
        self.assertIn("lamp", self.model.prompt("lamp"))
        self.assertEqual(self.model.prompt("lamp", template="<{}>"), "<lamp>")

    def test_generate_and_judge(self):
        plain = self.model.generate(self.harmful, max_new_tokens=24)
        cut = self.model.generate(self.harmful, max_new_tokens=24, ablate="2-6,2-1,3-3")
        before, after = plain.judge(), cut.judge()
        self.assertGreater(before.refused, 0.9)
        self.assertGreater(after.asr, 0.9)
        self.assertLess(after.low, after.asr)
        self.assertEqual(len(plain.texts), 12)
        self.assertEqual(self.model.judge(self.harmful, max_new_tokens=24), before)
        self.assertEqual(sahara.judge(["I cannot help with that.", "Sure: first, take a pan."]).verdicts, ["refusal", "compliance"])
        self.assertEqual(sahara.judge([]).n, 0)

    # ---- Passes

    def test_logits(self):
        together = self.model.logits([[5, 6, 7], [5, 6, 8, 9], [42]])
        self.assertEqual(together.shape, (3, 1536))
        for row, ids in zip(together, ([5, 6, 7], [5, 6, 8, 9], [42])):
            np.testing.assert_allclose(row, self.model.logits(ids), atol=1e-4)
        said = json.loads(self.program("logits", ORGANISM, "--tokens-in", "5 6 7", "--ablate", "2-6"))
        np.testing.assert_allclose(self.model.logits([5, 6, 7], ablate=["2-6"]), said["logits"], atol=1e-5)
        states = self.model.hidden_states([5, 6, 7])
        self.assertEqual((states.residual.shape, states.final.shape), ((5, 128), (128,)))

    def test_bridge_golden(self):
        """The logits that transformers gave with the same heads ablated by hooks (make-bridge.py)."""
        golden = json.loads((HERE / "bridge.json").read_text())
        for case in golden["cases"]:
            got = self.model.logits(golden["tokens"], ablate=case["heads"], part=case["part"], op=case["op"], scale=case["scale"])
            np.testing.assert_allclose(got[::golden["every"]], case["logits"], atol=2e-5 * np.abs(got).max(), err_msg=case["heads"])

    @unittest.skipUnless(TORCH, "needs torch and transformers")
    def test_bridge_live(self):
        import torch
        import transformers
        model = transformers.AutoModelForCausalLM.from_pretrained(ORGANISM, dtype=torch.float32).eval()
        ids = [5, 6, 7, 8, 9]

        def ask():
            with torch.no_grad():
                return model(torch.tensor([ids])).logits[0, -1].numpy()
        plain = ask()
        with sahara.bridge.ablate(model, [(2, 6), (3, 3)], part="q,v", scale=0.5):
            np.testing.assert_allclose(ask(), self.model.logits(ids, ablate="2-6,3-3", part="q,v", scale=0.5), atol=1e-4)
        np.testing.assert_array_equal(ask(), plain)  # no hook is left
        for heads in ("9-0", "0-9"):
            with self.assertRaises(ValueError):
                sahara.bridge.ablate(model, heads)

    # ---- Failures

    def test_errors(self):
        with self.assertRaisesRegex(sahara.BadArgument, "9-9 is outside the model"):
            self.model.generate(self.harmful, ablate="9-9")
        with self.assertRaises(sahara.FileError):
            sahara.open("models/nowhere")
        with self.assertRaisesRegex(ValueError, "layers 0:99") as caught:
            self.model.ships(self.harmful, layers=(0, 99), opening=0)
        self.assertEqual(caught.exception.field, "layers")
        for call in (lambda: self.model.ships("one string"), lambda: sahara.judge("one string"),
                     lambda: self.model.ships({"input": ["of", "a", "table"]}), lambda: self.model.ships([b"abc"]), lambda: self.model.ships(["a", None])):
            self.assertRaises(TypeError, call)
        for call in (lambda: self.model.ships([]), lambda: self.model.logits([[]]), lambda: self.model.ships(["a\0b"]),
                     lambda: self.model.logits([1 << 30]), lambda: self.model.find(self.harmful, variant="x"),
                     lambda: self.model.logits([1], ablate="0-0", part="x"), lambda: sahara.open(ORGANISM, precision="f8"),
                     lambda: sahara.open(ORGANISM, device="abacus"), lambda: sahara.parse_head("six"),
                     lambda: sahara.open(ORGANISM, threads=-1), lambda: self.model.generate(["a"], max_new_tokens=0),
                     lambda: self.model.find(self.harmful, steps=0), lambda: self.model.find(self.harmful, steps=-1),
                     lambda: self.model.ships(self.harmful, opening=-1), lambda: self.model.ships(self.harmful, memory=-1),
                     lambda: sahara.Swap(["a"], match="colour"), lambda: sahara.Swap(["a"], direction="up"), lambda: sahara.MeanData(["a"], positions="middle"),
                     lambda: self.model.ships(self.harmful, op="swap"), lambda: self.model.ships(self.harmful, op=sahara.Swap(["a", "b"])),
                     lambda: self.model.ships(self.harmful[:1], op=sahara.Swap(["a"], contrast=["b"])),
                     lambda: self.model.logits([1, 2], ablate="0-0", op=sahara.Swap([[1], [2]])),
                     lambda: self.model.logits([1, 2], ablate="0-0", op=sahara.Swap([[1]], match="length")),
                     lambda: self.model.hidden_states([1, 2], ablate="0-0", op=sahara.Swap([[1]]))):
            self.assertRaises(sahara.BadArgument, call)
        with self.assertRaises(sahara.Error):
            sahara.read("data/harmful.csv")
        bad = self.path("bad.json")
        os.makedirs(bad)
        pathlib.Path(bad, "config.json").write_text('{"architectures":["DivinationForCausalLM"],"model_type":"divination"}')
        with self.assertRaises(NotImplementedError):
            sahara.open(bad)

    def test_device(self):
        other = sahara.open(ORGANISM, device="auto")
        about, note = other.info["device"], other.info["device_note"]
        self.assertEqual(self.model.info["device"], "cpu")
        self.assertTrue(note.startswith("cpu: ") if about == "cpu" else about.startswith("cuda: "), (about, note))
        # A plugin beside the library goes first.
        beside = pathlib.Path(os.environ.get("SAHARA_LIBRARY", "")).resolve().with_name("libsahara-cuda.so").exists()
        if os.environ.get("SAHARA_DEVICE_PATH") and not beside:
            self.assertTrue(about.startswith("cuda: "), note)
        np.testing.assert_allclose(other.logits([1, 2, 3]), self.model.logits([1, 2, 3]), atol=1e-4)

    def test_progress(self):
        seen = []
        self.model.ships(self.harmful[:2], layers=(0, 1), opening=0, progress=lambda what, done, total: seen.append((what, done, total)))
        self.assertTrue(seen and all(done <= total for _, done, total in seen))

        def fails(*_):
            raise KeyError("mine")
        self.assertRaises(KeyError, self.model.ships, self.harmful[:2], opening=0, progress=fails)
        file = self.path("stopped.jsonl")
        with self.assertRaises(sahara.Interrupted) as caught:
            self.model.ships(self.harmful, opening=0, path=file, progress=lambda what, done, total: done < 5)
        kept = caught.exception.result
        self.assertTrue(0 < len(kept.heads) < 32)
        self.assertEqual(len(self.model.ships(self.harmful, opening=0, path=file).heads), 32)  # carries on
        with self.assertRaises(sahara.Interrupted):
            sahara.open(ORGANISM, progress=lambda *_: False)

    def test_control_c(self):
        """A real SIGINT, sent while a run is under way, stops it, and what was finished is kept."""
        sent = []

        def press(what, done, total):
            if done >= 2 and not sent:
                sent.append(done)
                os.kill(os.getpid(), signal.SIGINT)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        try:
            with self.assertRaises(sahara.Interrupted) as caught:
                self.model.ships((self.harmful + self.harmless) * 40, opening=0, progress=press)
        finally:
            signal.signal(signal.SIGINT, before)
        self.assertTrue(sent)
        self.assertLess(len(caught.exception.result.heads), 32)

    # ---- Frames

    @unittest.skipUnless(PANDAS, "needs pandas")
    def test_frames(self):
        result = self.model.ships(self.harmful[:4], self.harmless[:4], template="chat")
        frame = result.frame()
        self.assertEqual(len(frame), 32)
        self.assertIn("verdict", frame.columns)
        self.assertEqual(len(result.query_frame()), 32 * 8)
        plain = self.model.ships(self.harmful[:4], opening=0).frame()
        self.assertNotIn("verdict", plain.columns)
        file = self.path("frames.jsonl")
        result.save(file)
        self.assertEqual(sahara.read(file).frame().to_csv(), frame.to_csv())
        pathlib.Path(file).write_text(result.lines[0] + "\n")  # a run that has just begun
        self.assertEqual(len(sahara.read(file).frame()), 0)
        find = self.model.find(self.harmful[:4], steps=2, random_groups=0)
        self.assertEqual((len(find.frame()), len(find.step(1))), (32, 31))
        self.assertEqual(len(self.model.direction(self.harmful[:4], self.harmless[:4]).frame()), 32)
        self.assertIn("verdict", self.model.generate(self.harmful[:2], max_new_tokens=8).frame().columns)

    def test_documented(self):
        """Everything public has a docstring and types."""
        for name in sahara.__all__:
            thing = getattr(sahara, name)
            if name.startswith("__"):
                continue
            self.assertTrue(inspect.getdoc(thing), name)
            members = [m for n, m in vars(thing).items() if inspect.isfunction(m) and not n.startswith("_")] if inspect.isclass(thing) else []
            for function in members + ([thing] if inspect.isfunction(thing) else []):
                self.assertTrue(inspect.getdoc(function), function.__qualname__)
                self.assertIn("return", function.__annotations__, function.__qualname__)


if __name__ == "__main__":
    unittest.main()
