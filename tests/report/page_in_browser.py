# SPDX-License-Identifier: Apache-2.0
"""page_in_browser.py SAHARA FOLDER CHROMIUM [small]: pages that SAHARA writes, opened from disk and used as a reader would: pointed at, walked through by
keys, touched, sorted, filtered. The numbers expected are worked out here from the result files. `small` leaves out the page of a large model."""
import json
import math
import os
import subprocess
import sys

from browser import Browser

SAHARA, FOLDER, CHROMIUM = sys.argv[1:4]
HOSTILE = '</script><script>window.caught=1</script><img src=x onerror="window.caught=1">\'"&\u2028\u202e<!--'
LAYERS, HEADS = 2, 3


def write(name, *objects):
    path = os.path.join(FOLDER, name)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(o, ensure_ascii=False) + "\n" for o in objects)
    return path


def header(command, layers=LAYERS, heads=HEADS, name="m", **more):
    settings = {"part": "q", "op": "scale", "scale": 1e-4, "template": "chat", "layers": [0, layers], "heads": [0, heads]}
    return {"sahara": command, "version": "0", "model": {"name": name, "xxh3": "1f", "family": "llama", "layers": layers, "heads": heads, "kv_heads": heads,
                                                         "head_dim": 4, "d_model": 12, "n_parameters": 1000}, "settings": {**settings, **more.pop("settings", {})}, **more}


def report(results, name):
    out = os.path.join(FOLDER, name)
    subprocess.run([SAHARA, "report", *results, "-o", out], check=True)
    return out


def expect(what, found, wanted):
    if found != wanted:
        raise SystemExit(f"page_in_browser: {what}: {found!r} instead of {wanted!r}")


# What a page's script does not offer: its own look at the page.
LOOK = """
window.cellBox = (id, i) => { const c = document.querySelectorAll(`#result-${id} .map [role=gridcell]`)[i]; c.scrollIntoView({block: "center"});
    const b = c.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; };
window.tipText = () => { const t = document.getElementById("tip"); return t.hidden ? null : t.textContent; };
window.headsShown = (id) => [...document.querySelectorAll(`#result-${id} table.heads tbody tr`)].filter(r => !r.hidden).map(r => r.querySelector("th").textContent);
window.choose = (select, value) => { select.value = value; select.dispatchEvent(new Event("input", {bubbles: true})); };
window.control = (id, label) => [...document.querySelectorAll(`#result-${id} .controls label`)].find(l => l.textContent.startsWith(label)).querySelector("select, input");
0"""


def small_results():
    # By head: scores on two queries, many with more than three digits.
    kl = {"0-0": [0.50125, 0.25], "0-1": [4.00125, 6.5], "0-2": [0.001234, 0.0005], "1-0": [1.0625, 1.5], "1-1": [2.03125, 3.0], "1-2": [0.75, 0.125]}
    contrast = {h: [v[1] / 8, v[0] / 16] for h, v in kl.items()}
    contrast["1-0"] = [5.5, 4.25]
    ships = write("ships.jsonl", header("ships", queries=["first question", "second question"], contrast_queries=["mild one", "mild two"]),
                  *({"head": h, "kl": v, "kl_contrast": contrast[h]} for h, v in kl.items()))
    find = write("find.jsonl", header("find", queries=["a", "b"], settings={"rank": 1, "variant": "right", "start": [], "random_groups": 2, "seed": 0}),
                 *({"step": s, "head": h, "shift": 1.5 + s + i, "angles": [1.0]} for s in range(2) for i, h in enumerate(kl)),
                 {"step": 0, "chosen": "1-2", "shift": 6.5, "gain": 6.5, "group": ["1-2"], "better_than_chance": True},
                 {"step": 1, "random": ["0-0", "0-1"], "shift": 2.5}, {"step": 1, "random": ["0-0", "1-1"], "shift": 3.5},
                 {"step": 1, "chosen": "1-1", "shift": 7.25, "gain": 0.75, "group": ["1-2", "1-1"], "better_than_chance": False})
    points = [([], False, "refusal"), (["0-1"], False, "compliance"), (["1-0"], True, "refusal"), (["0-1", "1-1"], False, "degenerate"), (["1-0", "0-2"], True, "refusal")]
    judged = write("judged.jsonl", header("judge", queries=["how?", HOSTILE], settings={"rule": "default", "responses": {"sweep_heads": ["0-1", "1-1"]}}),
                   *({"query": q, "response": f"{v} to {q}", "ablated": a, "random": r, "verdict": v} for a, r, v in points for q in ("how?", HOSTILE)))
    cost = write("cost.jsonl", header("utility", queries=[], settings={"ablate": "0-1"}, text={"bytes": 9}), {"tokens": 9, "perplexity": 12.5, "base_perplexity": 10.25})
    return kl, contrast, [ships, find, judged, cost]


