/**
 * The photos of a series before the comparison, as tiles: `<template id="series-tile">`.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./series.js').Item} Item
 */

import { fill } from './answer.js';
import { showPhoto } from './photo_input.js';
import { template, text } from './texts.js';

/** Shows each photo with its number, what is wrong with it, and buttons. */
export class SeriesTiles {
  /**
   * @param {HTMLElement} list `.series-tiles`
   * @param {{photoOf: (id: number) => Photo, onRemove: (id: number) => void, onUse: (id: number) => void, onUnreadable: (id: number) => void}} options
   *   onUse: a photo that was left out is used again. onUnreadable: neither browser nor server can decode the file.
   */
  constructor(list, { photoOf, onRemove, onUse, onUnreadable }) {
    this.list = list;
    this.photoOf = photoOf;
    this.onUnreadable = onUnreadable;
    /** @type {Map<number, HTMLElement>} */
    this.tiles = new Map();
    list.addEventListener('click', (event) => {
      const button = /** @type {Element} */ (event.target).closest('button');
      if (!button) return;
      const id = Number(/** @type {HTMLElement} */ (button.closest('li')).dataset.id);
      if ('use' in button.dataset) onUse(id);
      else onRemove(id);
    });
  }

  /**
   * Show the photos in their order.
   * @param {Item[]} items
   * @param {Map<number, string>} faults what is wrong with a photo, by its id
   */
  update(items, faults) {
    for (const id of this.tiles.keys()) if (!items.some((item) => item.id === id)) this.tiles.delete(id);
    let number = 0;
    const tiles = items.map((item) => {
      const tile = this.#tile(item.id);
      if (!item.isLeftOut) number += 1;
      this.#update(tile, item, number, faults.get(item.id) ?? '');
      return tile;
    });
    if (tiles.length !== this.list.childElementCount || tiles.some((tile, index) => tile !== this.list.children[index])) {
      this.list.replaceChildren(...tiles);
    }
    this.list.hidden = tiles.length === 0;
  }

  /**
   * Focus the Remove button of a tile, or that of the last one.
   * @param {number} index
   */
  focus(index) {
    const tile = this.list.children[Math.min(index, this.list.childElementCount - 1)];
    /** @type {HTMLElement | null} */ (tile?.querySelector('[data-remove]'))?.focus();
  }

  /**
   * @param {number} id
   * @returns {HTMLElement}
   */
  #tile(id) {
    const known = this.tiles.get(id);
    if (known) return known;
    const tile = /** @type {HTMLElement} */ (template('series-tile').firstElementChild);
    tile.dataset.id = String(id);
    tile.classList.add('loading');
    this.tiles.set(id, tile);
    const image = /** @type {HTMLImageElement} */ (tile.querySelector('img'));
    showPhoto(image, this.photoOf(id)).then((size) => {
      tile.classList.remove('loading');
      tile.classList.toggle('not-shown', !size);
      image.hidden = !size;
      if (size === null) this.onUnreadable(id);
      else if (size === undefined && this.tiles.has(id)) this.#note(tile, text('tile_not_shown'));
    });
    return tile;
  }

  /**
   * @param {HTMLElement} tile
   * @param {Item} item
   * @param {number} number
   * @param {string} fault
   */
  #update(tile, item, number, fault) {
    const called = item.isLeftOut ? this.photoOf(item.id).name : number; // photos that are left out have no number
    /** @type {HTMLImageElement} */ (tile.querySelector('img')).alt = text('photo_number', { number: called });
    tile.classList.toggle('left-out', item.isLeftOut);
    tile.classList.toggle('faulty', fault !== '');
    if (item.isLeftOut) this.#note(tile, [text('left_out'), fault].filter(Boolean).join('. '));
    else if (fault || !tile.classList.contains('not-shown')) this.#note(tile, fault);
    const use = /** @type {HTMLElement} */ (tile.querySelector('[data-use]'));
    use.hidden = !item.isLeftOut || fault !== '';
    use.ariaLabel = text('use_photo', { number: called });
    /** @type {HTMLElement} */ (tile.querySelector('[data-remove]')).ariaLabel = text('remove_photo', { number: called });
  }

  /**
   * @param {HTMLElement} tile
   * @param {string} note
   */
  #note(tile, note) {
    fill(tile, 'note', note);
    /** @type {HTMLElement} */ (tile.querySelector('[data-slot="note"]')).hidden = !note;
  }
}
