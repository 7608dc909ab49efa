/** The Lesion tab: classify one photo at a time; photos and answers stay in the browser. */

import { afterAnswer } from './after_answer.js';
import { announce, button, clear, connectStrength, fill, placeBoxes, show, showError, showWorking } from './answer.js';
import { drawContours } from './contours.js';
import { chooseBox } from './crop.js';
import { EarlierAnswers } from './earlier.js';
import { ApiError, photoForm, postPhotos, renderFragment, requestIdOf } from './http.js';
import { connectModelChoice } from './models.js';
import { connectPhotoInput, fetchExample, makePhoto, release, showPhoto } from './photo_input.js';
import { lookAtFile } from './photo_hints.js';
import { hasText, template, text } from './texts.js';

/**
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./earlier.js').Entry} Entry
 * @typedef {Promise<import('./photo_hints.js').Hint | null>} Look
 * @typedef {{photo: Photo, isExample: boolean, look: Look, box?: number[]}} Wish A photo to classify; box: of the lesion.
 */

const QUERY = 'explain=true&top_k=27';
/** The width of page.css from which an answer is beside its photo. */
const NARROW = matchMedia('(max-width: 760px)');

/** @type {Wish | null} The photo that is shown. */
let current = null;
/** @type {EarlierAnswers | null} */
let earlier = null;

/**
 * Return whether leaving the page loses a photo or an answer.
 * @returns {boolean}
 */
export const hasUnsaved = () => [current, ...(earlier?.entries ?? [])].some((one) => one && !one.isExample && !('isKept' in one && one.isKept));

/**
 * Connect the tab.
 * @param {HTMLElement} root
 */
export function startLesion(root) {
  const slot = (/** @type {string} */ name) => /** @type {HTMLElement} */ (root.querySelector(`[data-slot="${name}"]`));
  const [again, inputs, picture, place, guide, hint] = ['again', 'inputs', 'photo', 'answer', 'guide', 'hint'].map(slot);
  const chooser = /** @type {HTMLElement} */ (inputs.querySelector('.photo-input'));
  const modelQuery = connectModelChoice(/** @type {HTMLElement} */ (root.querySelector('[data-model-choice]')), () => { if (current) classify({ ...wishOf(current), box: current.box }); });
  const list = (earlier = new EarlierAnswers(slot('earlier'), {
    onOpen: (entry) => { forget(); present(entry); },
    onClear: (entries) => {
      entries.forEach(({ photo }) => releaseUnused(photo));
      announce(text('earlier_cleared'));
      focusChooser();
    },
  }));
  let running = new AbortController();
  /** @type {Entry | null} */
  let shown = null;

  const releaseUnused = (/** @type {Photo} */ photo) => {
    if (![current, ...list.entries].some((one) => one?.photo === photo)) release(photo);
  };

  /** Leave the photo and its answer; an answer goes to the list. */
  const forget = () => {
    running.abort();
    stash();
    const photo = current?.photo;
    current = null;
    if (photo) releaseUnused(photo);
    clear(picture);
    clear(place);
    again.hidden = true;
    inputs.hidden = guide.hidden = false;
  };

  const stash = () => {
    if (shown) list.add(shown);
    shown = null;
  };

  const focusChooser = () => /** @type {HTMLElement | null} */ (root.querySelector(again.hidden ? 'input[type=file]' : '[data-again]'))?.focus();

  const startOver = () => {
    forget();
    focusChooser();
  };

  const classify = async (/** @type {Wish} */ wish) => {
    running.abort();
    stash();
    current = wish;
    running = new AbortController();
    const { signal } = running;
    inputs.hidden = guide.hidden = true;
    again.hidden = false;
    const working = showWorking(place, { title: text('lesion_working'), onCancel: startOver });
    const box = wish.box ? `box=${wish.box}` : '';
    const path = `lesion?${[QUERY, modelQuery(), box].filter(Boolean).join('&')}`;
    try {
      const answer = await postPhotos(path, photoForm('file', [wish.photo.file]), { onProgress: working.progress, signal });
      const parts = await renderFragment('lesion', answer, signal);
      const [frame, card] = ['photo', 'answer'].map((name) => /** @type {HTMLElement} */ (parts.querySelector(`[data-part="${name}"]`)));
      /** @type {Entry} */
      const entry = { ...wish, answer, frame, card, size: null, isKept: false };
      const onKept = () => { entry.isKept = true; };
      afterAnswer(card, { task: 'lesion', answer, path, photos: [wish.photo], requestId: requestIdOf(answer), isExample: wish.isExample, onKept });
      card.append(template('next-photo'));
      if (wish.box) fill(frame, 'found', text('frame_chosen'));
      adviseNext(answer, await wish.look);
      present(entry);
    } catch (error) {
      if (signal.aborted) return;
      const isPhotoRejected = error instanceof ApiError && !error.isRetriable;
      if (isPhotoRejected) forget(); // the next photo can be added beside the error
      showError(place, error, { onRetry: () => classify(wish) });
    }
  };

  const present = async (/** @type {Entry} */ entry) => {
    shown = current = entry;
    inputs.hidden = guide.hidden = true;
    again.hidden = false;
    picture.hidden = placeFrame(entry.frame, entry.card, picture);
    show(place, entry.card);
    entry.size ??= await fillFrame(entry.frame, entry.photo);
  };

  /** Say before the next photo what this one lacked: to the API, else to the look in the browser. */
  const adviseNext = (/** @type {{reasons: {code: string}[]}} */ { reasons }, /** @type {string | null} */ seen) => {
    const names = [...reasons.map(({ code }) => code), seen].map((code) => `hint_${code}`).filter(hasText);
    chooser.dataset.hint = hint.textContent = names.length ? text(names[0]) : '';
    hint.hidden = !names.length;
  };

  const frameLesion = async () => {
    if (!shown?.size) return;
    const { answer, size, frame } = shown;
    const wish = wishOf(shown);
    const { src } = /** @type {HTMLImageElement} */ (frame.querySelector('[data-photo]'));
    const box = await chooseBox(root, { src, size, start: answer.lesion_box });
    if (box) classify({ ...wish, box });
    else /** @type {HTMLElement | null} */ (frame.querySelector('[data-crop]'))?.focus();
  };

  const add = (/** @type {Photo[]} */ [photo], isExample = false) => {
    forget();
    const preview = document.createElement('img');
    preview.alt = photo.name;
    preview.className = 'preview';
    picture.replaceChildren(preview);
    preview.onerror = () => preview.remove(); // the server draws it with the answer
    preview.src = photo.url;
    picture.hidden = false;
    const look = isExample ? Promise.resolve(null) : lookAtFile(photo.file, { isLesion: true });
    look.then((seen) => { if (seen && preview.isConnected) hintAbove(preview, text(`look_${seen}`)); });
    classify({ photo, isExample, look });
  };

  const input = connectPhotoInput(chooser, { onPhotos: add, dropTarget: root });
  root.addEventListener('click', async (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest('[data-again], [data-next]')) return startOver();
    if (target.closest('[data-crop]')) return frameLesion();
    const tile = /** @type {HTMLElement | null} */ (target.closest('[data-example]'));
    if (!tile) return;
    input.problem('');
    try {
      add((await fetchExample(tile)).map(makePhoto), true);
    } catch (error) {
      showError(place, error, { onRetry: () => tile.click() });
    }
  });
  connectStrength(root);
  NARROW.addEventListener('change', () => { if (shown) picture.hidden = placeFrame(shown.frame, shown.card, picture); });
}

