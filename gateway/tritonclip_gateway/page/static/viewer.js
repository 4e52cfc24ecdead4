// One hit, large: a picture, or a video that plays its moment.

import { originalOf, thumbnailOf } from "./api.js";
import { find, make } from "./elements.js";
import { clock, percent, size } from "./quantities.js";

const dialog = find("viewer");
const stage = find("stage");

let results = null;
let place = 0;
let told = null;

/**
 * Opens the viewer.
 *
 * @param found the results
 * @param from the place of the hit to begin with
 * @param tell `{ moreLike, done }`: told a hit to search by, or the place of the last one
 */
export function view(found, from, tell) {
  [results, told] = [found, tell];
  dialog.showModal();
  go(from);
}

async function go(to) {
  if (to < 0 || to >= results.length) return;
  place = to;
  await results.need(to, Math.min(to + 1, results.length - 1)).catch(() => {});
  const hit = results.at(to);
  if (!hit || to !== place || !dialog.open) return;
  find("viewer-name").textContent = hit.name;
  find("viewer-facts").replaceChildren(
    ...[
      ["Score", hit.score.toFixed(4)],
      hit.probability === null ? null : ["Probability", percent(hit.probability)],
      hit.end > hit.start ? ["Moment", `${clock(hit.start)} to ${clock(hit.end)}`] : null,
      hit.width ? ["Pixels", `${hit.width} × ${hit.height} ${hit.format}`] : null,
      ["Size", size(hit.size)],
      ["Date", hit.date.slice(0, 10)],
      Object.keys(hit.tags).length ? ["Tags", Object.keys(hit.tags).join(", ")] : null,
      ["Path", hit.path],
    ]
      .filter(Boolean)
      .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
  find("viewer-original").href = originalOf(hit);
  find("viewer-previous").disabled = !to;
  find("viewer-next").disabled = to === results.length - 1;
  stage.replaceChildren(hit.kind === "image" ? picture(hit) : video(hit));
}

/** The file itself where the browser shows it, over its thumbnail until then. */
function picture(hit) {
  const shown = make("img", { src: thumbnailOf(hit, 640), alt: hit.name });
  const whole = new Image();
  whole.src = originalOf(hit);
  whole.decode().then(
    () => {
      shown.src = whole.src;
      shown.className = "whole";
    },
    () => {},
  );
  return shown;
}

function video(hit) {
  const from = hit.end > hit.start ? `#t=${hit.start},${hit.end}` : "";
  const shown = make("video", { src: originalOf(hit) + from, controls: true, autoplay: true });
  shown.setAttribute("aria-label", hit.name);
  shown.addEventListener("error", () =>
    shown.replaceWith(make("p", {}, "This browser cannot play it; open the file instead.")),
  );
  return shown;
}

function moreLike() {
  const hit = results.at(place);
  told.done = () => {};
  dialog.close();
  if (hit) told.moreLike(hit);
}

find("viewer-more").addEventListener("click", moreLike);
find("viewer-previous").addEventListener("click", () => go(place - 1));
find("viewer-next").addEventListener("click", () => go(place + 1));
find("viewer-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // beside it
});
dialog.addEventListener("close", () => {
  stage.replaceChildren(); // a video stops
  told.done(place);
});
dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "VIDEO") return;
  if (event.key === "ArrowLeft") go(place - 1);
  else if (event.key === "ArrowRight") go(place + 1);
  else if (event.key.toLowerCase() === "m") moreLike();
  else return;
  event.preventDefault();
});
