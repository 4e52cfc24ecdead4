// The search: what is asked, in fields and in the address, and what it finds.

import { get, thumbnailOf } from "./api.js";
import { chip, find, make, notice, settled } from "./elements.js";
import { Grid } from "./grid.js";
import { fillHit } from "./hit.js";
import { shown } from "./pictures.js";
import { count } from "./quantities.js";
import { Results } from "./results.js";
import { view } from "./viewer.js";

const TYPING = 120; // ms without a key before it is searched

const text = find("text");
const without = find("without");
const where = find("where");
const whereProblem = find("where-problem");
const status = find("search-status");
const beside = find("search-notice");

/** Words that are not to be found, and pictures that are: `{ uri }`, or `{ id }` of a hit. */
let excluded = [];
let pictures = [];
let collection = null;
let results = null;
let running = null;

const grid = new Grid(find("hits"), {
  fill: (button, hit, found) => fillHit(button, hit, found.best, grid.side),
  open: (place) => view(results, place, { moreLike, done: (last) => grid.focus(last) }),
  leave: () => text.focus(),
});

/** Starts with what the address says. */
export function beginSearch() {
  const soon = settled(run, TYPING);
  text.addEventListener("input", soon);
  where.addEventListener("input", settled(run, 3 * TYPING));
  text.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") grid.focus();
    else if (event.key === "Backspace" && !text.value && pictures.length)
      removePicture(pictures.at(-1));
    else return;
    event.preventDefault();
  });
  without.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === ",") && without.value.trim())
      exclude(without.value.trim());
    else if (event.key === "Backspace" && !without.value && excluded.length)
      include(excluded.at(-1));
    else return;
    event.preventDefault();
  });
  without.addEventListener("change", () => without.value.trim() && exclude(without.value.trim()));
  text.form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  addEventListener("popstate", readAddress);
  readAddress();
}

/** Called when the user comes to it. */
export function showSearch() {
  if (running) writeAddress();
  else run();
}

/** Searches by pictures that were dropped. */
export function takePictures(dropped) {
  pictures = [...pictures, ...dropped];
  drawChips();
  run();
}

export function refusePicture(reason) {
  say(reason);
}

function moreLike(hit) {
  text.value = "";
  excluded = [];
  pictures = [{ id: hit.id, name: hit.name, src: thumbnailOf(hit, 160) }];
  drawChips();
  scrollTo(0, 0);
  run({ isStep: true }).then(() => grid.focus(0));
}

function exclude(word) {
  without.value = "";
  if (!excluded.includes(word)) excluded = [...excluded, word];
  drawChips();
  run();
}

function include(word) {
  excluded = excluded.filter((other) => other !== word);
  drawChips();
  without.focus();
  run();
}

function removePicture(picture) {
  pictures = pictures.filter((other) => other !== picture);
  drawChips();
  text.focus();
  run();
}

function drawChips() {
  find("excluded").replaceChildren(
    ...excluded.map((word) => chip(word, word, () => include(word))),
  );
  find("query-pictures").replaceChildren(
    ...pictures.map((picture) => chip(shown(picture), picture.name, () => removePicture(picture))),
  );
}

/** What is in the address stays in the browser: a fragment is never sent. */
function writeAddress(isStep) {
  const fields = new URLSearchParams();
  if (text.value.trim()) fields.set("text", text.value.trim());
  for (const word of excluded) fields.append("without", word);
  if (where.value.trim()) fields.set("where", where.value.trim());
  for (const { id } of pictures) if (id) fields.append("like", id);
  const asked = String(fields);
  const address = asked ? `#search?${asked}` : "#search";
  if (address === (location.hash || "#search")) return;
  if (isStep) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

function readAddress() {
  if (location.hash && !location.hash.startsWith("#search")) return;
  const fields = new URLSearchParams(location.hash.split("?")[1]);
  text.value = fields.get("text") ?? "";
  where.value = fields.get("where") ?? "";
  excluded = fields.getAll("without");
  pictures = fields
    .getAll("like")
    .map((id) => ({ id, name: "this picture", src: thumbnailOf({ id }, 160) }));
  drawChips();
  run();
}

function query() {
  return {
    text: text.value.trim() ? [text.value.trim()] : [],
    images: pictures.filter(({ uri }) => uri).map(({ uri }) => uri),
    like: pictures.filter(({ id }) => id).map(({ id }) => id),
    without: excluded,
    where: where.value.trim() || null,
  };
}

async function run({ isStep = false } = {}) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  writeAddress(isStep);
  const asked = query();
  find("search").setAttribute("aria-busy", "true");
  try {
    const isAsked = asked.text.length + asked.images.length + asked.like.length > 0;
    const [known, found] = await Promise.all([
      collection ?? get("v1/collection"),
      isAsked ? new Results(asked, signal).begin() : null,
    ]);
    if (signal.aborted) return;
    collection = known;
    if (!collection.pictures) showEmpty();
    else if (!found) showStart();
    else showHits(found.among(collection.pictures));
  } catch (error) {
    if (signal.aborted) return;
    showProblem(error);
  } finally {
    if (!signal.aborted) find("search").removeAttribute("aria-busy");
  }
}

function show(found, words, ...beneath) {
  results = found;
  grid.show(found);
  sayWhere("");
  say(words);
  beside.replaceChildren(...beneath);
}

function showHits(found) {
  if (!found.length) {
    const remove = ["Search all of them", () => ((where.value = ""), run(), where.focus())];
    show(found, "No hits", ...notice("Nothing there", `No picture has ${where.value}.`, remove));
    return;
  }
  show(found, `${described(found, where.value.trim())} · ${Math.round(found.ms)} ms`);
}

function described(found, condition) {
  const all = count(found.total, "picture");
  if (!condition && found.length < found.total)
    return `The nearest ${found.length.toLocaleString("en")} of ${all}`;
  if (!condition) return `${all}, the nearest first`;
  if (found.isWhole) return `${count(found.length, "hit")} where ${condition}`;
  return `Where ${condition}, the nearest first`;
}

function showStart() {
  show(
    null,
    `${count(collection.pictures, "picture")} in the collection “${collection.id}”`,
    ...notice(
      "Say what you are looking for",
      "Any words do: hits come as you type. Or drop or paste a picture, beside words or alone.",
    ),
    make(
      "dl",
      { className: "keys" },
      ...[
        ["/", "to the search"],
        ["↓ ↑ ← →", "through the hits"],
        ["Enter", "look at one"],
        ["M", "more like it"],
        ["Esc", "back"],
      ].map(([key, does]) =>
        make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, does)),
      ),
    ),
  );
}

function showEmpty() {
  collection = null;
  const again = ["Look again", () => run()];
  show(
    null,
    "",
    ...notice("The collection is empty", "tritonclip index PICTURES fills it.", again),
  );
}

function showProblem(error) {
  if (error.param === "where") {
    sayWhere(error.message); // what was found before stays
    return;
  }
  const again = ["Try again", () => run()];
  show(null, "", ...notice("That did not work", error.message, again));
}

function say(words) {
  status.textContent = words;
}

function sayWhere(problem) {
  whereProblem.textContent = problem;
  whereProblem.hidden = !problem;
  where.setAttribute("aria-invalid", String(Boolean(problem)));
}
