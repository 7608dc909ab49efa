/**
 * Say before a comparison which photos are dark, bright, blurred or small.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./series.js').Item} Item
 * @typedef {import('./photo_hints.js').Hint} Hint
 */

import { lookAtFile } from './photo_hints.js';
import { text } from './texts.js';

/** Looks at one photo after the other, so that only one is decoded at a time. */
export class SeriesHints {
  /**
   * @param {HTMLElement} list
   * @param {(id: number) => Photo} photoOf
   */
  constructor(list, photoOf) {
    this.list = list;
    this.photoOf = photoOf;
    /** @type {Map<number, Hint | null>} by the id of a photo */
    this.hints = new Map();
    /** @type {Item[]} */
    this.items = [];
    this.isLooking = false;
  }

  /**
   * Show the hints of the photos that are used.
   * @param {Item[]} items
   * @param {boolean} isExample such photos get no hint
   */
  update(items, isExample) {
    this.items = isExample ? [] : items;
    for (const id of this.hints.keys()) if (!items.some((item) => item.id === id)) this.hints.delete(id);
    this.#show();
    this.#look();
  }

  async #look() {
    if (this.isLooking) return;
    this.isLooking = true;
    for (let next = this.#nextId(); next !== undefined; next = this.#nextId()) {
      this.hints.set(next, null);
      const hint = await lookAtFile(this.photoOf(next).file, { isLesion: false });
      if (this.hints.has(next)) this.hints.set(next, hint);
      this.#show();
    }
    this.isLooking = false;
  }

  /** @returns {number | undefined} */
  #nextId() {
    return this.items.find(({ id }) => !this.hints.has(id))?.id;
  }

  /** One line for each kind, with the numbers of the tiles. */
  #show() {
    /** @type {Map<Hint, number[]>} */
    const numbers = new Map();
    this.items.filter(({ isLeftOut }) => !isLeftOut).forEach(({ id }, index) => {
      const hint = this.hints.get(id);
      if (hint) numbers.set(hint, [...(numbers.get(hint) ?? []), index + 1]);
    });
    const lines = [...numbers].map(([hint, of]) => {
      const line = document.createElement('li');
      const photos = of.map((number) => text('photo_number', { number })).join(', ');
      line.append(Object.assign(document.createElement('b'), { textContent: `${photos}: ` }), text(`look_${hint}`));
      return line;
    });
    this.list.replaceChildren(...lines);
    this.list.hidden = !lines.length;
  }
}
