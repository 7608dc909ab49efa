/** The Lesion tab: classify one photo; it stays in the browser until another is added. */

import { clear, placeBoxes, show, showError, showWorking } from './answer.js';
import { ApiError, photoForm, postPhotos, renderFragment } from './http.js';
import { connectPhotoInput, fetchExample, makePhoto, release, showPhoto } from './photo_input.js';
import { text } from './texts.js';

const QUERY = 'lesion?explain=true&top_k=27';

/** @type {import('./photo_input.js').Photo | null} */
let photo = null;
let isExample = false;

/**
 * Return whether leaving the page loses a photo or an answer.
 * @returns {boolean}
 */
export const hasUnsaved = () => photo !== null && !isExample;

/**
 * Connect the tab.
 * @param {HTMLElement} root
 */
export function startLesion(root) {
  const slot = (/** @type {string} */ name) => /** @type {HTMLElement} */ (root.querySelector(`[data-slot="${name}"]`));
  const [again, inputs, picture, answer, guide] = ['again', 'inputs', 'photo', 'answer', 'guide'].map(slot);
  let running = new AbortController();

  const forget = () => {
    running.abort();
    if (photo) release(photo);
    photo = null;
    clear(picture);
    clear(answer);
    again.hidden = true;
    inputs.hidden = guide.hidden = false;
  };

  const startOver = () => {
    forget();
    /** @type {HTMLElement | null} */ (inputs.querySelector('input[type=file]'))?.focus();
  };

  const classify = async () => {
    if (!photo) return;
    const current = photo;
    running.abort();
    running = new AbortController();
    const { signal } = running;
    inputs.hidden = guide.hidden = true;
    again.hidden = false;
    const working = showWorking(answer, { title: text('lesion_working'), onCancel: startOver });
    try {
      const found = await postPhotos(QUERY, photoForm('file', [current.file]), { onProgress: working.progress, signal });
      const parts = await renderFragment('lesion', found, signal);
      await showAnswer(parts, current, signal);
    } catch (error) {
      if (signal.aborted) return;
      const isPhotoRejected = error instanceof ApiError && !error.isRetriable;
      if (isPhotoRejected) forget(); // the next photo can be added beside the error
      showError(answer, error, { onRetry: classify });
    }
  };

  const showAnswer = async (/** @type {DocumentFragment} */ parts, /** @type {import('./photo_input.js').Photo} */ current, /** @type {AbortSignal} */ signal) => {
    const frame = /** @type {HTMLElement} */ (parts.querySelector('[data-part="photo"]'));
    const card = /** @type {HTMLElement} */ (parts.querySelector('[data-part="answer"]'));
    picture.replaceChildren(frame);
    picture.hidden = false;
    show(answer, card);
    await fillFrame(frame, current, signal);
  };

  const add = (/** @type {import('./photo_input.js').Photo[]} */ added) => {
    forget();
    [photo] = added;
    isExample = false;
    const preview = document.createElement('img');
    preview.alt = photo.name;
    preview.className = 'preview';
    picture.replaceChildren(preview);
    preview.onerror = () => preview.remove(); // the server draws it with the answer
    preview.src = photo.url;
    picture.hidden = false;
    classify();
  };

  const input = connectPhotoInput(/** @type {HTMLElement} */ (root.querySelector('.photo-input')), { onPhotos: add, dropTarget: root });
  root.addEventListener('click', async (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest('[data-again]')) return startOver();
    const tile = /** @type {HTMLElement | null} */ (target.closest('[data-example]'));
    if (!tile) return;
    input.problem('');
    try {
      add((await fetchExample(tile)).map(makePhoto));
      isExample = true;
    } catch (error) {
      showError(answer, error, { onRetry: () => tile.click() });
    }
  });
  root.addEventListener('input', (event) => {
    const range = /** @type {HTMLInputElement} */ (event.target);
    if (range.matches('[data-strength]')) range.closest('.stage')?.setAttribute('style', `--strength:${Number(range.value) / 100}`);
  });
}

/**
 * Show the photo in its frame, with the boxes in their places.
 * @param {HTMLElement} frame
 * @param {import('./photo_input.js').Photo} current
 * @param {AbortSignal} signal
 */
async function fillFrame(frame, current, signal) {
  const stage = /** @type {HTMLElement} */ (frame.querySelector('.stage'));
  const size = await showPhoto(/** @type {HTMLImageElement} */ (stage.querySelector('[data-photo]')), current);
  if (signal.aborted) return;
  if (!size) {
    stage.hidden = true;
    /** @type {HTMLElement} */ (frame.querySelector('.photo-missing')).hidden = false;
    return;
  }
  const box = /** @type {HTMLElement} */ (stage.querySelector('.photo'));
  box.style.setProperty('--width', String(size.width));
  box.style.setProperty('--height', String(size.height));
  const seen = /** @type {HTMLElement | null} */ (box.querySelector('.seen'));
  if (seen?.dataset.box === `0,0,${size.width},${size.height}`) {
    seen.remove();
    stage.querySelector('[data-margins]')?.remove();
  }
  placeBoxes(box, size);
}
