/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader can do with the page: point at cells of the map, sort and filter heads, look at one query, read responses
 * side by side; and the pictures beside the map, drawn by Observable Plot. Numbers of heads come from the tables; the rest
 * from the JSON that src/report/page_data.c and page_answers.c write. Texts only ever become text nodes. */
(() => {
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const VERDICTS = ["safety", "general", "undecided", "negligible"];
const WIDTH = Math.min(420, document.body.clientWidth - 32); /* of a legend; asked once, as it takes the browser a layout */
const SYMBOLS = { safety: "star", general: "square", undecided: "triangle", negligible: "circle", "": "circle" };

/* ---- Pieces ---------------------------------------------------------------------------------------------- */

function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
}

/* A text from a file: its direction is its own, and ends with it. */
const text = (string) => make("bdi", { dir: "auto" }, string);

/* At most three significant digits. */
const short = (x) => (x == null || Number.isNaN(x) ? "–" : String(Number(x.toPrecision(3))));
/* Round numbers that stand about evenly on an axis by square root. */
function rootTicks(low, high, n) {
    const most = Math.max(-low, high), steps = Array.from({ length: n }, (_, i) => Number((most * ((i + 1) / n) ** 2).toPrecision(1)));
    return [...new Set([0, ...steps, ...steps.map((x) => -x)])].filter((x) => x >= low && x <= high).sort((a, b) => a - b);
}
const percent = (x) => `${(100 * x).toFixed(0)} %`;
const style = { background: "none", color: "inherit", fontSize: "12.5px", fontFamily: "inherit", overflow: "visible" };
const colour = (verdict) => `var(--${verdict || "general"})`;

function picture(title, caption, plot, ...more) {
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${title}. ${caption}`);
    return make("figure", {}, make("h4", {}, title), ...more, plot, make("figcaption", {}, caption));
}

function key(entries) {
    return make("div", { class: "key" }, ...entries.map(([name, c]) => {
        const item = make("span", {}, name);
        item.style.setProperty("color", c);
        return item;
    }));
}

/* ---- The tip --------------------------------------------------------------------------------------------- */

const tip = make("div", { id: "tip", hidden: true, "aria-hidden": "true" });
document.body.append(tip);

function showTip(lines, box) {
    tip.textContent = lines;
    tip.hidden = false;
    const width = tip.offsetWidth, height = tip.offsetHeight;
    const left = Math.min(Math.max(box.left + box.width / 2 - width / 2, 4), innerWidth - width - 4);
    tip.style.left = `${left}px`;
    tip.style.top = `${box.top - height - 8 > 0 ? box.top - height - 8 : box.bottom + 8}px`;
}
const hideTip = () => { tip.hidden = true; };

/* ---- Heads: the table ------------------------------------------------------------------------------------ */

/* Rows as objects: head, layer, index, a number or verdict by key of its column. */
function readHeads(table) {
    const columns = [...table.tHead.rows[0].cells].map((th) => ({ th, key: th.dataset.key, unit: th.dataset.unit ?? "", name: th.textContent }));
    const rows = [...table.tBodies[0].rows].map((tr) => {
        const row = { tr };
        columns.forEach(({ key }, i) => {
            const cell = tr.cells[i], shown = cell.textContent;
            if (key === "head") {
                row.head = shown;
                [row.layer, row.index] = shown.split("-").map(Number);
            } else if (key.endsWith("verdict")) row[key] = shown;
            else row[key] = Number.parseFloat(cell.title || shown);
        });
        return row;
    });
    return { table, columns, rows, column: (wanted) => columns.find((c) => c.key === wanted) };
}

const judged = (row) => row.verdict || row.effect_verdict || "";

function compareBy(wanted, down) {
    const place = (row) => (wanted === "head" ? row.layer * 65536 + row.index
        : wanted.endsWith("verdict") ? VERDICTS.indexOf(row[wanted]) : row[wanted]);
    return (a, b) => {
        const x = place(a), y = place(b);
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.rank - b.rank;
        return (down ? y - x : x - y) || a.rank - b.rank;
    };
}

function makeSortable(heads) {
    const body = heads.table.tBodies[0];
    for (const { th, key: wanted, name } of heads.columns) {
        const button = make("button", { type: "button" }, name);
        th.replaceChildren(button);
        button.addEventListener("click", () => {
            const first = wanted === "rank" || wanted === "head" || wanted === "p" || wanted.endsWith("verdict") ? "ascending" : "descending";
            const now = th.getAttribute("aria-sort");
            const next = !now ? first : now === "ascending" ? "descending" : "ascending";
            for (const c of heads.columns) c.th.removeAttribute("aria-sort");
            th.setAttribute("aria-sort", next);
            heads.rows.sort(compareBy(wanted, next === "descending"));
            heads.show();
            body.replaceChildren(...heads.rows.map((row) => row.tr));
        });
    }
}

/* "2-6, 3-3": these heads; "2-": layer 2; else what any cell begins with. */
function matches(row, filter) {
    if (!filter) return true;
    return filter.split(/[,\s]+/).filter(Boolean).some((word) =>
        (/^\d+-$/.test(word) ? row.head.startsWith(word)
            : /^\d/.test(word) ? row.head === word : judged(row).startsWith(word) || (row.effect_verdict ?? "").startsWith(word)));
}

function makeFilters(heads) {
    const top = Number(heads.table.dataset.top);
    const found = VERDICTS.filter((v) => heads.rows.some((row) => row.verdict === v || row.effect_verdict === v));
    const filter = make("input", { type: "search", placeholder: "2-6, 3-  or  safety", "aria-label": "Filter heads: numbers, layers as 3-, or a verdict" });
    const verdict = make("select", {}, make("option", { value: "" }, "any"), ...found.map((v) => make("option", {}, v)));
    const many = make("select", {}, make("option", { value: top }, `the first ${top}`), make("option", { value: Infinity }, "all"));
    const count = make("output", {});
    heads.show = () => {
        let shown = 0, fitting = 0;
        for (const row of heads.rows) {
            const fits = matches(row, filter.value.trim().toLowerCase())
                && (!verdict.value || row.verdict === verdict.value || row.effect_verdict === verdict.value);
            fitting += fits;
            const hidden = !fits || shown >= Number(many.value);
            shown += !hidden;
            row.tr.hidden = hidden;
        }
        count.textContent = `${shown} of ${fitting === heads.rows.length ? "" : `${fitting} fitting of `}${heads.rows.length} heads`;
    };
    heads.reveal = (name) => {
        filter.value = "";
        verdict.value = "";
        const row = heads.rows.find((r) => r.head === name);
        if (!row) return;
        heads.show();
        if (row.tr.hidden) many.value = "Infinity";
        heads.show();
        for (const r of heads.rows) r.tr.classList.toggle("picked", r === row);
        row.tr.tabIndex = -1;
        row.tr.focus({ preventScroll: true });
        row.tr.scrollIntoView({ block: "center" });
    };
    heads.table.classList.add("ready");
    for (const control of [filter, verdict, many]) control.addEventListener("input", heads.show);
    const controls = make("div", { class: "controls" }, make("label", {}, "Filter", filter));
    if (found.length > 0) controls.append(make("label", {}, "Verdict", verdict));
    if (heads.rows.length > top) controls.append(make("label", {}, "Show", many));
    else many.value = "Infinity";
    controls.append(count);
    heads.table.parentElement.before(controls);
    heads.show();
}

/* ---- The map --------------------------------------------------------------------------------------------- */

/* Cells as a grid that arrows walk through; paint() colours them by other numbers. */
function makeMap(figure, result, heads, about) {
    const svg = figure.querySelector("svg"), group = svg.querySelector(".cells"), bar = svg.querySelector(".bar");
    const cells = [...group.children], byHead = new Map(heads.rows.map((row) => [row.layer * result.heads + row.index, row]));
    let values = [], name = "", unit = "", exact = true;
    const place = new Map(cells.map((cell, i) => [cell, i]));
    svg.querySelector("title").remove();
    svg.setAttribute("role", "grid");
    svg.setAttribute("aria-label", `Heat map of ${about}: a row for each layer, a cell for each head. Arrow keys move, Enter goes to the head in the table.`);
    const rows = [];
    for (let layer = 0; layer < result.layers; layer++) {
        const row = document.createElementNS("http://www.w3.org/2000/svg", "g");
        row.setAttribute("role", "row");
        row.setAttribute("aria-label", `layer ${layer}`);
        row.append(...cells.slice(layer * result.heads, (layer + 1) * result.heads));
        rows.push(row);
    }
    group.replaceChildren(...rows);
    cells.forEach((cell, i) => {
        cell.replaceChildren(); /* its title: the tip says it at once */
        cell.setAttribute("role", "gridcell");
        cell.setAttribute("tabindex", i === 0 ? "0" : "-1");
        if (judged(byHead.get(i) ?? {}) === "safety") cell.classList.add("safety");
    });

    const headName = (i) => `${Math.floor(i / result.heads)}-${i % result.heads}`;
    const say = (i) => {
        const row = byHead.get(i), value = values[i];
        const number = value == null || Number.isNaN(value) ? "not scored" : `${short(value)} ${unit}`;
        return { number, verdict: row ? judged(row) : "", full: value };
    };
    const show = (cell) => {
        const i = place.get(cell), said = say(i);
        const full = exact && said.full != null && !Number.isNaN(said.full) && short(said.full) !== String(said.full) ? `\n${said.full}` : "";
        showTip(`Head ${headName(i)}${said.verdict ? `, ${said.verdict}` : ""}\n${name}: ${said.number}${full}`, cell.getBoundingClientRect());
    };
    const focus = (i) => {
        for (const cell of cells) cell.setAttribute("tabindex", "-1");
        cells[i].setAttribute("tabindex", "0");
        cells[i].focus({ preventScroll: false });
    };
    group.addEventListener("pointerover", (event) => { if (place.has(event.target)) show(event.target); });
    group.addEventListener("pointerleave", () => {
        if (place.has(document.activeElement) && document.activeElement.matches(":focus-visible")) show(document.activeElement);
        else hideTip();
    });
    group.addEventListener("focusin", (event) => { if (place.has(event.target)) show(event.target); });
    group.addEventListener("focusout", hideTip);
    group.addEventListener("dblclick", (event) => { if (place.has(event.target)) heads.reveal(headName(place.get(event.target))); });
    group.addEventListener("click", (event) => { if (place.has(event.target)) { focus(place.get(event.target)); show(event.target); } });
    group.addEventListener("keydown", (event) => {
        const i = place.get(event.target), width = result.heads, x = i % width;
        const to = { ArrowLeft: x > 0 ? i - 1 : i, ArrowRight: x < width - 1 ? i + 1 : i, ArrowUp: i - width, ArrowDown: i + width,
            Home: i - x, End: i - x + width - 1, PageUp: x, PageDown: (result.layers - 1) * width + x }[event.key];
        if (event.key === "Enter" || event.key === " ") heads.reveal(headName(i));
        else if (event.key === "Escape") { hideTip(); return; }
        else if (to === undefined) return;
        else if (to >= 0 && to < cells.length) focus(to);
        event.preventDefault();
    });
    addEventListener("scroll", hideTip, { passive: true });

    const legend = make("div", { class: "legend" });
    figure.append(legend);
    return {
        paint(newValues, newName, newUnit, isExact) {
            [values, name, unit, exact] = [newValues, newName, newUnit, isExact];
            let most = 0, signed = false;
            for (const v of values) if (v != null && !Number.isNaN(v)) { most = Math.max(most, Math.abs(v)); signed ||= v < 0; }
            const middle = (data.colours.length - 1) / 2;
            cells.forEach((cell, i) => {
                const v = values[i], known = v != null && !Number.isNaN(v);
                const share = known && most > 0 ? Math.sign(v) * Math.sqrt(Math.abs(v) / most) : 0;
                cell.setAttribute("fill", known ? data.colours[middle + Math.round(middle * share)] : "#c8c8c8");
                const said = say(i);
                cell.setAttribute("aria-label", `layer ${Math.floor(i / result.heads)}, head ${i % result.heads}: ${said.number}${said.verdict ? `, ${said.verdict}` : ""}`);
            });
            hideTip();
            if (!(most > 0)) { legend.replaceChildren(); return; }
            if (bar.parentNode) { /* the legend below stands for it, whatever is shown */
                const box = svg.viewBox.baseVal, top = bar.firstElementChild.y.baseVal.value;
                bar.remove();
                svg.setAttribute("viewBox", `0 0 ${box.width} ${top - 1}`);
            }
            const shades = signed ? data.colours : data.colours.slice(middle);
            const scale = { type: "pow", exponent: 0.5, domain: [signed ? -most : 0, most], interpolate: (t) => shades[Math.round(t * (shades.length - 1))],
                label: `${name}${unit ? `, ${unit}` : ""}` };
            legend.replaceChildren(Plot.legend({ color: scale, width: WIDTH, height: 52, ticks: rootTicks(signed ? -most : 0, most, 4), tickFormat: short, style }));
        },
    };
}

/* ---- One query ------------------------------------------------------------------------------------------- */

const LETTERS = new Map([..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"].map((c, i) => [c, i]));

/* Scores of all cells for a query; NaN where a head has none (page_data.c says how they are written). */
function scoresOf(result, query) {
    const n = result.heads_scored.length, last = 131071, values = new Array(result.layers * result.heads).fill(NaN);
    const logRange = Math.log(result.most / result.least) || 0;
    for (let h = 0; h < n; h++) {
        const at = 3 * (query * n + h);
        const code = LETTERS.get(result.codes[at]) << 12 | LETTERS.get(result.codes[at + 1]) << 6 | LETTERS.get(result.codes[at + 2]);
        const magnitude = code & last, sign = code > last ? -1 : 1;
        if (code === last + 1) continue;
        values[result.heads_scored[h]] = magnitude === 0 ? 0 : sign * result.least * Math.exp((magnitude - 1) / (last - 1) * logRange);
    }
    return values;
}

function queryPicture(result, heads, values) {
    const byHead = new Map(heads.rows.map((row) => [row.layer * result.heads + row.index, row]));
    const rows = values.map((value, i) => ({ value, row: byHead.get(i) })).filter((d) => d.row && !Number.isNaN(d.value))
        .sort((a, b) => b.value - a.value).slice(0, 10).map(({ value, row }) => ({ head: row.head, value, verdict: judged(row) }));
    const plot = Plot.plot({ style, width: 460, height: 300, marginLeft: 56, marginRight: 60,
        x: { label: "KL, nats", grid: true, nice: true }, y: { label: null, domain: rows.map((d) => d.head) },
        marks: [
            ...["", ...VERDICTS].map((v) => Plot.barX(rows.filter((d) => d.verdict === v), { x: "value", y: "head", fill: colour(v) })),
            Plot.text(rows, { x: "value", y: "head", text: (d) => short(d.value), textAnchor: "start", dx: 4 }),
            Plot.ruleX([0]),
        ] });
    return picture("The ten heads that moved most for this query", "How far the next-token distribution moves when the head is ablated.", plot,
        heads.rows.some((row) => judged(row)) ? key(VERDICTS.map((v) => [v, colour(v)])) : "");
}

/* ---- Harmful against harmless ---------------------------------------------------------------------------- */

function scatter(heads, x, y, verdictKey, title, caption, root) {
    const [cx, cy] = [heads.column(x), heads.column(y)];
    const rows = heads.rows.filter((r) => Number.isFinite(r[x]) && Number.isFinite(r[y]));
    if (!cx || !cy || rows.length === 0) return null;
    const verdicts = [...VERDICTS, ""].filter((v) => rows.some((r) => (r[verdictKey] ?? "") === v));
    const low = Math.min(0, ...rows.map((r) => Math.min(r[x], r[y]))), high = Math.max(...rows.map((r) => Math.max(r[x], r[y])));
    const scale = root ? { type: "pow", exponent: 0.5, ticks: rootTicks(low, high, 5) } : { nice: true, ticks: 5 };
    const label = (c) => `${c.name}${c.unit ? `, ${c.unit}` : ""}`;
    const named = rows.filter((r) => r[verdictKey] === "safety").slice(0, 8);
    const plot = Plot.plot({ style, width: 520, height: 400, marginLeft: 56, marginBottom: 42, marginRight: 30,
        x: { ...scale, label: `${label(cx)} →`, grid: true, tickFormat: short },
        y: { ...scale, label: `↑ ${label(cy)}`, grid: true, tickFormat: short },
        marks: [
            root ? Plot.line([[low, low], [high, high]], { strokeDasharray: "4 4", stroke: "var(--soft)", clip: true }) : [Plot.ruleX([0]), Plot.ruleY([0])],
            ...verdicts.toReversed().map((v) => Plot.dot(rows.filter((r) => (r[verdictKey] ?? "") === v),
                { x, y, symbol: SYMBOLS[v], fill: colour(v), fillOpacity: v === "safety" ? 1 : 0.55, stroke: colour(v), r: v === "safety" ? 5.5 : 3.5 })),
            Plot.text(named, { x, y, text: "head", dx: 9, textAnchor: "start", fontWeight: 600, stroke: "var(--ground)", fill: "currentColor" }),
            Plot.tip(rows, Plot.pointer({ x, y, title: (r) =>
                `${r.head}${r[verdictKey] ? `, ${r[verdictKey]}` : ""}\n${cy.name}: ${short(r[y])}\n${cx.name}: ${short(r[x])}` })),
        ] });
    return picture(title, caption, plot, verdicts[0] ? key(verdicts.filter(Boolean).map((v) => [v, colour(v)])) : "");
}

/* ---- Steps of a search ----------------------------------------------------------------------------------- */

function drawSteps(figure, result) {
    const rows = result.steps.map((s, i) => ({ ...s, n: i + 1, low: Math.min(...s.random), high: Math.max(...s.random) }));
    const band = rows.filter((r) => r.random.length > 0), score = result.contrast ? "difference of the group's shift, degrees" : "shift of the group, degrees";
    const plot = Plot.plot({ style, width: 640, height: 320, marginLeft: 56, marginBottom: 40, marginTop: 26, marginRight: 40,
        x: { label: "heads in the group →", ticks: rows.map((r) => r.n), tickFormat: "d", inset: 12 }, y: { label: `↑ ${score}`, grid: true, zero: true, nice: true, tickFormat: short },
        marks: [
            Plot.areaY(band, { x: "n", y1: "low", y2: "high", fill: "var(--band)", fillOpacity: 0.25 }),
            Plot.ruleX(band, { x: "n", y1: "low", y2: "high", stroke: "var(--band)" }),
            Plot.lineY(rows, { x: "n", y: "score", stroke: "var(--accent)", strokeWidth: 2 }),
            Plot.dot(rows, { x: "n", y: "score", r: 5, stroke: "var(--accent)", strokeWidth: 2, fill: (r) => (r.better ? "var(--accent)" : "var(--ground)") }),
            Plot.text(rows, { x: "n", y: "score", text: (r) => `+${r.head}`, dy: -14, fontWeight: 600 }),
            Plot.ruleY([0]),
            Plot.tip(rows, Plot.pointer({ x: "n", y: "score", title: (r) => `${r.n}: ${r.head}\n${short(r.score)} degrees${r.random.length ? `\nrandom groups ${short(r.low)} to ${short(r.high)}` : ""}\n${
                r.better === null ? "not judged" : r.better ? "better than chance" : "no better than chance"}` })),
        ] });
    figure.replaceWith(picture("The greedy curve", "Each point adds one head. Filled: better than chance.", plot,
        key([["the group found", "var(--accent)"], ...(band.length ? [["random groups of its size", "var(--band)"]] : [])])));
}

/* ---- A result -------------------------------------------------------------------------------------------- */

function queryControls(result, heads, map, all, figure) {
    const cut = (s) => (s.length > 90 ? `${s.slice(0, 88)}…` : s);
    const select = make("select", {}, make("option", { value: -1 }, "all queries"));
    const option = (q, i) => make("option", { value: i }, `${i < result.n_queries ? i + 1 : i - result.n_queries + 1}. ${cut(q)}`);
    const harmful = result.queries.slice(0, result.n_queries), harmless = result.queries.slice(result.n_queries);
    select.append(make("optgroup", { label: "queries" }, ...harmful.map(option)));
    if (harmless.length) select.append(make("optgroup", { label: "harmless queries" }, ...harmless.map((q, i) => option(q, i + result.n_queries))));
    const panel = make("div", { class: "query" });
    figure.after(panel);
    const total = result.n_queries + result.n_contrast;
    select.addEventListener("input", () => {
        const query = Number(select.value);
        if (query < 0) { all(); panel.replaceChildren(); return; }
        const values = scoresOf(result, query);
        map.paint(values, "KL for this query", "nats", false);
        panel.replaceChildren(make("p", {}, make("strong", {}, `${query < result.n_queries ? "Query" : "Harmless query"}: `), text(result.queries[query])),
            queryPicture(result, heads, values));
    });
    return { select, note: result.queries.length < total ? `the first ${result.queries.length} of ${total}: the page would become too large` : "" };
}

function makeResult(result, id) {
    const section = document.getElementById(`result-${id}`), figure = section.querySelector("figure.map");
    const heads = readHeads(section.querySelector("table.heads"));
    makeFilters(heads);
    makeSortable(heads);
    const about = section.querySelector("h2").textContent, map = makeMap(figure, result, heads, about);
    const measures = heads.columns.filter((c) => !["rank", "head", "p", "verdict", "effect_verdict"].includes(c.key));
    const usual = measures.find((c) => c.key === figure.dataset.shown) ?? measures[0];
    const measure = make("select", {}, ...measures.map((c) => make("option", { value: c.key, selected: c === usual }, c.name)));
    let query = null;
    const all = () => {
        const column = heads.column(measure.value), values = new Array(result.layers * result.heads).fill(NaN);
        for (const row of heads.rows) values[row.layer * result.heads + row.index] = row[column.key];
        map.paint(values, column.name, column.unit, true);
    };
    measure.addEventListener("input", () => { if (query) query.select.value = "-1"; section.querySelector(".query")?.replaceChildren(); all(); });
    const controls = make("div", { class: "controls" }, make("label", {}, "Shown", measure));
    if (result.queries?.length) {
        query = queryControls(result, heads, map, all, figure);
        controls.append(make("label", {}, `For${query.note ? ` (${query.note})` : ""}`, query.select));
    }
    figure.before(controls);
    all();

    const pictures = section.querySelector(".pictures"), ships = result.command === "ships";
    const drawn = [
        scatter(heads, "contrast", "mean", "verdict", "Harmful against harmless",
            result.command === "direction" ? "What each head writes along the refusal direction, a point a head."
                : "A point a head. On the dashed line it does to harmless queries what it does to harmful ones. Axes by square root.", result.command !== "direction"),
        ships ? scatter(heads, "answered", "effect", "effect_verdict", "Refusals against answers",
            "A point a head: how much its ablation weakens (below 0) the model's own refusals and its own answers. A safety head lies low in the middle.", false) : null,
    ].filter(Boolean);
    pictures.append(...drawn);
    const steps = section.querySelector("figure.steps");
    if (steps && result.steps?.length) drawSteps(steps, result);
}

/* ---- Ablation curves ------------------------------------------------------------------------------------- */

const same = (a, b) => a.length === b.length && a.every((name) => b.includes(name));
const namesOf = (group) => (group.names.length ? group.names.join(", ") : "none") + (group.random ? " (at random)" : "");

function curveOf(groups) {
    const bySize = (a, b) => a.names.length - b.names.length, points = groups.filter((g) => g.n > 0);
    const base = points.find((g) => g.names.length === 0);
    return { chosen: points.filter((g) => !g.random).sort(bySize), random: [...(base ? [base] : []), ...points.filter((g) => g.random)].sort(bySize) };
}

function ratesPicture({ chosen, random }) {
    const row = (measure) => (g) => ({ n: g.names.length, value: g[measure][0], low: g[measure][1], high: g[measure][2], names: namesOf(g), measure });
    const refusal = chosen.map(row("refusal")), degenerate = chosen.map(row("degenerate")), chance = random.map(row("refusal"));
    const beside = chance.length > 1 ? chance : [], all = [...refusal, ...degenerate, ...beside];
    const most = Math.max(...all.map((d) => d.n));
    const plot = Plot.plot({ style, width: 560, height: 340, marginLeft: 56, marginBottom: 40, marginRight: 20,
        x: { label: "heads ablated →", domain: [0, most], ticks: Math.min(most, 12), tickFormat: "d", inset: 10 },
        y: { label: "↑ share of responses", domain: [0, 1], grid: true, tickFormat: percent },
        marks: [
            Plot.areaY(beside, { x: "n", y1: "low", y2: "high", fill: "var(--band)", fillOpacity: 0.22 }),
            Plot.lineY(beside, { x: "n", y: "value", stroke: "var(--band)", strokeDasharray: "5 4", strokeWidth: 2 }),
            Plot.lineY(degenerate, { x: "n", y: "value", stroke: "var(--soft)", strokeDasharray: "2 3", strokeWidth: 2 }),
            Plot.ruleX(refusal, { x: "n", y1: "low", y2: "high", stroke: "var(--refusal)", strokeWidth: 1.5 }),
            Plot.lineY(refusal, { x: "n", y: "value", stroke: "var(--refusal)", strokeWidth: 2.5 }),
            Plot.dot(refusal, { x: "n", y: "value", fill: "var(--refusal)", r: 4.5 }),
            Plot.ruleY([0]),
            Plot.tip(all, Plot.pointer({ x: "n", y: "value", title: (d) =>
                `without ${d.names}\n${d.measure === "refusal" ? "refused" : "degenerate"}: ${percent(d.value)} (${percent(d.low)} to ${percent(d.high)})` })),
        ] });
    return picture("Refusal as heads are ablated", "Bars and band: 95 % intervals.", plot, key([["refused", "var(--refusal)"], ["degenerate", "var(--soft)"],
        ...(beside.length ? [["refused, as many random heads", "var(--band)"]] : [])]));
}

function costPicture({ chosen, random }) {
    const find = (groups) => groups.flatMap((g) => (data.answers.costs.filter((c) => g.names.length > 0 && (c.part ?? g.part) === (g.part ?? c.part) && same(c.names, g.names))
        .map((c) => ({ n: g.names.length, value: c.perplexity, names: namesOf(g) }))));
    const base = data.answers.costs.find((c) => c.base != null || c.names.length === 0);
    const start = base ? [{ n: 0, value: base.base ?? base.perplexity, names: "none" }] : [];
    const [at, beside] = [find(chosen), find(random)];
    if (at.length === 0) return null;
    const [line, chance] = [[...start, ...at], beside.length ? [...start, ...beside] : []];
    const plot = Plot.plot({ style, width: 560, height: 340, marginLeft: 60, marginBottom: 40, marginRight: 20,
        x: { label: "heads ablated →", ticks: Math.min(12, Math.max(...line.map((d) => d.n))), tickFormat: "d", inset: 10 },
        y: { label: "↑ perplexity", grid: true, nice: true, zero: true, tickFormat: short },
        marks: [
            Plot.lineY(chance, { x: "n", y: "value", stroke: "var(--band)", strokeDasharray: "5 4", strokeWidth: 2 }),
            Plot.lineY(line, { x: "n", y: "value", stroke: "var(--accent)", strokeWidth: 2.5 }),
            Plot.dot(line, { x: "n", y: "value", fill: "var(--accent)", r: 4.5 }),
            Plot.ruleY([0]),
            Plot.tip([...line, ...chance], Plot.pointer({ x: "n", y: "value", title: (d) => `without ${d.names}\nperplexity ${short(d.value)}` })),
        ] });
    return picture("Perplexity as heads are ablated", "What the ablation costs on other text.", plot,
        key([["perplexity", "var(--accent)"], ...(chance.length ? [["as many random heads", "var(--band)"]] : [])]));
}

function drawCurve(place, groups) {
    const curve = curveOf(groups);
    if (new Set(curve.chosen.map((g) => g.names.length)).size < 2) return false;
    place.append(...[ratesPicture(curve), costPicture(curve)].filter(Boolean));
    return true;
}

/* ---- Responses side by side ------------------------------------------------------------------------------ */

function side(group, response) {
    const verdict = response?.[2] ?? "";
    return make("div", {}, verdict ? make("span", { class: `badge ${verdict}` }, verdict) : "", text(response ? response[1] : "–"));
}

function drawResponses(section) {
    const groups = data.answers.groups.filter((g) => g.responses?.length);
    if (groups.length === 0) return;
    const left_out = data.answers.groups.length - groups.length;
    const byQuery = groups.map((g) => new Map(g.responses.map((r) => [r[0], r])));
    const options = () => groups.map((g, i) => make("option", { value: i }, g.names.length ? `without ${namesOf(g)}` : "nothing ablated"));
    const before = make("select", {}, ...options()), after = make("select", {}, ...options());
    const first = groups.findIndex((g) => g.names.length === 0);
    before.value = String(Math.max(first, 0));
    after.value = String(Math.max(groups.findIndex((g, i) => i !== Number(before.value) && !g.random), 0));
    const which = make("select", {}, ...["all", "where the verdict changes"].map((o) => make("option", {}, o)));
    const list = make("div", {}), count = make("output", {}), more = make("button", { type: "button", class: "more" }, "Show more");
    const STEP = 12;
    let shown = STEP;
    const show = () => {
        const [a, b] = [Number(before.value), Number(after.value)], two = a !== b;
        const queries = [...new Set([...byQuery[a].keys(), ...byQuery[b].keys()])].sort((x, y) => x - y)
            .filter((q) => which.value === "all" || byQuery[a].get(q)?.[2] !== byQuery[b].get(q)?.[2]);
        list.replaceChildren(...queries.slice(0, shown).map((q) => make("article", { class: "exchange" },
            make("p", {}, text(data.answers.queries[q])),
            make("div", { class: "sides" }, side(groups[a], byQuery[a].get(q)), ...(two ? [side(groups[b], byQuery[b].get(q))] : [])))));
        more.hidden = queries.length <= shown;
        count.textContent = `${Math.min(shown, queries.length)} of ${queries.length} queries${left_out ? `; ${left_out} sets of responses have no room in this page` : ""}`;
    };
    for (const control of [before, after, which]) control.addEventListener("input", () => { shown = STEP; show(); });
    more.addEventListener("click", () => { shown += STEP; show(); });
    const controls = make("div", { class: "controls" }, make("label", {}, groups.length > 1 ? "Before" : "Responses", before));
    if (groups.length > 1) controls.append(make("label", {}, "After", after), make("label", {}, "Show", which));
    controls.append(count);
    section.append(make("h3", {}, groups.length > 1 ? "Responses, before and after" : "Responses"), controls, list, more);
    show();
}

function drawAnswers() {
    const section = document.getElementById("answers"), groups = data.answers.groups;
    const files = [...new Set(groups.map((g) => g.file))], rest = [];
    for (const file of files) {
        const place = document.getElementById(`curve-${file}`), own = groups.filter((g) => g.file === file);
        if (!place || !drawCurve(place, own)) rest.push(...own);
    }
    const pictures = make("div", { class: "pictures" }), drawn = rest.length > 0 && drawCurve(pictures, rest);
    section.append(make("h2", {}, "Before and after ablation"), drawn ? pictures : "");
    drawResponses(section);
    section.hidden = section.children.length < 2;
}

/* ---- Agreement ------------------------------------------------------------------------------------------- */

function drawOverlap(section) {
    const figure = section.querySelector("figure.overlap"), table = section.querySelector("table");
    if (!figure || !table) return;
    const [names, ...lines] = [...table.rows].map((tr) => [...tr.cells].map((cell) => cell.textContent));
    const file = (path) => path.split("/").pop();
    const rows = lines.map((line) => Object.fromEntries(names.map((name, i) => [name, line[i]])))
        .map((r) => ({ pair: `${file(r.a)} and ${file(r.b)}`, k: `the first ${r.k}`, jaccard: Number(r.jaccard), expected: Number(r.expected), shared: r.shared, p: r.p, order: Number(r.k) }));
    if (rows.length === 0) return;
    const pairs = [...new Set(rows.map((r) => r.pair))], ks = [...new Set(rows.map((r) => r.k))];
    const plot = Plot.plot({ style, width: 640, height: 60 + pairs.length * (26 * ks.length + 22), marginLeft: 80, marginTop: 20, marginRight: 40,
        x: { label: "shared heads over heads in either →", domain: [0, 1], grid: true, tickFormat: percent },
        y: { label: null, domain: ks }, fy: { label: null, axis: null, domain: pairs, padding: 0.28 },
        marks: [
            Plot.barX(rows, { fy: "pair", y: "k", x: "jaccard", fill: "var(--accent)", fillOpacity: 0.7, insetTop: 3, insetBottom: 3 }),
            Plot.tickX(rows, { fy: "pair", y: "k", x: "expected", stroke: "currentColor", strokeWidth: 2.5 }),
            Plot.text(pairs.map((pair) => ({ pair })), { fy: "pair", text: "pair", frameAnchor: "top-left", dy: -14, fontWeight: 600 }),
            Plot.tip(rows, Plot.pointer({ fy: "pair", y: "k", x: "jaccard", title: (r) => `${r.pair}\n${r.shared} of ${r.k} shared\nby chance ${percent(r.expected)}, p ${r.p}` })),
        ] });
    figure.replaceWith(picture("Heads that results share", "Bar: shared heads. Line: what two random choices share on average.", plot));
}

/* ---- All of it ------------------------------------------------------------------------------------------- */

data.results.forEach(makeResult);
if (data.answers) drawAnswers();
const agreement = document.getElementById("agreement");
if (agreement) drawOverlap(agreement);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
