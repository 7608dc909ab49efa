/**
 * The earlier answers of this visit, newest first; each can be opened again. Nothing is stored.
 *
 * @typedef {object} Entry An answer with its photo.
 * @property {import('./photo_input.js').Photo} photo
 * @property {boolean} isExample
 * @property {boolean} isKept in the history
 * @property {number[]} [box] of the lesion, chosen by the person
 * @property {any} answer JSON of the API
 * @property {HTMLElement} frame the photo
 * @property {HTMLElement} card the verdict
 * @property {Size | null} size of the photo; null until it is drawn
 *
 * @typedef {import('./crop.js').Size} Size
 */

import { showPhoto } from './photo_input.js';

export class EarlierAnswers {
  /** @type {Entry[]} */
  entries = [];

  /**
   * @param {HTMLElement} root `[data-slot="earlier"]`: templates/lesion_tab.html.jinja
   * @param {{onOpen: (entry: Entry) => void, onClear: (entries: Entry[]) => void}} options onOpen: the entry is no
   *   longer in the list. onClear: gets the entries that were in it.
   */
  constructor(root, { onOpen, onClear }) {
    this.root = root;
    this.onOpen = onOpen;
    root.querySelector('[data-clear]')?.addEventListener('click', () => onClear(this.#clear()));
  }

  /** @param {Entry} entry */
  add(entry) {
    this.entries.unshift(entry);
    const item = /** @type {HTMLTemplateElement} */ (this.root.querySelector('template')).content.cloneNode(true);
    const fragment = /** @type {DocumentFragment} */ (item);
    const fill = (/** @type {string} */ name, /** @type {string} */ value) => {
      /** @type {HTMLElement} */ (fragment.querySelector(`[data-slot="${name}"]`)).textContent = value;
    };
    fill('title', textOf(entry.card, '.verdict h3'));
    fill('text', textOf(entry.card, '.verdict-head p'));
    fill('name', entry.photo.name);
    showPhoto(/** @type {HTMLImageElement} */ (fragment.querySelector('img')), entry.photo);
    fragment.querySelector('button')?.addEventListener('click', () => {
      this.#remove(entry);
      this.onOpen(entry);
    });
    this.#list().prepend(fragment);
    this.root.hidden = false;
  }

  /** @param {Entry} entry */
  #remove(entry) {
    const index = this.entries.indexOf(entry);
    this.entries.splice(index, 1);
    this.#list().children[index].remove();
    this.root.hidden = this.entries.length === 0;
  }

  /** @returns {Entry[]} the entries that were in the list */
  #clear() {
    const removed = this.entries;
    this.entries = [];
    this.#list().replaceChildren();
    this.root.hidden = true;
    return removed;
  }

  /** @returns {HTMLElement} */
  #list() {
    return /** @type {HTMLElement} */ (this.root.querySelector('ol'));
  }
}

/**
 * @param {HTMLElement} card
 * @param {string} selector
 * @returns {string}
 */
const textOf = (card, selector) => (card.querySelector(selector)?.textContent ?? '').trim().replace(/\s+/g, ' ');
