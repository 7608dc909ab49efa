/**
 * The History tab: answers that the person keeps in this browser; one lesion's photos side by side over time.
 *
 * @typedef {import('./history_store.js').Entry} Entry
 * @typedef {import('./photo_input.js').Photo} Photo
 */

import { announce, clear, connectStrength, fill, focusHeading, showError } from './answer.js';
import { openDialog } from './dialogs.js';
import { connectLaterFeedback } from './feedback.js';
import { allEntries, deleteAll, deleteEntry, onChange, putEntries } from './history_store.js';
import { groupsOf, photosOf, summaryOf } from './history_groups.js';
import { exportHistory, importHistory } from './history_transfer.js';
import { fragment, renderFragment } from './http.js';
import { askLabel, htmlOf, saveJson } from './keep.js';
import { fillFrame, placeFrame } from './lesion.js';
import { dateText } from './numbers.js';
import { release, showPhoto } from './photo_input.js';
import { printReport } from './report.js';
import { fillPhotos } from './series_answer.js';
import { isolated, template, text } from './texts.js';

/**
 * Connect the tab.
 * @param {HTMLElement} root has the HTML of templates/history_tab.html.jinja
 */
export const startHistory = (root) => {
  new HistoryTab(root);
};

/**
 * Return whether a photo can be added to the series of an entry: the page without a server has no tab for it.
 * @param {Entry} entry
 * @returns {boolean}
 */
const canResume = ({ kind }) => kind === 'progress' && document.getElementById('panel-progress') !== null;

class HistoryTab {
  /** @type {Entry[]} */
  entries = [];
  /** @type {import('./keep.js').Shown | null} */
  shown = null;
  /** @type {Entry | null} */
  open = null;
  /** @type {Photo[]} In the list. */
  photos = [];

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.status = this.#find('[data-slot="status"]');
    root.addEventListener('click', (event) => this.#onClick(event));
    root.addEventListener('change', (event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      if (input.type !== 'file' || !input.files?.length) return;
      const [file] = input.files;
      this.#try(() => importHistory(root, file));
      input.value = '';
    });
    connectStrength(root);
    onChange(() => this.#refresh());
    this.#refresh();
  }

  /** @param {Event} event */
  #onClick(event) {
    const pressed = /** @type {Element} */ (event.target).closest('button');
    if (!pressed || pressed.closest('dialog')) return;
    const { action } = pressed.dataset;
    const entry = this.entries.find(({ id }) => id === pressed.dataset.id) ?? this.open;
    if (action === 'open' && entry) this.#try(() => this.#show(entry));
    else if (action === 'delete' && entry) this.#try(() => this.#delete(entry));
    else if (action === 'delete-all') this.#try(() => this.#deleteAll());
    else if (action === 'export') this.#try(() => exportHistory(this.root, this.entries));
    else if (action === 'back') this.#close();
    else if (action === 'resume' && entry) this.root.dispatchEvent(new CustomEvent('resume-series', { bubbles: true, detail: entry }));
    else if (action === 'rename' && entry) this.#try(() => this.#rename(entry));
    else if (action === 'report' && this.shown) printReport(this.shown);
    else if (action === 'json' && this.shown) saveJson(this.shown);
  }

