// How figures, times and states are written: always equally wide, never by colour alone.

const MOST_CHARACTERS = 2000;

// What a server named, fit to be shown: nothing in it turns letters around, hides, or has no end.
export function shown(text) {
  const cut = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
  return cut.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (each) => `\\u{${each.codePointAt(0).toString(16)}}`);
}

export const NOTHING = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (value) => (value == null ? NOTHING : whole.format(value));

// How many tickers a connection carries: all, where it has the wildcard, and those that it names beside it.
export const carried = (each) =>
  each.all_symbols ? (each.tickers ? `all + ${count(each.tickers)}` : "all") : count(each.tickers);

export function ms(value) {
  if (value == null) return NOTHING;
  return Math.abs(value) < 10 ? value.toFixed(2) : Math.abs(value) < 100 ? value.toFixed(1) : count(value);
}

export const inMs = (value) => (value == null ? NOTHING : `${ms(value)} ms`);

// A latency of events; where there is none, that of bars, which are late by design.
export const eventOrBar = (eventMs, barMs) => (eventMs == null && barMs != null ? `bars ${inMs(barMs)}` : inMs(eventMs));

export function age(seconds) {
  if (seconds == null) return NOTHING;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

export function bytes(value) {
  return value < 1024 ? `${value} B` : value < 1048576 ? `${(value / 1024).toFixed(0)} KiB` : `${(value / 1048576).toFixed(1)} MiB`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const time = (ns) => clock.format(new Date(ns / 1e6));

const STATES = {
  live: ["good", "●"], up: ["good", "●"],
  failed: ["trouble", "✕"], down: ["trouble", "✕"], backing_off: ["trouble", "▲"], held: ["caution", "◆"],
  connecting: ["caution", "◌"], greeting: ["caution", "◌"], authenticating: ["caution", "◌"], stalled: ["caution", "▲"],
};

// How far our clock may be from the feed's: ahead by no more, or behind by as much at least.
export function clockWords(atMostMs, negative, byBars) {
  if (atMostMs == null) return NOTHING;
  const words = `${atMostMs < 0 ? `▲ ${ms(-atMostMs)} ms behind` : `≤ ${ms(atMostMs)} ms ahead`}${byBars ? ", by bars" : ""}`;
  return negative ? `${words}, ${count(negative)} ticks early` : words;
}

// A state's kind of trouble, and its words with a sign before them.
export function state(word, concern) {
  if (concern) return { kind: "caution", words: `▲ ${concern}` };
  const [kind, sign] = STATES[word] ?? ["", "○"];
  return { kind, words: word ? `${sign} ${word.replaceAll("_", " ")}` : "" };
}