/**
 * Put the photo with its frame beside its answer, on a narrow screen below the verdict.
 * @param {HTMLElement} frame
 * @param {ParentNode} answer
 * @param {HTMLElement} beside for a wide screen
 * @returns {boolean} whether it is in the answer
 */
export function placeFrame(frame, answer, beside) {
  const above = NARROW.matches ? answer.querySelector('.answer > .keep') ?? answer.querySelector('.answer > .verdict') : null;
  above?.after(frame);
  beside.replaceChildren(...(above ? [] : [frame]));
  return above !== null;
}

/**
 * @param {Wish} wish
 * @returns {Wish} without an answer and its box
 */
const wishOf = ({ photo, isExample, look }) => ({ photo, isExample, look });

/**
 * @param {HTMLElement} preview
 * @param {string} hint
 */
function hintAbove(preview, hint) {
  preview.before(Object.assign(document.createElement('p'), { className: 'hint', textContent: hint }));
  announce(hint);
}

/**
 * Show the photo in its frame, with the boxes in their places; without the server wait until the person tries again.
 * @param {HTMLElement} frame
 * @param {Photo} photo
 * @returns {Promise<import('./crop.js').Size | null>} null: it cannot be shown
 */
export async function fillFrame(frame, photo) {
  const stage = /** @type {HTMLElement} */ (frame.querySelector('.stage'));
  const image = /** @type {HTMLImageElement} */ (stage.querySelector('[data-photo]'));
  const missing = /** @type {HTMLElement} */ (frame.querySelector('.photo-missing'));
  let size;
  for (;;) {
    size = await showPhoto(image, photo);
    stage.hidden = !size;
    missing.hidden = Boolean(size);
    if (size !== undefined) break;
    await retryPressed(missing); // the server that draws it did not answer
  }
  if (!size) return null;
  const box = /** @type {HTMLElement} */ (stage.querySelector('.photo'));
  box.style.setProperty('--width', String(size.width));
  box.style.setProperty('--height', String(size.height));
  const seen = /** @type {HTMLElement | null} */ (box.querySelector('.seen'));
  if (seen?.dataset.box === `0,0,${size.width},${size.height}`) {
    seen.remove();
    stage.querySelector('[data-margins]')?.remove();
  }
  placeBoxes(box, size);
  drawContours(stage);
  const crop = /** @type {HTMLElement | null} */ (stage.querySelector('[data-crop]'));
  if (crop) crop.hidden = false;
  return size;
}

/**
 * Offer "Try again" in an element until the person presses it.
 * @param {HTMLElement} place
 * @returns {Promise<void>}
 */
function retryPressed(place) {
  place.querySelector('button')?.remove();
  return new Promise((resolve) => {
    const retry = button(text('retry'), () => { retry.remove(); resolve(); });
    retry.className = 'button';
    place.append(' ', retry);
  });
}