  /**
   * @param {() => Promise<void>} work
   */
  async #try(work) {
    clear(this.status);
    try {
      await work();
    } catch (error) {
      showError(this.status, error);
    }
  }

  async #refresh() {
    try {
      this.entries = await allEntries();
    } catch (error) {
      this.entries = [];
      if (this.root.offsetParent) showError(this.status, error);
    }
    this.photos.forEach(release);
    this.photos = [];
    this.#find('[data-slot="groups"]').replaceChildren(...groupsOf(this.entries).map((group) => this.#group(group)));
    this.#find('[data-slot="empty"]').hidden = this.entries.length > 0;
    for (const action of ['export', 'delete-all']) this.#find(`[data-action="${action}"]`).hidden = this.entries.length === 0;
  }

  /**
   * @param {import('./history_groups.js').Group} group
   * @returns {HTMLElement}
   */
  #group({ label, entries, hasSeveralModels }) {
    const card = /** @type {HTMLElement} */ (template('history-group').firstElementChild);
    fill(card, 'label', label);
    fill(card, 'count', text('history_count', { n: entries.length }));
    /** @type {HTMLElement} */ (card.querySelector('[data-several]')).hidden = entries.length < 2;
    /** @type {HTMLElement} */ (card.querySelector('[data-models]')).hidden = !hasSeveralModels;
    card.querySelector('ol')?.append(...entries.map((entry) => this.#tile(entry)));
    const newest = entries[entries.length - 1];
    const resume = /** @type {HTMLElement} */ (card.querySelector('[data-action="resume"]'));
    resume.dataset.id = newest.id;
    resume.hidden = !canResume(newest);
    return card;
  }

  /**
   * @param {Entry} entry
   * @returns {HTMLElement}
   */
  #tile(entry) {
    const tile = /** @type {HTMLElement} */ (template('history-entry').firstElementChild);
    const date = dateText(entry.createdAt);
    const { verdict, probability, tone } = summaryOf(entry);
    for (const button of tile.querySelectorAll('button')) button.dataset.id = entry.id;
    tile.classList.add(tone);
    fill(tile, 'date', date);
    fill(tile, 'verdict', verdict);
    fill(tile, 'probability', probability);
    /** @type {HTMLElement} */ (tile.querySelector('[data-action="delete"]')).ariaLabel = text('history_delete', { label: entry.label, date });
    const [photo] = photosOf({ ...entry, photos: entry.photos.slice(-1) });
    this.photos.push(photo);
    showPhoto(/** @type {HTMLImageElement} */ (tile.querySelector('img')), photo);
    return tile;
  }

  /** @param {Entry} entry */
  async #show(entry) {
    this.#forget();
    const photos = photosOf(entry);
    const rendered = await this.#rendered(entry);
    this.open = entry;
    const report = /** @type {HTMLTemplateElement | null} */ (rendered.querySelector('template[data-report]'));
    this.shown = { ...entry, photos, report };
    for (const part of rendered.querySelectorAll('[data-leave-out], [data-crop]')) part.remove(); // they need the server
    const form = /** @type {HTMLElement | null} */ (rendered.querySelector('[data-feedback]'));
    if (form) connectLaterFeedback(form, { task: entry.kind, answer: entry.answer, requestId: entry.requestId, photo: entry.kind === 'lesion' ? photos[0] : undefined });
    const frame = /** @type {HTMLElement | null} */ (rendered.querySelector('[data-part="photo"]'));
    const place = this.#find(`[data-entry="${entry.kind}"]`);
    for (const kind of ['lesion', 'progress']) this.#find(`[data-entry="${kind}"]`).hidden = kind !== entry.kind;
    fill(this.root, 'entry-title', text('history_title', { label: isolated(entry.label), date: dateText(entry.createdAt, { dateStyle: 'long', timeStyle: 'short' }) }));
    if (frame) {
      const [beside, answer] = ['photo', 'answer'].map((name) => /** @type {HTMLElement} */ (place.querySelector(`[data-slot="${name}"]`)));
      answer.replaceChildren(rendered);
      beside.hidden = placeFrame(frame, answer, beside);
      fillFrame(frame, photos[0]); // it can wait for the server
    } else {
      place.replaceChildren(rendered);
      fillPhotos(place, (index) => photos[index]);
    }
    this.#find('[data-view="entry"] [data-action="resume"]').hidden = !canResume(entry);
    this.#view('entry');
  }

  /**
   * Return the answer in the language of the page; without the server as it was rendered before.
   * @param {Entry} entry
   * @returns {Promise<DocumentFragment>}
   */
  async #rendered(entry) {
    try {
      const rendered = await renderFragment(entry.kind, entry.answer);
      const isFirst = entry.html === undefined;
      entry.html = htmlOf(rendered);
      if (isFirst) await putEntries([entry]).catch(() => {}); // it can be shown now, only not without the server
      return rendered;
    } catch (error) {
      if (entry.html === undefined) throw error;
      return fragment(entry.html);
    }
  }

  /** @param {Entry} entry */
  async #delete(entry) {
    const isSure = await openDialog(this.root, 'delete-dialog', {
      prepare: (form) => fill(form, 'what', text('history_title', { label: isolated(entry.label), date: dateText(entry.createdAt) })),
    });
    if (!isSure) return;
    await deleteEntry(entry.id);
    announce(text('history_deleted'));
    this.#close();
  }

  async #deleteAll() {
    const isSure = await openDialog(this.root, 'delete-dialog', {
      prepare: (form) => fill(form, 'what', text('history_all', { n: this.entries.length })),
    });
    if (!isSure) return;
    await deleteAll();
    announce(text('history_deleted'));
    this.#close();
  }

  /** @param {Entry} entry */
  async #rename(entry) {
    const label = await askLabel(this.root, entry.kind, entry.label, (chosen) => putEntries([{ ...entry, label: chosen }]));
    if (label !== null) await this.#show({ ...entry, label });
  }

  #close() {
    this.#forget();
    this.#view('list');
  }

  #forget() {
    this.shown?.photos.forEach(release);
    this.shown = this.open = null;
  }

  /** @param {'list' | 'entry'} name */
  #view(name) {
    for (const one of ['list', 'entry']) this.#find(`[data-view="${one}"]`).hidden = one !== name;
    focusHeading(name === 'list' ? this.root : this.#find('[data-view="entry"]'));
  }

  /**
   * @param {string} selector
   * @returns {HTMLElement}
   */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.root.querySelector(selector));
  }
}
