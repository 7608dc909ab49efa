/**
 * Dates, order and use of the photos of a series: templates/progress_arrange.html.jinja.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./series.js').Item} Item
 */

import { announce, fill } from './answer.js';
import { connectDragOrder } from './drag_order.js';
import { showPhoto } from './photo_input.js';
import { dayOf, isAgainstDates, move, withDay } from './series.js';
import { template, text } from './texts.js';

/** The list of photos with a date, two buttons and a handle for the order and a switch for each. */
export class ArrangeForm {
  /**
   * @param {HTMLElement} root `[data-view="arrange"]`
   * @param {{photoOf: (id: number) => Photo, onDates: (pressed: HTMLButtonElement) => void, onOrder: (pressed: HTMLButtonElement) => void, onBack: () => void}} options
   *   onDates, onOrder: the person wants a comparison by the dates, or in the order of the list.
   */
  constructor(root, { photoOf, onDates, onOrder, onBack }) {
    this.root = root;
    this.photoOf = photoOf;
    /** @type {Item[]} */
    this.items = [];
    /** @type {Map<number, HTMLElement>} */
    this.rows = new Map();
    this.list = /** @type {HTMLElement} */ (root.querySelector('.arrange-list'));
    this.keepOrder = /** @type {HTMLButtonElement} */ (root.querySelector('[data-action="keep-order"]'));
    root.querySelector('form')?.addEventListener('submit', (event) => {
      event.preventDefault();
      onDates(/** @type {HTMLButtonElement} */ (root.querySelector('[type="submit"]')));
    });
    this.keepOrder.addEventListener('click', () => onOrder(this.keepOrder));
    root.querySelector('[data-action="back"]')?.addEventListener('click', onBack);
    this.list.addEventListener('click', (event) => this.#onClick(event));
    this.list.addEventListener('change', (event) => this.#onChange(event));
    connectDragOrder(this.list, {
      handle: '[data-drag]',
      canMove: (row) => !row.classList.contains('left-out'),
      onMove: (from, to) => this.#move(from, to),
    });
  }

  /**
   * Fill the form.
   * @param {Item[]} items
   */
  fill(items) {
    this.rows.clear();
    this.list.replaceChildren();
    this.#set(items);
  }

  /**
   * Show the items; those that are left out come last.
   * @param {Item[]} items
   */
  #set(items) {
    const used = items.filter(({ isLeftOut }) => !isLeftOut);
    this.items = [...used, ...items.filter(({ isLeftOut }) => isLeftOut)];
    const rows = this.items.map((item, index) => this.#updated(item, index, used.length));
    if (rows.some((row, index) => row !== this.list.children[index])) this.list.replaceChildren(...rows);
    const n = used.filter(({ takenAt }) => takenAt === null).length;
    const isWrong = isAgainstDates(used);
    fill(this.root, 'arrange-text', n ? text('arrange_missing', { n, total: used.length }) : text('arrange_known'));
    /** @type {HTMLElement} */ (this.root.querySelector('[data-contradiction]')).hidden = !isWrong;
    this.keepOrder.hidden = n === 0 && !isWrong;
  }

  /**
   * @param {number} id
   * @returns {HTMLElement}
   */
  #row(id) {
    const known = this.rows.get(id);
    if (known) return known;
    const row = /** @type {HTMLElement} */ (template('arrange-photo').firstElementChild);
    row.dataset.id = String(id);
    /** @type {HTMLInputElement} */ (row.querySelector('[type="date"]')).max = today();
    this.rows.set(id, row);
    const image = /** @type {HTMLImageElement} */ (row.querySelector('img'));
    showPhoto(image, this.photoOf(id)).then((size) => { image.hidden = !size; });
    return row;
  }

  /**
   * @param {Item} item
   * @param {number} index
   * @param {number} numUsed
   * @returns {HTMLElement} its row
   */
  #updated(item, index, numUsed) {
    const row = this.#row(item.id);
    const number = item.isLeftOut ? this.photoOf(item.id).name : index + 1;
    const date = /** @type {HTMLInputElement} */ (row.querySelector('[type="date"]'));
    const leaveOut = /** @type {HTMLInputElement} */ (row.querySelector('[data-leave-out]'));
    fill(row, 'name', item.isLeftOut ? String(number) : text('photo_number', { number }));
    fill(row, 'state', item.isLeftOut ? text('left_out') : item.takenAt === null ? text('date_missing') : '');
    row.classList.toggle('left-out', item.isLeftOut);
    date.hidden = item.isLeftOut;
    date.required = !item.isLeftOut;
    date.ariaLabel = text('date_of_photo', { number });
    if (date.value !== dayOf(item)) date.value = dayOf(item);
    leaveOut.checked = item.isLeftOut;
    leaveOut.ariaLabel = text('leave_out_photo', { number });
    for (const [step, label, isPossible] of /** @type {[string, string, boolean][]} */ ([
      ['-1', 'move_earlier', index > 0],
      ['1', 'move_later', index < numUsed - 1],
    ])) {
      const button = /** @type {HTMLElement} */ (row.querySelector(`[data-move="${step}"]`));
      button.ariaLabel = text(label, { number });
      button.hidden = item.isLeftOut;
      button.setAttribute('aria-disabled', String(!isPossible));
    }
    /** @type {HTMLElement} */ (row.querySelector('.drag-handle')).hidden = item.isLeftOut || numUsed < 2;
    return row;
  }

  /** @param {Event} event */
  #onClick(event) {
    const button = /** @type {Element} */ (event.target).closest('[data-move]');
    if (!(button instanceof HTMLElement) || button.ariaDisabled === 'true') return;
    const from = this.#indexOf(button);
    this.#move(from, from + Number(button.dataset.move));
    button.focus(); // a moved element loses it
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #move(from, to) {
    this.#set(move(this.items, from, to));
    announce(text('moved', { number: to + 1, total: this.items.filter(({ isLeftOut }) => !isLeftOut).length }));
  }

  /** @param {Event} event */
  #onChange(event) {
    const input = /** @type {HTMLInputElement} */ (event.target);
    const at = this.#indexOf(input);
    if (input.type === 'date' && input.validity.badInput) return;
    const changed = (/** @type {Item} */ item) =>
      input.type === 'date' ? withDay(item, input.value) : { ...item, isLeftOut: input.checked };
    this.#set(this.items.map((item, index) => (index === at ? changed(item) : item)));
    if (document.activeElement !== input) input.focus({ preventScroll: true }); // a moved element loses it
  }

  /**
   * @param {Element} element
   * @returns {number}
   */
  #indexOf(element) {
    const id = Number(/** @type {HTMLElement} */ (element.closest('li')).dataset.id);
    return this.items.findIndex((item) => item.id === id);
  }
}

/** @returns {string} the local date, `2026-03-09` */
function today() {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}
