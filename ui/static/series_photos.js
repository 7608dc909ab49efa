/**
 * The photos of the Progress tab with their dates, order and faults.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./series.js').Item} Item
 * @typedef {import('./series.js').Problem} Problem
 * @typedef {import('./series.js').Limits} Limits
 */

import { release } from './photo_input.js';
import { findProblem, keptItems, withPhotos } from './series.js';

/** Photos in this browser; removing one frees its memory. */
export class SeriesPhotos {
  constructor() {
    /** @type {Map<number, Photo>} */
    this.photos = new Map();
    /** @type {Item[]} */
    this.items = [];
    /** @type {Map<number, string>} What is wrong with a photo, in words. */
    this.faults = new Map();
    this.isExample = false;
    /** Name of the face in the history; empty: it has none yet. */
    this.label = '';
  }

  /** Items that are not left out. */
  get used() {
    return this.items.filter(({ isLeftOut }) => !isLeftOut);
  }

  /**
   * @param {number} id
   * @returns {Photo}
   */
  photoOf = (id) => /** @type {Photo} */ (this.photos.get(id));

  /**
   * Add photos at the end; own photos take the place of an example, and an example that of all photos.
   * @param {Photo[]} photos
   * @param {{isExample?: boolean}} [options]
   */
  add(photos, { isExample = false } = {}) {
    if (this.isExample || isExample) this.removeAll();
    this.isExample = isExample;
    photos.forEach((photo) => this.photos.set(photo.id, photo));
    this.#update();
  }

  /**
   * Let the photos of a kept answer, with its dates and order, take the place of all photos.
   * @param {Photo[]} photos in the order of the request
   * @param {{answer: any, label: string}} entry of the history
   */
  resume(photos, { answer, label }) {
    this.removeAll();
    photos.forEach((photo) => this.photos.set(photo.id, photo));
    this.items = keptItems(photos.map(({ id }) => id), answer);
    this.label = label;
  }

  /** @param {number} id */
  remove(id) {
    release(this.photoOf(id));
    this.photos.delete(id);
    this.faults.delete(id);
    this.#update();
  }

  removeAll() {
    [...this.photos.keys()].forEach((id) => this.remove(id));
    this.isExample = false;
  }

  #update() {
    this.items = withPhotos(this.items, [...this.photos.keys()]);
    if (!this.items.length) this.label = '';
  }

  /**
   * @param {number[]} ids
   * @param {boolean} isLeftOut
   */
  setLeftOut(ids, isLeftOut) {
    this.items = this.items.map((item) => (ids.includes(item.id) ? { ...item, isLeftOut } : item));
  }

  /**
   * Return why the API would reject the photos, or null.
   * @param {Limits} limits
   * @returns {Problem | null}
   */
  problem(limits) {
    return findProblem(
      this.used.map(({ id }) => ({ id, bytes: this.photoOf(id).file.size, isUnreadable: this.faults.has(id) })),
      limits,
    );
  }

  /** Size of all used photos in bytes. */
  get bytes() {
    return this.used.reduce((sum, { id }) => sum + this.photoOf(id).file.size, 0);
  }
}
