// The stream's way as a picture: connections, ingest, the operators, subscribers; rates and queues on it.

import { svg } from "./draw.js";
import { bytes, carried, count, ms, state } from "./words.js";

const NARROW = 700;
const THICK = 44;

// So much may wait for a subscriber that keeps up: a second's ticks, or what a burst brings.
const behind = (subscriber) => Math.max(1000, subscriber.delivered_per_s);

// Of events, or where nothing but bars comes, of those.
const latest = (now) =>
  now.feed_p99_ms == null && now.bars_p99_ms != null ? `bars p99 ${ms(now.bars_p99_ms)} ms` : `feed p99 ${ms(now.feed_p99_ms)} ms`;

// Layers of nodes, each with its lines of text, and what flows from one to the next.
function layers(now) {
  const received = now.ticks_per_s;
  return [
    now.connections.map((each) => ({
      title: each.name,
      lines: [state(each.phase, each.concern).words, `${carried(each)} tickers`],
      kind: state(each.phase, each.concern).kind,
      rate: each.ticks_per_s,
      queue: each.queued ? `${count(each.queued)} undecoded` : "", // Mostly none, and there is little room.
    })),
    [{
      title: "ingest",
      lines: ["reads wait here"],
      kind: now.ingest_grows ? "caution" : "",
      rate: received,
      queue: `${now.ingest_grows ? "▲ " : ""}${bytes(now.ingest_bytes)} wait`,
    }],
    [{ title: "decode · dedupe · stamp", lines: [latest(now)], kind: "", rate: received }],
    now.subscribers.map((each) => ({
      title: each.name,
      lines: [state(each.state).words, `p99 ${ms(each.p99_ms)} ms`].filter(Boolean),
      kind: each.state === "down" || each.account.imbalance ? "trouble" : each.queued > behind(each) ? "caution" : "",
      takes: true,
      rate: each.delivered_per_s,
      queue: `${count(each.queued)} queued`,
    })),
  ].filter((nodes) => nodes.length);
}

export function drawWay(element, now) {
  const width = element.clientWidth;
  const narrow = width < NARROW;
  const all = layers(now);
  const most = Math.max(...all.map((nodes) => nodes.length));
  const wide = narrow ? Math.min(150, (width - 8 * (most - 1)) / most) : Math.min(190, width / (all.length + 2));
  const high = narrow ? 62 : 58;
  const length = narrow ? all.length * high + (all.length - 1) * THICK : width;
  const height = narrow ? length : most * (high + 12) - 12;
  for (const [at, nodes] of all.entries()) {
    nodes.forEach((node, index) => {
      const along = all.length > 1 ? (at * (length - (narrow ? high : wide) - 2)) / (all.length - 1) + 1 : 1;
      const share = ((narrow ? width : height) / nodes.length) * (index + 0.5);
      node.x = narrow ? share - wide / 2 : along;
      node.y = narrow ? along : share - high / 2;
      node.wide = at === 2 || at === 1 ? (narrow ? Math.min(width, 190) : wide) : wide;
      if (narrow) node.x = share - node.wide / 2;
    });
  }
  const edges = [];
  for (let at = 0; at + 1 < all.length; at += 1) {
    for (const from of all[at]) for (const to of all[at + 1]) edges.push(...edge(from, to, { narrow, high }));
  }
  const nodes = all.flat().map((node) => box(node, high));
  element.replaceChildren(
    svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "The way of a tick" }, ...edges, ...nodes),
  );
}

function edge(from, to, { narrow, high }) {
  const [x1, y1] = narrow ? [from.x + from.wide / 2, from.y + high] : [from.x + from.wide, from.y + high / 2];
  const [x2, y2] = narrow ? [to.x + to.wide / 2, to.y] : [to.x, to.y + high / 2];
  const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const d = narrow ? `M${x1} ${y1}C${x1} ${my} ${x2} ${my} ${x2} ${y2}` : `M${x1} ${y1}C${mx} ${y1} ${mx} ${y2} ${x2} ${y2}`;
  // What a connection brings flows from it, what a subscriber takes flows to it: the edge tells of that one.
  const its = to.takes ? to : from;
  const rate = its.rate;
  const width = 1 + Math.min(5, Math.log10(1 + rate));
  const path = svg("path", { d, "stroke-width": width.toFixed(1), class: rate > 0 ? "" : "idle" });
  const label = (words, y, kind) => svg("text", { x: mx, y, "text-anchor": "middle", class: kind }, words);
  return [path, label(`${count(rate)}/s`, my - 2, "rate"), label(its.queue, my + 12, "rate small")];
}

function box(node, high) {
  const middle = node.x + node.wide / 2;
  const lines = node.lines.map((line, at) =>
    svg("text", { x: middle, y: node.y + 34 + at * 15, "text-anchor": "middle", class: "small" }, line),
  );
  return svg(
    "g",
    { class: node.kind },
    svg("rect", { x: node.x, y: node.y, width: node.wide, height: high, rx: 5 }),
    svg("text", { x: middle, y: node.y + 18, "text-anchor": "middle" }, node.title),
    ...lines,
  );
}