def point_at_cells(b, kl, contrast):
    difference = {h: sum(v) / 2 - sum(contrast[h]) / 2 for h, v in kl.items()}
    full = difference["0-1"]
    b.mouse(*b.evaluate("cellBox(0, 1)"))
    expect("what hovering says", b.evaluate("tipText()").split("\n")[0::2], ["Head 0-1, undecided", repr(full)])
    expect("its short number", b.evaluate("tipText()").split("\n")[1], f"Difference: {float(f'{full:.3g}'):g} nats")
    b.mouse(1, 1)
    expect("no tip beside the map", b.evaluate("tipText()"), None)
    b.evaluate("document.querySelector('#result-0 .map [role=gridcell]').focus()")
    expect("the focused cell's tip", b.evaluate("tipText()").split("\n")[0][:8], "Head 0-0")
    for key, head in (("ArrowRight", "0-1"), ("ArrowDown", "1-1"), ("ArrowRight", "1-2"), ("ArrowRight", "1-2"), ("ArrowUp", "0-2"), ("Home", "0-0"), ("PageDown", "1-0"), ("End", "1-2")):
        b.key(key)
        expect(f"the tip behind {key}", b.evaluate("tipText()").split(",")[0].split("\n")[0], f"Head {head}")
        expect(f"the focused cell behind {key}", b.evaluate("document.activeElement.getAttribute('aria-label')").split(":")[0], "layer {}, head {}".format(*head.split("-")))
    expect("cells that Tab reaches", b.evaluate("document.querySelectorAll('#result-0 .map [tabindex=\"0\"]').length"), 1)
    b.key("Enter")
    expect("the head that Enter goes to", b.evaluate("document.activeElement.querySelector('th').textContent"), "1-2")
    b.touch(*b.evaluate("cellBox(0, 4)"))
    expect("what touching says", b.evaluate("tipText()").split(",")[0], "Head 1-1")


def look_at_queries(b, kl):
    before = b.evaluate("[...document.querySelectorAll('#result-0 .map [role=gridcell]')].map(c => c.getAttribute('fill'))")
    for query in range(2):
        b.evaluate(f"choose(control(0, 'For'), '{query}')")
        for i, head in enumerate(kl):
            said = b.evaluate(f"document.querySelectorAll('#result-0 .map [role=gridcell]')[{i}].getAttribute('aria-label')")
            expect(f"{head} for query {query}", said.split(": ")[1].split(" ")[0], f"{float(f'{kl[head][query]:.3g}'):g}")
    expect("the query's text", b.evaluate("document.querySelector('#result-0 .query bdi').textContent"), "second question")
    expect("colours change", b.evaluate("[...document.querySelectorAll('#result-0 .map [role=gridcell]')].map(c => c.getAttribute('fill'))") != before, True)
    b.evaluate("choose(control(0, 'For'), '-1')")
    expect("colours come back", b.evaluate("[...document.querySelectorAll('#result-0 .map [role=gridcell]')].map(c => c.getAttribute('fill'))"), before)


