const { figures, light, dark } = JSON.parse(document.getElementById("specifications").textContent);
const scheme = window.matchMedia("(prefers-color-scheme: dark)");
const views = new Map();

// A figure as wide as there is room: panels in fewer columns, then narrower ones, legends above.
function fitted(spec, room, margin) {
  if (spec.vconcat) return { ...spec, vconcat: spec.vconcat.map((row) => fitted(row, room, margin)) };
  const panels = spec.concat ?? spec.hconcat, inner = panels?.[0] ?? spec.spec ?? spec;
  const most = spec.columns ?? panels?.length ?? 1;
  const columns = Math.max(1, Math.min(most, Math.floor(room / (0.85 * inner.width + margin))));
  const width = Math.max(120, Math.min(1.5 * inner.width, Math.floor(room / columns) - margin));
  const height = columns === 1 && most > 1 ? 0.6 * inner.height : inner.height;
  if (panels) {
    const { hconcat, ...rest } = spec;
    return { ...rest, concat: panels.map((panel) => ({ ...panel, width, height })), columns };
  }
  return spec.spec ? { ...spec, columns, spec: { ...spec.spec, width, height } } : { ...spec, width };
}

// The words that legends name: all domains of a specification.
function named(part) {
  if (!part || typeof part !== "object") return [];
  return Object.entries(part).flatMap(([key, value]) =>
    key === "datasets" ? [] : key === "domain" && Array.isArray(value) ? value.map(String) : named(value));
}

async function draw(place) {
  const spec = figures[place.id], room = place.clientWidth;
  if (!spec || !room || !place.checkVisibility() || views.get(place)?.room === room) return;
  views.get(place)?.view.finalize();
  views.set(place, { room, view: { finalize() {} } });
  const colors = scheme.matches ? dark : light;
  const longest = Math.max(1, ...named(spec).map((word) => word.length));
  const columns = Math.max(1, Math.floor((room - 60) / (30 + 7 * longest)));
  const stacked = { orient: "top", columns, layout: { top: { direction: "vertical", margin: 6 } } };
  const config = room < 560 ? { ...colors, legend: { ...colors.legend, ...stacked } } : colors;
  const options = { mode: "vega-lite", config, renderer: "svg", actions: { export: true, source: false, compiled: false, editor: false } };
  try {
    for (let margin = 70, tries = 0; tries < 4; tries++) {
      const found = await vegaEmbed(place, fitted(spec, room, margin), options);
      views.set(place, { room, view: found });
      const over = place.querySelector("svg").getBoundingClientRect().width - room;
      if (over <= 0 || tries === 3) break;
      margin += Math.ceil(over) + 2;
      found.finalize();
    }
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
