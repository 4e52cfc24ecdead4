// Zero-shot: how probable each of some labels is for a picture.

import { get, post } from "./api.js";
import { bar, find, make, settled } from "./elements.js";
import { percent } from "./quantities.js";

const labels = find("labels");
const templates = find("templates");
const model = find("model");
const status = find("zero-shot-status");
const shown = find("zero-shot-picture");
const probabilities = find("probabilities");

let picture = null;
let running = null;
let models = null;

export function beginZeroShot() {
  labels.addEventListener("input", settled(run, 250));
  templates.addEventListener("change", run);
  model.addEventListener("change", run);
}

/** Called when it comes to the front. */
export async function showZeroShot() {
  if (models) return;
  try {
    models = (await get("v1/models")).data;
  } catch (error) {
    status.textContent = error.message;
    return;
  }
  model.replaceChildren(
    make("option", { value: "" }, "the gateway’s default"),
    ...models.map(({ id }) => make("option", { value: id }, id)),
  );
  find("model-field").hidden = models.length < 2;
  run();
}

export function takePicture([taken]) {
  picture = taken;
  shown.src = taken.uri;
  shown.alt = taken.name;
  shown.hidden = false;
  run();
}

export function refusePicture(reason) {
  status.textContent = reason;
}

async function run() {
  running?.abort();
  const asked = [
    ...new Set(
      labels.value
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean),
    ),
  ];
  if (!picture || !asked.length) {
    status.textContent = picture
      ? "Write a label or two."
      : "Drop a picture to see how probable each label is.";
    probabilities.replaceChildren();
    return;
  }
  running = new AbortController();
  const { signal } = running;
  try {
    const body = {
      images: [picture.uri],
      labels: asked,
      templates: templates.value,
      top: asked.length,
      model: model.value || null,
    };
    const answer = await post("v1/classify", body, signal);
    const { similarity } = models?.find(({ root }) => root === answer.model) ?? {};
    status.textContent =
      similarity === "sigmoid"
        ? `${answer.model}: each label for itself, as it was trained with a sigmoid`
        : `${answer.model}: one of these labels, they add up to 100 %`;
    probabilities.replaceChildren(
      ...answer.data[0].labels.map(({ label, probability }) =>
        make(
          "li",
          {},
          make("span", { className: "name" }, label),
          make("span", { className: "value" }, percent(probability)),
          bar(probability),
        ),
      ),
    );
  } catch (error) {
    if (!signal.aborted) status.textContent = error.message;
  }
}
