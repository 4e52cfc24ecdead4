// Decisions of the gateway's policy on pictures, with what they follow from.

import { post } from "./api.js";
import { bar, find, make } from "./elements.js";
import { shown } from "./pictures.js";
import { percent } from "./quantities.js";

const status = find("policy-status");
const decisions = find("decisions");

/** Called when it comes to the front. */
export function showPolicy() {
  if (!decisions.children.length && !status.textContent)
    say("Drop pictures to see what the policy decides.");
}

export async function takePictures(pictures) {
  say(`Deciding on ${pictures.length === 1 ? pictures[0].name : `${pictures.length} pictures`} …`);
  // One by one, so that a broken picture costs only itself.
  for (const picture of pictures) {
    try {
      const { model, results } = await post("v1/moderations", { input: [picture.uri] });
      decisions.prepend(decided(picture, results[0]));
      say(`Decided with ${model}, the last one first.`);
    } catch (error) {
      say(`${picture.name}: ${error.message}`);
      if (error.code === "no_policy") return;
    }
  }
}

export function refusePicture(reason) {
  say(reason);
}

function decided(picture, { decision, rule, labels, evidence }) {
  const from = evidence.find((one) => one.rule === rule);
  const because = from?.prompt ? `${rule}: “${from.prompt}”` : (rule ?? "no rule applies");
  return make(
    "li",
    {},
    shown(picture),
    make(
      "div",
      {},
      make("p", {}, make("span", { className: `decision ${decision}` }, decision), ` — ${because}`),
      make("p", { className: "value" }, [picture.name, ...labels].join(" · ")),
      make("ul", { className: "bars" }, ...evidence.map(weighed)),
    ),
  );
}

/** What one rule made of it: a probability, or the score of a head that gives none. */
function weighed({ rule, action, applies, prompt, score, probability, margin }) {
  const value = probability === null ? score.toFixed(3) : percent(probability);
  const sign = margin < 0 ? "−" : "+";
  const title = `${prompt ?? "a head"}; ${sign}${Math.abs(margin).toFixed(2)} from the threshold`;
  return make(
    "li",
    { title, className: applies ? "applies" : "" },
    make("span", { className: "name" }, `${applies ? "✓ " : ""}${rule} → ${action}`),
    make("span", { className: "value" }, value),
    bar(probability ?? 0),
  );
}

function say(words) {
  status.textContent = words;
}
