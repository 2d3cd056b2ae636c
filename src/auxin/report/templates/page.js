const { figures, light, dark } = JSON.parse(document.getElementById("specifications").textContent);
const scheme = window.matchMedia("(prefers-color-scheme: dark)");
const views = new Map();

// For a phone: lower panels below each other. What is too wide even so is drawn smaller (page.css).
function narrow(spec, width) {
  const { vconcat, hconcat, concat = hconcat, spec: panel, ...rest } = spec;
  if (vconcat) return { ...rest, vconcat: vconcat.map((row) => narrow(row, width)) };
  const slim = (part, shrink) => ({ ...part, width: Math.min(part.width, width), height: shrink * part.height });
  if (concat) return { ...rest, concat: concat.map((part) => slim(part, 0.6)), columns: 1 };
  return panel ? { ...rest, columns: 1, spec: slim(panel, 0.6) } : slim(rest, 1);
}

async function draw(place) {
  const spec = figures[place.id], room = place.clientWidth;
  if (!spec || !room || !place.checkVisibility() || views.get(place)?.room === room) return;
  views.get(place)?.view.finalize();
  views.set(place, { room, view: { finalize() {} } });
  const colors = scheme.matches ? dark : light;
  const phone = room < 560, stacked = { orient: "top", columns: 2, layout: { top: { direction: "vertical", margin: 6 } } };
  const config = phone ? { ...colors, legend: { ...colors.legend, ...stacked } } : colors;
  const options = { mode: "vega-lite", config, renderer: "svg", actions: { export: true, source: false, compiled: false, editor: false } };
  try {
    views.set(place, { room, view: await vegaEmbed(place, phone ? narrow(spec, room - 90) : spec, options) });
    place.classList.add("drawn");
  } catch (error) {
    place.textContent = "This figure could not be drawn: " + error.message;
    place.classList.add("failed");
  }
  document.body.dataset.drawn = document.querySelectorAll(".drawing.drawn").length;
}

const places = document.querySelectorAll(".drawing");
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: "600px" });
places.forEach((place) => seen.observe(place));
const again = () => places.forEach((place) => views.has(place) && draw(place));
window.addEventListener("resize", again);
window.addEventListener("beforeprint", () => places.forEach(draw));
scheme.addEventListener("change", () => { for (const drawn of views.values()) drawn.room = 0; again(); });

for (const slider of document.querySelectorAll(".slider")) {
  const trees = slider.querySelectorAll("[role=img]"), range = slider.querySelector("input");
  const show = () => {
    trees.forEach((tree, i) => { tree.style.display = i === range.valueAsNumber ? "" : "none"; });
    slider.querySelector("output").textContent = trees[range.valueAsNumber].dataset.caption;
  };
  range.addEventListener("input", show);
  show();
}
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", () => { const folded = document.querySelector(link.hash)?.closest("details"); if (folded) folded.open = true; });
}
