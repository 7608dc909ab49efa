/** "For programs": the request behind an answer as curl, Python and JavaScript. */

import { connectCopyButtons } from './clipboard.js';
import { settings } from './http.js';
import { template } from './texts.js';

/**
 * Return a card with the request.
 * @param {{path: string, field: 'file' | 'files', numPhotos: number, takenAt?: string[]}} sent path: below /v1/, with
 *   its query; takenAt: times that were sent with the photos
 * @returns {DocumentFragment}
 */
export function programsCard({ path, field, numPhotos, takenAt = [] }) {
  const content = template('programs-card');
  const files = field === 'file' ? ['lesion.jpg'] : Array.from({ length: numPhotos }, (_, index) => `photo-${index + 1}.jpg`);
  /** @type {Record<string, string>} */
  const values = {
    url: new URL(`../v1/${path}`, document.baseURI).href,
    field,
    files: list(files),
    times: list(takenAt),
    parts: [...files.map((file) => `-F ${field}=@${file}`), ...takenAt.map((time) => `-F taken_at=${time}`)].join(' \\\n  '),
    seconds: String(Number(settings().deadlineS)),
  };
  if (!takenAt.length) content.querySelectorAll('[data-of-times]').forEach((line) => line.remove());
  for (const code of content.querySelectorAll('[data-code]')) {
    code.textContent = (code.textContent ?? '').replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
  }
  connectCopyButtons(/** @type {HTMLElement} */ (content.firstElementChild));
  return content;
}

/**
 * @param {string[]} values
 * @returns {string} a list in Python and in JavaScript
 */
const list = (values) => `[${values.map((value) => JSON.stringify(value)).join(', ')}]`;
