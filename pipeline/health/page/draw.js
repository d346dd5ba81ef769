// Sparklines, and the latencies over time.

import { shown } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.map((child) => (typeof child === "string" ? shown(child) : child)));
  return node;
}

export function sparkline() {
  const line = svg("polyline", { points: "" });
  const ground = svg("line", { x1: 0, x2: 300, y1: 36, y2: 36 });
  return svg("svg", { class: "spark", viewBox: "0 0 300 36", preserveAspectRatio: "none", role: "img" }, ground, line);
}

// The newest value is at the right edge, five minutes ago at the left; the highest touches the top.
export function drawSparkline(picture, values) {
  const top = Math.max(1, ...values.map((value) => value ?? 0));
  const first = 300 - values.length;
  const points = values.map((value, at) => `${first + at + 1},${(36 - ((value ?? 0) / top) * 35).toFixed(1)}`);
  picture.querySelector("polyline").setAttribute("points", points.join(" "));
  picture.setAttribute("aria-label", `ticks a second over the last five minutes, at most ${Math.round(top)}`);
}

// The chart takes some tags in names for markup.
const plain = (words) => shown(words).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// One colour a connection or subscriber; p99 is a full line, p50 a dotted one.
export function drawLatency(element, times, series) {
  if (!window.Plotly) return;
  const zone = new Date().getTimezoneOffset() * 60000; // The chart has no zones, so it is given local times.
  const x = times.map((ns) => new Date(ns / 1e6 - zone).toISOString().slice(0, -1));
  const traces = series.flatMap(({ name, values }, at) =>
    ["p99_ms", "p50_ms"].map((figure) => ({
      x,
      y: values[figure].map((value) => (value > 0 ? value : null)),
      name: plain(figure === "p99_ms" ? name : `${name} p50`),
      showlegend: figure === "p99_ms",
      legendgroup: name,
      mode: "lines",
      line: { color: colour(`--series-${at % 5}`), width: figure === "p99_ms" ? 1.8 : 1.3, dash: figure === "p99_ms" ? "solid" : "dot" },
      hovertemplate: "%{y:.2f} ms",
    })),
  );
  const [ink, line, panel] = ["--soft", "--line", "--panel"].map(colour);
  const layout = {
    autosize: true,
    uirevision: "kept", // What the operator zoomed or hid stays so.
    margin: { l: 44, r: 8, t: 4, b: 24 },
    paper_bgcolor: panel,
    plot_bgcolor: panel,
    font: { color: ink, size: 11, family: getComputedStyle(document.body).fontFamily },
    hovermode: "x unified",
    hoverlabel: { bgcolor: panel, bordercolor: line, font: { color: colour("--ink") } },
    legend: { orientation: "h", y: -0.12, yanchor: "top", x: 0 },
    xaxis: { type: "date", gridcolor: line, zeroline: false, tickformat: "%H:%M:%S", hoverformat: "%H:%M:%S", nticks: 6 },
    yaxis: { type: "log", gridcolor: line, zeroline: false, dtick: 1, tickformat: ",~g" },
  };
  window.Plotly.react(element, traces, layout, { displayModeBar: false, responsive: true });
}
