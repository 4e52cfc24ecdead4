// A hit among others: its picture, its name, its score as a bar.

import { thumbnailOf } from "./api.js";
import { bar, make } from "./elements.js";
import { clock } from "./quantities.js";

/**
 * Puts a hit into its button.
 *
 * @param hit undefined while it is not here yet
 * @param best the score of the best one, at which the bar is full
 * @param width of the picture, in pixels of the page
 */
export function fillHit(button, hit, best, width) {
  if (!hit) {
    const name = make("span", { className: "name" }, "…");
    button.append(make("span", { className: "picture" }), name);
    return;
  }
  button.title = hit.path;
  const side = width * devicePixelRatio;
  const picture = make("img", { alt: "", decoding: "async" });
  picture.src = thumbnailOf(hit, side <= 160 ? 160 : side <= 400 ? 320 : 640);
  picture.addEventListener("error", () =>
    picture.replaceWith(make("span", { className: "gone" }, "not readable now")),
  );
  const frame = make("span", { className: "picture" }, picture);
  if (hit.end > hit.start) {
    frame.append(make("span", { className: "time" }, `${clock(hit.start)}–${clock(hit.end)}`));
  }
  button.append(
    frame,
    make("span", { className: "name" }, hit.name),
    make(
      "span",
      { className: "score" },
      bar(best > 0 ? hit.score / best : 0),
      hit.score.toFixed(3),
    ),
  );
}
