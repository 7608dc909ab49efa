/** Fill the end of a new answer: feedback, and its request for programs. */

import { connectFeedback } from './feedback.js';
import { offerKeeping } from './keep.js';
import { programsCard } from './programs.js';
import { template } from './texts.js';

/**
 * Complete an answer that the API has just given.
 * @param {HTMLElement} place has `[data-slot="after"]`: templates/after_answer.html.jinja
 * @param {{task: 'lesion' | 'progress', answer: any, path: string, photos: import('./photo_input.js').Photo[],
 *   requestId: string, takenAt?: string[], isExample: boolean, onKept?: () => void}} given path: of the request, below /v1/;
 *   onKept: the answer is in the history
 */
export function afterAnswer(place, { task, answer, path, photos, requestId, takenAt, isExample, onKept = () => {} }) {
  const after = /** @type {HTMLElement} */ (place.querySelector('[data-slot="after"]'));
  const form = /** @type {HTMLElement} */ (after.querySelector('[data-feedback]'));
  offerKeeping(place, { kind: task, answer, photos, createdAt: new Date().toISOString() }, onKept);
  if (isExample) {
    form.remove();
    sayDrawing(place);
  } else connectFeedback(form, { task, answer, requestId, photo: task === 'lesion' ? photos[0] : undefined });
  after.append(programsCard({ path, field: task === 'lesion' ? 'file' : 'files', numPhotos: photos.length, takenAt }));
}

/**
 * Say on the page and in the report that a drawing was classified.
 * @param {HTMLElement} place
 */
function sayDrawing(place) {
  place.querySelector('.verdict-head')?.after(template('drawing-note'));
  /** @type {HTMLTemplateElement | null} */ (place.querySelector('template[data-report]'))?.content.querySelector('header')?.append(template('drawing-note'));
}
