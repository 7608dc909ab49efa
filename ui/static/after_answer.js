/** Fill the end of a new answer: feedback, and its request for programs. */

import { connectFeedback } from './feedback.js';
import { offerKeeping } from './keep.js';
import { programsCard } from './programs.js';
import { template } from './texts.js';

/**
 * Complete an answer that the API has just given.
 * @param {HTMLElement} place has `[data-slot="after"]`: templates/after_answer.html.jinja
 * @param {{task: 'lesion' | 'progress', answer: any, path: string, photos: import('./photo_input.js').Photo[],
 *   requestId: string, takenAt?: string[], isExample: boolean, label?: string,
 *   onKept?: (label: string) => void}} given path: of the request, below /v1/;
 *   label: of the series that this answer continues; onKept: the answer is in the history
 */
export function afterAnswer(place, { task, answer, path, photos, requestId, takenAt, isExample, label, onKept = () => {} }) {
  const after = /** @type {HTMLElement} */ (place.querySelector('[data-slot="after"]'));
  const form = /** @type {HTMLElement} */ (after.querySelector('[data-feedback]'));
  const fileName = isExample ? '' : photos[0].name;
  offerKeeping(place, { kind: task, answer, photos, requestId, createdAt: new Date().toISOString(), fileName, label }, isExample ? null : onKept);
  if (isExample) {
    form.remove();
    addDrawingNote(place, task);
  } else connectFeedback(form, { task, answer, requestId, photo: task === 'lesion' ? photos[0] : undefined });
  after.append(programsCard({ path, field: task === 'lesion' ? 'file' : 'files', numPhotos: photos.length, takenAt }));
}

/**
 * Add the note on drawings to the page and to the report.
 * @param {HTMLElement} place
 * @param {'lesion' | 'progress'} task
 */
function addDrawingNote(place, task) {
  const note = `drawing-note-${task}`;
  place.querySelector('.verdict-head')?.after(template(note));
  /** @type {HTMLTemplateElement | null} */ (place.querySelector('template[data-report]'))?.content.querySelector('header')?.append(template(note));
}
