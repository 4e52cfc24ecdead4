// Pictures that people bring: dropped, pasted or chosen.

import { find, make } from "./elements.js";

/** A file of a picture as the API takes it. */
function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve({ name: file.name || "picture", uri: reader.result });
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** The picture itself, to look at. */
export const shown = (picture) => make("img", { src: picture.src ?? picture.uri, alt: "" });

/**
 * Hands pictures that are dropped, pasted or chosen to what is in front.
 *
 * @param takers by panel: `{ input, take, refuse }`; `take` gets the pictures, `refuse` a reason
 * @param current the id of the panel in front
 */
export function receive(takers, current) {
  const hand = async (files, { take, refuse }) => {
    const pictures = files.filter((file) => file.type.startsWith("image/"));
    if (pictures.length) take(await Promise.all(pictures.map(read)));
    else refuse("That is no picture. Drop, paste or choose an image file.");
  };
  for (const taker of Object.values(takers)) {
    taker.input.addEventListener("change", () => {
      hand([...taker.input.files], taker);
      taker.input.value = "";
    });
  }
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return; // text goes where it was pasted
    event.preventDefault();
    hand(files, takers[current()]);
  });

  const dropping = find("dropping");
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    dropping.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) dropping.hidden = true;
  });
  addEventListener("drop", (event) => {
    dropping.hidden = true;
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    hand([...event.dataTransfer.files], takers[current()]);
  });
}
