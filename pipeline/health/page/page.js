// The live page: asks once a second, and writes what has changed where it stands.

import { drawLatency, drawSparkline, sparkline } from "./draw.js";
import { ask, hasToken, useToken } from "./server.js";
import { drawWay } from "./way.js";
import { age, carried, clockWords, count, eventOrBar, inMs, ms, shown, state, time } from "./words.js";

const EVERY_MS = 1000;
const TICKERS_EVERY = 5; // polls
const POINTS = 300;
const EVENTS = 200;
const LOST_AFTER_MS = 2500;
const SAID_FOR_MS = 8000;

const at = (id) => document.getElementById(id);

function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (typeof child === "string" ? shown(child) : child)));
  return made;
}

function write(element, text) {
  const words = shown(text);
  if (element.textContent !== words) element.textContent = words;
}

// ---- what is known ------------------------------------------------------------------------------------------

let known; // The points and events of the server that answers.
let dataNs = null; // When the newest of it was read.
let movedMs = performance.now(); // When it last became newer.
let polls = 0;
let leading = false; // Whether there are busiest tickers to show; it takes a second until there are.
let renewed = true; // Whoever answers next may be another server: nothing that was known goes with it.

function forget() {
  known = { times: [], connections: {}, subscribers: {}, event: 0 };
  at("events").replaceChildren();
  polls = 0;
  renewed = false;
}

function remember(history) {
  const before = known.times.length;
  known.times.push(...history.at_ns);
  for (const kind of ["connections", "subscribers"]) {
    for (const name of new Set([...Object.keys(known[kind]), ...Object.keys(history[kind])])) {
      const figures = history[kind][name] ?? {};
      known[kind][name] ??= {};
      for (const figure of new Set([...Object.keys(known[kind][name]), ...Object.keys(figures)])) {
        const values = (known[kind][name][figure] ??= Array(before).fill(null));
        values.push(...(figures[figure] ?? Array(history.at_ns.length).fill(null)));
        values.splice(0, values.length - POINTS);
      }
    }
  }
  known.times.splice(0, known.times.length - POINTS);
}

async function poll() {
  try {
    const history = await ask(`api/history?after_ns=${renewed ? 0 : known.times.at(-1) ?? 0}`);
    const after = renewed ? 0 : known.event;
    const { events } = history.newest_event > after ? await ask(`api/events?after=${after}`) : { events: [] };
    if (renewed) forget();
    remember(history);
    if (history.now && history.now.at_ns !== dataNs) {
      dataNs = history.now.at_ns;
      movedMs = performance.now();
    }
    if (history.now) show(history.now);
    tell(events);
    if (!leading || polls++ % TICKERS_EVERY === 0) lead(await ask("api/tickers"));
  } catch (error) {
    console.info(`no answer: ${error.message}`);
    renewed = true;
  }
  lose();
  setTimeout(poll, EVERY_MS);
}

function lose() {
  const lost = performance.now() - movedMs > LOST_AFTER_MS;
  document.body.classList.toggle("lost", lost);
  at("lost").hidden = !lost;
  if (lost) write(at("lost"), dataNs ? `No data since ${time(dataNs)}` : "No data yet");
}

// ---- connections --------------------------------------------------------------------------------------------

const tiles = new Map();
const FACTS = ["p50", "p99", "last message", "tickers", "dropped", "reconnects"];

function tile(id) {
  const parts = { name: node("h2"), state: node("span"), since: node("span", { class: "since" }), rate: node("b") };
  parts.spark = sparkline();
  parts.facts = Object.fromEntries(FACTS.map((fact) => [fact, node("dd")]));
  parts.why = node("span", { class: "why" });
  const button = node("button", { type: "button" }, "Reconnect…");
  button.addEventListener("click", () => reconnect(id, parts.name.textContent));
  parts.tile = node(
    "article",
    { class: "tile", "data-connection": id },
    node("header", {}, parts.name, parts.state, parts.since),
    node("div", { class: "flow" }, parts.rate, node("span", {}, "ticks/s"), parts.spark),
    node("dl", {}, ...FACTS.map((fact) => node("div", {}, node("dt", {}, fact), parts.facts[fact]))),
    node("footer", {}, parts.why, button),
  );
  tiles.set(id, parts);
  return parts;
}

