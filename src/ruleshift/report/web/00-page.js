// Small helpers of the page, its figures, and the switch between decodings.
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// An element with text in it, never markup.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const minus = (number, places = 2) => number.toFixed(places).replace("-", "\u2212");

function save(name, kind, text) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const atNight = matchMedia("(prefers-color-scheme: dark)");
const settings = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };

// The layout of a figure in the colours of the page.
function coloured(layout) {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const copy = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
  copy.font = { ...layout.font, color: ink };
  copy.hoverlabel = { bgcolor: style.getPropertyValue("--card").trim(), bordercolor: line, font: { color: ink } };
  for (const name of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
    copy[name] = { ...layout[name], gridcolor: line, linecolor: soft, tickcolor: soft };
    copy[name].tickfont = { ...layout[name].tickfont, color: soft };
  }
  for (const shape of copy.shapes || []) if (shape.label && shape.label.font) shape.label.font.color = soft;
  return copy;
}

function draw(place) {
  const figure = JSON.parse(document.getElementById(place.dataset.source).textContent);
  if (atNight.matches) {
    for (const trace of figure.data) {
      for (const part of [trace.line, trace.marker, trace.textfont]) {
        if (part && part.color === "#4b5159") part.color = "#aeb6bf";
      }
    }
  }
  if (place.clientWidth < 480) {
    figure.layout.margin = { ...figure.layout.margin, l: 48, r: 28 };
  }
  Plotly.react(place, figure.data, coloured(figure.layout), settings);
  place.dataset.drawn = "yes";
}

// Figures are drawn when they come near the window, one at a time when there is nothing else to do: neither the first
// screen nor an episode waits for those below.
const whenIdle = window.requestIdleCallback ?? ((act) => setTimeout(act, 1));
const waiting = [];
let reading = Promise.resolve(); // the episode that somebody asked for last

async function drawNext() {
  await reading;
  const place = waiting.shift();
  if (place && !place.dataset.drawn) draw(place);
  if (waiting.length) whenIdle(drawNext);
}

const nearby = new IntersectionObserver((entries) => {
  const places = entries.filter((entry) => entry.isIntersecting && !entry.target.dataset.drawn).map((entry) => entry.target);
  if (places.length && !waiting.length) whenIdle(drawNext);
  waiting.push(...places);
}, { rootMargin: "400px" });

function show(decoding) {
  for (const section of all("[data-decoding]")) section.hidden = section.dataset.decoding !== decoding;
  for (const button of all(".switch button")) {
    button.setAttribute("aria-pressed", String(button.value === decoding));
  }
}

for (const button of all(".switch button")) button.addEventListener("click", () => show(button.value));
// Plotly stands behind this script, which asks for episodes before the browser has read that one.
addEventListener("DOMContentLoaded", () => {
  const first = one(".first .plot");
  if (first) draw(first);
  for (const place of all(".plot")) nearby.observe(place);
});
atNight.addEventListener("change", () => all(".plot[data-drawn]").forEach(draw));
addEventListener("beforeprint", () => {
  for (const table of all("details.table:not([open])")) Object.assign(table, { open: true }).dataset.folded = "yes";
  all(".plot").filter((place) => !place.dataset.drawn && place.offsetParent).forEach(draw);
});
addEventListener("afterprint", () => {
  for (const table of all("[data-folded]")) { table.open = false; delete table.dataset.folded; }
});