def sort_and_filter(b, kl, contrast):
    b.evaluate("[...document.querySelectorAll('#result-0 th button')].find(x => x.textContent === 'KL').click()")
    by_mean = sorted(kl, key=lambda h: -sum(kl[h]))
    expect("heads by KL", b.evaluate("headsShown(0)"), by_mean)
    expect("what a screen reader hears of it", b.evaluate("[...document.querySelectorAll('#result-0 th[aria-sort]')].map(x => x.textContent + ' ' + x.getAttribute('aria-sort'))"), ["KL descending"])
    b.evaluate("[...document.querySelectorAll('#result-0 th button')].find(x => x.textContent === 'KL').click()")
    expect("heads by KL, the other way", b.evaluate("headsShown(0)"), by_mean[::-1])
    b.evaluate("[...document.querySelectorAll('#result-0 th button')].find(x => x.textContent === 'Head').click()")
    expect("heads by number", b.evaluate("headsShown(0)"), list(kl))
    for text, wanted in (("1-1", ["1-1"]), ("1-", ["1-0", "1-1", "1-2"]), ("0-2, 1-0", ["0-2", "1-0"]), ("9-9", []), ("", list(kl))):
        b.evaluate(f"choose(control(0, 'Filter'), '{text}')")
        expect(f"heads filtered by {text!r}", b.evaluate("headsShown(0)"), wanted)
    cells = b.evaluate("[...document.querySelectorAll('#result-0 table.heads tbody tr')].map(r => [r.querySelector('th').textContent, r.cells[3].textContent, r.cells[3].title])")
    for head, short, title in cells:
        mean = sum(kl[head]) / 2
        expect(f"{head} in three digits", float(short), float(f"{mean:.3g}"))
        expect(f"{head} in full", float(title.split(" ")[0]), mean)


def read_answers(b):
    expect("curves", b.evaluate("[...document.querySelectorAll('figure h4')].map(h => h.textContent)"),
           ["Harmful against harmless", "The greedy curve", "Refusal as heads are ablated", "Perplexity as heads are ablated", "Heads that results share"])
    expect("every picture has a name", b.evaluate("[...document.querySelectorAll('figure [role=img]')].every(p => p.getAttribute('aria-label').length > 20)"), True)
    texts = b.evaluate("[...document.querySelectorAll('#answers .exchange')].map(e => [...e.querySelectorAll('bdi')].map(t => t.textContent))")
    expect("responses side by side", texts, [["how?", "refusal to how?", "degenerate to how?"], [HOSTILE, f"refusal to {HOSTILE}", f"degenerate to {HOSTILE}"]])
    expect("nothing of a text ran", b.evaluate("typeof window.caught"), "undefined")
    expect("nothing of a text became an element", b.evaluate("document.querySelectorAll('img').length"), 0)
    expect("the command to repeat it", b.evaluate("document.querySelector('#result-1 pre').textContent"),
           f"sahara find m QUERIES --template chat --variant right --random-groups 2 -o {os.path.join(FOLDER, 'find.jsonl')}")


