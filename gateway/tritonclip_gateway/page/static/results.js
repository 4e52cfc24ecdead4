// What a search found: as many hits as there are, fetched where they are looked at.

import { post } from "./api.js";

const PAGE = 100;
// As far as the API goes.
const MOST = 10_000;

export class Results {
  #pages = new Map(); // hits, of those that are here
  #fetches = new Map();
  #query;
  #signal;

  /**
   * @param query the body of a search, without `top` and `offset`
   * @param signal ends it, when another search has begun
   */
  constructor(query, signal) {
    this.#query = query;
    this.#signal = signal;
    // Where a filter leaves few, or videos make more than there are files, is only known at the
    // end; until then there is a page more.
    this.length = PAGE;
    this.isWhole = false;
  }

  /** Takes in how many pictures there are, which takes as long to count as to search. */
  among(total) {
    this.total = total;
    if (!this.#query.where && !this.isWhole)
      this.length = Math.max(this.length, Math.min(total, MOST));
    return this;
  }

  /** Fetches the first page, after which `best` is known. */
  async begin() {
    const began = performance.now();
    await this.need(0, 0);
    this.ms = performance.now() - began;
    this.best = this.at(0)?.score ?? 0;
    return this;
  }

  /** The hit at a place, if it is here already. */
  at(place) {
    return this.#pages.get(Math.floor(place / PAGE))?.[place % PAGE];
  }

  /** Fetches the hits from `first` to `last`; true if any of them is new. */
  async need(first, last) {
    let isNew = false;
    const wanted = [];
    for (let page = Math.floor(first / PAGE); page * PAGE <= last; page++) {
      if (!this.#fetches.has(page)) {
        this.#fetches.set(page, this.#fetch(page));
        isNew = true;
      }
      wanted.push(this.#fetches.get(page));
    }
    await Promise.all(wanted);
    return isNew;
  }

  async #fetch(page) {
    const offset = page * PAGE;
    const top = Math.min(PAGE, MOST - offset);
    try {
      const { data } = await post("v1/search", { ...this.#query, top, offset }, this.#signal);
      this.#pages.set(page, data);
      const end = offset + data.length;
      if (data.length < top) this.length = Math.min(this.length, end);
      else this.length = Math.max(this.length, Math.min(end + PAGE, MOST));
      this.isWhole ||= data.length < top;
    } catch (error) {
      this.#fetches.delete(page); // may be tried again
      throw error;
    }
  }
}