function showConnection(each, nowNs) {
  const parts = tiles.get(each.id) ?? tile(each.id);
  const { kind, words } = state(each.phase, each.concern);
  parts.tile.className = `tile ${kind === "good" ? "" : kind}`;
  parts.state.className = `state ${kind}`;
  write(parts.name, each.name);
  write(parts.state, words);
  write(parts.since, `since ${time(each.since_ns)}, ${age((nowNs - each.since_ns) / 1e9)}`);
  write(parts.rate, count(each.ticks_per_s));
  drawSparkline(parts.spark, known.connections[each.id]?.ticks_per_s ?? []);
  write(parts.facts.p50, eventOrBar(each.p50_ms, each.bars_p50_ms));
  write(parts.facts.p99, eventOrBar(each.p99_ms, each.bars_p99_ms));
  write(parts.facts["last message"], age(each.last_message_age_s));
  write(parts.facts.tickers, carried(each));
  write(parts.facts.dropped, count(each.dropped));
  write(parts.facts.reconnects, count(each.reconnects));
  write(parts.why, each.trouble ? `last trouble: ${each.trouble}` : "");
  parts.why.title = shown(each.trouble ?? "");
  return parts.tile;
}

// ---- everything else ----------------------------------------------------------------------------------------

function show(now) {
  const live = now.connections.filter((each) => each.phase === "live").length;
  const imbalance = now.subscribers.reduce((sum, each) => sum + Math.abs(each.account.imbalance), 0);
  pairs(at("totals"), [
    ["stream", now.state],
    ["connections", `${live} of ${now.connections.length} live`],
    ["ticks/s", count(now.ticks_per_s)],
    ...latencies(now),
    ["clock", clockWords(now.clock_at_most_ms, now.clock_negative, now.clock_by_bars)],
    ["imbalance", imbalance ? `▲ ${count(imbalance)}` : "0"],
  ]);
  document.title = `${live === now.connections.length ? "" : "▲ "}${count(now.ticks_per_s)}/s · Tickbraid`;
  const shown = now.connections.map((each) => showConnection(each, now.at_ns));
  if (shown.length !== at("connections").children.length) at("connections").replaceChildren(...shown);
  write(at("lateness"), now.late_tickers ? `: ▲ ${count(now.late_tickers)} late by themselves` : "");
  drawWay(at("way"), now);
  drawChart(now);
  table(
    at("account"),
    ["subscriber", "state", "received", "= delivered", "+ deduplicated", "+ dropped", "+ failed", "+ rejected", "+ queued", "imbalance", "ticks/s", "p50 ms", "p99 ms", "ack p99 ms"],
    now.subscribers.map((each) => [
      each.name,
      state(each.state).words || "–",
      ...["received", "delivered", "deduplicated", "dropped", "failed", "rejected", "queued"].map((name) => count(each.account[name])),
      each.account.imbalance ? `▲ ${count(each.account.imbalance)}` : "0 ✓",
      count(each.delivered_per_s),
      ms(each.p50_ms),
      ms(each.p99_ms),
      ms(each.sink_p99_ms),
    ]),
  );
}

function latencies(now) {
  const feed = ["feed p50 / p99", `${ms(now.feed_p50_ms)} / ${inMs(now.feed_p99_ms)}`];
  if (now.bars_p50_ms == null) return [feed];
  const bars = ["bars p50 / p99", `${ms(now.bars_p50_ms)} / ${inMs(now.bars_p99_ms)} after their end, of which Massive waits 2,000`];
  return now.feed_p50_ms == null ? [bars] : [feed, bars];
}

// Events and bars are two lines: bars come seconds after their end by design.
function feedsOf({ id, name }) {
  const values = known.connections[id];
  const bars = { p50_ms: values?.bars_p50_ms, p99_ms: values?.bars_p99_ms };
  const any = (its) => its?.p99_ms?.some((value) => value != null);
  const feeds = any(bars) ? [{ name: `${name} bars`, values: bars }] : [];
  return any(values) || !feeds.length ? [{ name, values }, ...feeds] : feeds;
}

function drawChart(now) {
  const feeds = now.connections.flatMap(feedsOf);
  const sinks = now.subscribers.map((each) => ({ name: `to ${each.name}`, values: known.subscribers[each.name] }));
  drawLatency(at("latency"), known.times, [...feeds, ...sinks].filter((each) => each.values?.p99_ms));
}