def try_small():
    kl, contrast, results = small_results()
    page = report(results, "page.html")
    for dark in (False, True):
        b = Browser(CHROMIUM, dark=dark)
        b.open(page)
        b.evaluate(LOOK)
        expect("the ground", b.evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(23, 23, 26)" if dark else "rgb(255, 255, 255)")
        if not dark:
            read_answers(b)
            point_at_cells(b, kl, contrast)
            look_at_queries(b, kl)
            sort_and_filter(b, kl, contrast)
        b.call("Emulation.setDeviceMetricsOverride", width=360, height=700, deviceScaleFactor=1, mobile=True)
        expect("the width of the page on a telephone", b.evaluate("document.documentElement.scrollWidth"), 360)
        expect("pages of print", len(b.call("Page.printToPDF")["data"]) > 20000, True)
        expect("messages", b.messages(), [])
        b.close()
    hostile = report([write("hostile.jsonl", header("ships", name=HOSTILE, queries=[HOSTILE, "b"], settings={"template": HOSTILE}),
                            *({"head": f"{l}-{h}", "kl": [1, 2]} for l in range(LAYERS) for h in range(HEADS)))], "hostile.html")
    b = Browser(CHROMIUM)
    b.open(hostile)
    b.evaluate(LOOK)
    b.evaluate("choose(control(0, 'For'), '0')")
    expect("the hostile query", b.evaluate("document.querySelector('.query bdi').textContent"), HOSTILE)
    expect("the hostile name", b.evaluate("document.querySelector('h2 bdi').textContent"), HOSTILE)
    expect("nothing of it ran", b.evaluate("typeof window.caught"), "undefined")
    expect("messages", b.messages(), [])
    b.close()


def try_card():
    """The card of an audit: a map that says its values, a curve for each list of heads with random ones as a band, and no text of a query."""
    folder = os.path.join(FOLDER, "card")
    subprocess.run([SAHARA, "audit", "models/organism", "data/harmful.csv", "data/harmless.csv", "--quick", "--limit", "16", "-q", "-o", folder], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "ships-q.jsonl"), encoding="utf-8") as f:
        _, *lines = map(json.loads, f)
    with open(os.path.join(folder, "harmful.jsonl"), encoding="utf-8") as f:
        queries = json.loads(f.readline())["queries"]
    mean = {line["head"]: sum(line["kl"]) / len(line["kl"]) for line in lines}
    b = Browser(CHROMIUM)
    b.open(os.path.join(folder, "card.html"))
    b.evaluate(LOOK)
    b.evaluate("choose(control(0, 'Shown'), 'mean')")
    b.evaluate("cellBox(0, 22)")
    b.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # the page has scrolled, which hides a tip
    b.mouse(*b.evaluate("cellBox(0, 22)"))
    name, said = b.evaluate("tipText()").split("\n")[:2]
    expect("the head under the pointer", name, "Head 2-6, safety")
    expect("its value", said, f"KL: {float('%.3g' % mean['2-6']):g} nats")
    expect("curves", b.evaluate("[...document.querySelectorAll('#curve-0 h4')].map(h => h.textContent)"), ["Refusal as heads are ablated", "Perplexity as heads are ablated"])
    expect("random heads as a band", b.evaluate("[...document.querySelectorAll('#curve-0 [aria-label=area] path')].length"), 1)
    expect("no query in it", [q for q in queries if b.evaluate(f"document.documentElement.outerHTML.includes({json.dumps(q)})")], [])
    expect("messages", b.messages(), [])
    b.close()


def try_large():
    """32 layers of 32 heads on 500 queries: less than 5 MB, and less than a second of the browser's process from the file to the picture."""
    size, n = 32, 500
    scores = [round(math.exp(-6 + 5 * math.sin(i * i)), 9) for i in range(n + size * size)]
    page = report([write("large.jsonl", header("ships", size, size, queries=[f"How does one do the harmful thing that is number {i} of this long list?" for i in range(n)]),
                         *({"head": f"{i // size}-{i % size}", "kl": scores[i:i + n]} for i in range(size * size)))], "large.html")
    expect("a file under 5 MB", os.path.getsize(page) < 5e6, True)
    b = Browser(CHROMIUM)
    b.call("Performance.enable")
    seconds = {}
    for name in ("empty", "page"):
        before = cpu(b)
        if name == "page":
            wall = b.open(page)
        seconds[name] = cpu(b) - before
    expect("cells", b.evaluate("document.querySelectorAll('[role=gridcell]').length"), size * size)
    expect("messages", b.messages(), [])
    b.close()
    print(f"{os.path.getsize(page) / 1e6:.2f} MB, drawn in {wall:.2f} s, {seconds['page']:.2f} s of processor time")
    expect("drawn within a second of processor time", seconds["page"] < 1, True)


def cpu(b):
    return next(m["value"] for m in b.call("Performance.getMetrics")["metrics"] if m["name"] == "ProcessTime")


try_small()
try_card()
if sys.argv[4:] != ["small"]:
    try_large()
