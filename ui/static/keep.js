/**
 * Save the answer that is shown: as a report, as JSON, or in the history of this browser.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 *
 * @typedef {object} Shown An answer on the page.
 * @property {'lesion' | 'progress'} kind
 * @property {any} answer of the API
 * @property {Photo[]} photos in the order of the request
 * @property {string} [requestId] X-Request-ID of the answer
 * @property {string} createdAt ISO 8601 time of the answer
 * @property {HTMLTemplateElement | null} [report] of the rendered answer
 * @property {string} [label] in the history, of this answer or of the series that it continues
 * @property {string} [fileName] of the photo of a lesion that the person has just added
 */

import { announce } from './answer.js';
import { field, openDialog } from './dialogs.js';
import { isRequestId } from './history_file.js';
import { allEntries, newId, putEntries } from './history_store.js';
import { renderFragment } from './http.js';
import { printReport } from './report.js';
import { isolated, template, text } from './texts.js';

/**
 * Offer to save an answer, below its verdict. An answer without a report, on a photo that is not usable, says nothing to
 * print or to keep: it is offered as JSON only.
 * @param {HTMLElement} root has the answer
 * @param {Shown} shown
 * @param {((label: string) => void) | null} onKept the answer is in the history; null for drawings, which are not kept
 */
export function offerKeeping(root, shown, onKept) {
  const report = /** @type {HTMLTemplateElement | null} */ (root.querySelector('template[data-report]'));
  const row = /** @type {HTMLElement} */ (template('keep-actions').firstElementChild);
  root.querySelector('.answer > .verdict, .answer > .answer-columns')?.after(row);
  const [print, json, keep] = ['report', 'json', 'keep'].map((name) => /** @type {HTMLButtonElement} */ (row.querySelector(`[data-action="${name}"]`)));
  json.addEventListener('click', () => saveJson(shown));
  print.addEventListener('click', () => printReport({ ...shown, report }));
  if (!report) print.remove();
  if (!report || !onKept) return keep.remove();
  keep.addEventListener('click', async () => {
    const host = /** @type {HTMLElement} */ (row.closest('.skin'));
    const label = await askLabel(host, shown.kind, shown.label ?? '', async (chosen) => putEntries([await entryOf(shown, chosen)]));
    if (label === null) return;
    shown.label = label;
    onKept(label);
    const link = Object.assign(document.createElement('a'), { href: '#history', className: 'button', textContent: text('kept', { label: isolated(label) }) });
    keep.replaceWith(link);
    link.focus();
    announce(text('kept', { label: isolated(label) }));
  });
}

/**
 * Let the person name a lesion or a face.
 * @param {HTMLElement} host
 * @param {'lesion' | 'progress'} kind
 * @param {string} current name
 * @param {(label: string) => Promise<void>} save throws an error with a message for people
 * @returns {Promise<string | null>} null if the person cancels
 */
export async function askLabel(host, kind, current, save) {
  const entries = await allEntries().catch(() => []); // saving tells what is wrong
  const names = [...new Set(entries.filter((entry) => entry.kind === kind).map(({ label }) => label))];
  let label = '';
  const isDone = await openDialog(host, 'keep-dialog', {
    prepare: (form) => {
      field(form, 'label').value = current;
      field(form, 'label').placeholder = text(`label_${kind}`);
      form.querySelector('datalist')?.append(...names.map((value) => Object.assign(document.createElement('option'), { value })));
    },
    submit: async (form) => {
      label = field(form, 'label').value.trim();
      if (!label) throw new Error(text('label_missing'));
      await save(label);
    },
  });
  return isDone ? label : null;
}

/**
 * Save the answer of the API in a file, exactly as programs get it.
 * @param {Shown} shown
 */
export function saveJson({ kind, answer, createdAt }) {
  const json = new Blob([`${JSON.stringify(answer, null, 2)}\n`], { type: 'application/json' });
  download(json, `skinserve-${kind}-${createdAt.slice(0, 10)}.json`);
}

/**
 * @param {Blob} content
 * @param {string} name
 */
export function download(content, name) {
  const url = URL.createObjectURL(content);
  const link = Object.assign(document.createElement('a'), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * Return an answer as the server renders it, for later without the server.
 * @param {DocumentFragment} rendered
 * @returns {string}
 */
export function htmlOf(rendered) {
  const copy = document.createElement('div');
  copy.append(rendered.cloneNode(true));
  return copy.innerHTML;
}

/**
 * @param {Shown} shown
 * @param {string} label
 * @returns {Promise<import('./history_store.js').Entry>}
 */
async function entryOf({ kind, answer, photos, createdAt, requestId }, label) {
  const html = await renderFragment(kind, answer).then(htmlOf, () => undefined);
  return {
    ...{ id: newId(), kind, label, createdAt, answer, html },
    ...(isRequestId(requestId) ? { requestId } : {}), // a proxy can remove or double it
    photos: photos.map(({ file }) => file.slice(0, file.size, file.type)), // without its name, which can identify a person
  };
}