function pairs(list, all) {
  while (list.children.length > all.length) list.lastChild.remove();
  while (list.children.length < all.length) list.append(node("div", {}, node("dt"), node("dd")));
  all.forEach(([name, value], index) => {
    write(list.children[index].children[0], name);
    write(list.children[index].children[1], value);
  });
}

const kindOf = (heading) => (heading === "" ? "bar" : ["connection", "state", "type"].includes(heading) ? "words" : "");

// A cell is its text, or for a bar the share of the longest one.
function table(element, headings, rows) {
  if (!element.tBodies.length) {
    const cells = headings.map((heading) => node("th", { scope: "col", class: kindOf(heading) }, heading));
    element.append(node("thead", {}, node("tr", {}, ...cells)), node("tbody"));
  }
  const body = element.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  while (body.rows.length < rows.length) {
    const cells = headings.map((heading) => node("td", { "data-label": heading, class: kindOf(heading) }));
    body.append(node("tr", {}, ...cells));
  }
  rows.forEach((cells, index) =>
    cells.forEach((cell, column) => {
      const place = body.rows[index].cells[column];
      if (typeof cell === "string") write(place, cell);
      else {
        if (!place.firstChild) place.append(node("i"));
        place.firstChild.style.width = `${(cell * 100).toFixed(1)}%`;
      }
    }),
  );
}

function lead({ busiest, slowest }) {
  leading = busiest.length > 0;
  const most = Math.max(1e-9, ...busiest.map((each) => each.ticks_per_s));
  const latest = Math.max(1e-9, ...slowest.map((each) => each.latency_ms));
  const names = (each) => each.connections.map((id) => tiles.get(id)?.name.textContent ?? id).join(", ");
  table(
    at("busiest"),
    ["ticker", "connection", "ticks/s", ""],
    busiest.map((each) => [each.ticker, names(each), each.ticks_per_s.toFixed(1), each.ticks_per_s / most]),
  );
  table(
    at("slowest"),
    ["ticker", "type", "connection", "ago", "ms", ""],
    slowest.map((each) => [each.ticker, each.event_type, names(each), age(each.age_s), ms(each.latency_ms), Math.max(0, each.latency_ms / latest)]),
  );
}

function tell(events) {
  const list = at("events");
  for (const event of events) {
    known.event = event.number;
    const moment = node("time", { datetime: new Date(event.at_ns / 1e6).toISOString() }, time(event.at_ns));
    const sign = node("i", event.warning ? { title: "warning" } : {}, event.warning ? "▲" : "");
    const words = [...tiles].reduce((all, [id, { name }]) => all.replaceAll(id, name.textContent), event.words);
    list.prepend(node("li", event.warning ? { class: "warning" } : {}, moment, sign, node("span", {}, words)));
  }
  while (list.children.length > EVENTS) list.lastChild.remove();
}

// ---- what changes the stream --------------------------------------------------------------------------------

// Ask the operator, and for the token in one go; tell whether it may be done.
async function consent(question, consequence, deed) {
  write(at("question"), question);
  write(at("consequence"), consequence);
  write(at("go"), deed);
  const dialog = at("ask");
  dialog.returnValue = "";
  dialog.showModal();
  if (!hasToken()) at("token").focus();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue === "go" && at("token").value) useToken(at("token").value);
  return dialog.returnValue === "go";
}

async function change(path, done) {
  let words;
  try {
    words = done(await ask(path, "POST"));
  } catch (error) {
    words = `▲ Not done: ${error.message}`;
  }
  write(at("said"), words);
  at("said").hidden = false;
  setTimeout(() => { at("said").hidden = true; }, SAID_FOR_MS);
}

async function reconnect(id, name) {
  if (await consent(`Reconnect ${name}?`, "Its session ends and another begins; meanwhile the others carry its tickers.", "Reconnect")) {
    await change(`api/websocket/connections/${encodeURIComponent(id)}/reconnect`, () => `${name} begins a new session.`);
  }
}

at("rebalance").addEventListener("click", async () => {
  if (await consent("Rebalance?", "The tickers are spread by what is measured now; none misses a tick.", "Rebalance")) {
    await change("api/websocket/rebalance", ({ moved }) => (moved?.length ? "Tickers have moved; the events say which." : "Nothing had to move."));
  }
});

document.addEventListener("visibilitychange", lose);
poll();
