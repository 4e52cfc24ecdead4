// A list of any length as a grid, of which only the rows in sight exist.

import { make } from "./elements.js";

const NARROWEST = 150; // pixels of a cell
const CAPTION = 50; // below its square
const GAP = 12;
const BEYOND = 2; // rows above and below what is in sight

export class Grid {
  #cells = new Map();
  #active = 0;
  #list;
  #fill;
  #open;
  #leave;
  #results = null;
  #columns = 1;
  #side = NARROWEST;
  #waiting = false;
  #asking = 0;

  /**
   * @param list the `ul`
   * @param fill puts a hit, or undefined while it is not here yet, into a button
   * @param open told the place of a hit that is clicked
   * @param leave told when the arrows lead out at the top
   */
  constructor(list, { fill, open, leave }) {
    this.#list = list;
    this.#fill = fill;
    this.#open = open;
    this.#leave = leave;
    addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(list);
    list.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** The width of a cell's picture, in pixels. */
  get side() {
    return this.#side;
  }

  show(results) {
    this.#results = results;
    this.#active = 0;
    for (const cell of this.#cells.values()) cell.remove();
    this.#cells.clear();
    this.#list.hidden = !results?.length;
    this.#measure();
  }

  /** Puts the keyboard on the hit at a place, and the place in sight. */
  focus(place = this.#active) {
    if (!this.#results?.length) return;
    const before = this.#active;
    this.#active = Math.min(Math.max(place, 0), this.#results.length - 1);
    this.#cells.get(before)?.firstChild.setAttribute("tabindex", "-1");
    this.#draw();
    const cell = this.#cells.get(this.#active);
    cell.scrollIntoView({ block: "nearest" });
    cell.firstChild.tabIndex = 0;
    cell.firstChild.focus({ preventScroll: true });
  }

  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  #measure() {
    if (!this.#results?.length) return;
    const width = this.#list.clientWidth;
    this.#columns = Math.max(2, Math.floor((width + GAP) / (NARROWEST + GAP)));
    this.#side = (width - GAP * (this.#columns - 1)) / this.#columns;
    this.#draw();
  }

  #draw() {
    const { length } = this.#results ?? {};
    if (!length) return;
    const pitch = this.#side + CAPTION + GAP;
    this.#list.style.height = `${Math.ceil(length / this.#columns) * pitch - GAP}px`;
    const { top } = this.#list.getBoundingClientRect();
    const first = Math.max(0, Math.floor(-top / pitch) - BEYOND) * this.#columns;
    const rows = Math.ceil(innerHeight / pitch) + 2 * BEYOND;
    const last = Math.min(length, first + rows * this.#columns) - 1;

    for (const [place, cell] of this.#cells) {
      // What the keyboard is on stays, so that it isn't lost.
      if ((place < first || place > last) && place !== this.#active) {
        cell.remove();
        this.#cells.delete(place);
      }
    }
    for (let place = first; place <= last; place++) this.#place(place, pitch);
    if (this.#active < first || this.#active > last) this.#place(this.#active, pitch);
    this.#ask(first, last);
  }

  #place(place, pitch) {
    let cell = this.#cells.get(place);
    if (!cell) {
      const button = make("button", { type: "button", className: "hit" });
      button.tabIndex = place === this.#active ? 0 : -1;
      button.addEventListener("click", () => this.#open(place));
      cell = make("li", {}, button);
      cell.setAttribute("aria-posinset", place + 1);
      this.#cells.set(place, cell);
      this.#insert(cell, place);
    }
    const hit = this.#results.at(place);
    if (cell.hit !== hit || !cell.isFilled) {
      cell.hit = hit;
      cell.isFilled = true;
      cell.firstChild.replaceChildren();
      this.#fill(cell.firstChild, hit, this.#results);
    }
    const column = place % this.#columns;
    const row = Math.floor(place / this.#columns);
    cell.setAttribute("aria-setsize", this.#results.length);
    cell.style.width = `${this.#side}px`;
    cell.style.height = `${this.#side + CAPTION}px`;
    cell.style.transform = `translate(${column * (this.#side + GAP)}px, ${row * pitch}px)`;
  }

  /** Keeps the order of the document, which screen readers follow. */
  #insert(cell, place) {
    let next = null;
    let nearest = Infinity;
    for (const [other, element] of this.#cells) {
      if (other > place && other < nearest) [nearest, next] = [other, element];
    }
    this.#list.insertBefore(cell, next);
  }

  #ask(first, last) {
    clearTimeout(this.#asking);
    const results = this.#results;
    // Not while scrolling past.
    this.#asking = setTimeout(async () => {
      const isNew = await results.need(first, last).catch(() => false);
      if (isNew && results === this.#results) this.#draw();
    }, 60);
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = this.#columns * Math.max(1, Math.floor(innerHeight / (this.#side + CAPTION)) - 1);
    const steps = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: this.#columns,
      ArrowUp: -this.#columns,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    if (event.key === "ArrowUp" && this.#active < this.#columns) this.#leave();
    else this.focus(this.#active + step);
  }
}
