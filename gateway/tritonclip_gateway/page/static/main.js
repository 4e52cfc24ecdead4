// The page: its panels, the keys that work everywhere, and the key of the API.

import { keepKey, onKeyNeeded } from "./api.js";
import { find } from "./elements.js";
import { receive } from "./pictures.js";
import * as policy from "./policy.js";
import * as search from "./search.js";
import * as zeroShot from "./zero_shot.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const panelOf = (tab) => tab.getAttribute("aria-controls");
const selected = () => tabs.find((tab) => tab.ariaSelected === "true");

function select(tab) {
  for (const other of tabs) {
    const isIt = other === tab;
    other.ariaSelected = String(isIt);
    other.tabIndex = isIt ? 0 : -1;
    find(panelOf(other)).hidden = !isIt;
  }
  document.title = `${tab.textContent} · TritonCLIP`;
  if (tab.id === "tab-zero-shot") zeroShot.showZeroShot();
  if (tab.id === "tab-policy") policy.showPolicy();
}

/** A panel that the user goes to is a step in the history. */
function go(tab) {
  if (tab === selected()) return;
  history.pushState(null, "", `#${panelOf(tab)}`);
  select(tab);
  if (tab.id === "tab-search") search.showSearch();
}

const fromAddress = () =>
  select(tabs.find((tab) => location.hash.startsWith(`#${panelOf(tab)}`)) ?? tabs[0]);

for (const tab of tabs) tab.addEventListener("click", () => go(tab));
find("tab-search").parentElement.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs[(tabs.indexOf(selected()) + step + tabs.length) % tabs.length];
  go(next);
  next.focus();
});

addEventListener("keydown", (event) => {
  const isWriting = event.target.matches("input, textarea, select");
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.key !== "/" || isWriting || !isPlain || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  go(find("tab-search"));
  find("text").focus();
  find("text").select();
});

let asking = null;
onKeyNeeded((isWrong) => {
  find("key-title").textContent = isWrong
    ? "That key is not valid here"
    : "This gateway asks for a key";
  asking ??= new Promise((resolve) => {
    const dialog = find("key");
    dialog.addEventListener(
      "close",
      () => {
        const key = find("key-value").value.trim();
        find("key-value").value = "";
        if (key) keepKey(key);
        asking = null;
        resolve(Boolean(key));
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
});

receive(
  {
    search: { input: find("query-file"), take: search.takePictures, refuse: search.refusePicture },
    "zero-shot": {
      input: find("zero-shot-file"),
      take: zeroShot.takePicture,
      refuse: zeroShot.refusePicture,
    },
    policy: { input: find("policy-file"), take: policy.takePictures, refuse: policy.refusePicture },
  },
  () => panelOf(selected()),
);
addEventListener("popstate", fromAddress);
zeroShot.beginZeroShot();
search.beginSearch();
fromAddress();
