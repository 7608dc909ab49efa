/**
 * Take photos from a file chooser, a drop, the clipboard and the camera.
 *
 * The element is rendered by templates/photo_input.html.jinja. Limits are its attributes: data-max-photos,
 * data-max-bytes, data-suffixes. Nothing leaves the browser here, except photos that it cannot draw (`showPhoto`).
 */

import { canUseCamera, openCamera } from './camera.js';
import { fetchFile, fetchPreview } from './http.js';
import { numberText } from './numbers.js';
import { DIRECTION_MARKS, isolated, text } from './texts.js';

/**
 * A photo in the browser.
 * @typedef {object} Photo
 * @property {number} id unique on this page
 * @property {File} file
 * @property {string} name
 * @property {string} url object URL; `release` revokes it
 */

let lastId = 0;

/**
 * @param {File} file
 * @returns {Photo}
 */
export const makePhoto = (file) => ({ id: ++lastId, file, name: file.name.replace(DIRECTION_MARKS, ''), url: URL.createObjectURL(file) });

/**
 * Free the memory of a photo that is no longer shown.
 * @param {Photo} photo
 */
export function release(photo) {
  URL.revokeObjectURL(photo.url);
  previews.delete(photo.id);
}

/**
 * Connect a photo input.
 * @param {HTMLElement} root `.photo-input`
 * @param {{onPhotos: (photos: Photo[]) => void, dropTarget?: HTMLElement, count?: () => number}} options
 *   onPhotos: gets the accepted photos, never none. dropTarget: accepts drops too, such as the whole tab.
 *   count: number of photos that were added before.
 * @returns {{problem: (message: string) => void}} problem: shows a message, none if empty
 */
export function connectPhotoInput(root, { onPhotos, dropTarget = root, count = () => 0 }) {
  const maxPhotos = Number(root.dataset.maxPhotos);
  const maxBytes = Number(root.dataset.maxBytes);
  const place = /** @type {HTMLElement} */ (root.querySelector('[data-slot="problem"]'));
  const problem = (/** @type {string} */ message) => {
    place.textContent = message;
    place.hidden = !message;
  };

  const add = (/** @type {File[]} */ files) => {
    if (!files.length) return;
    problem('');
    if (maxPhotos === 1 && files.length > 1) return problem(text('only_one', { n: files.length }));
    if (maxPhotos > 1 && count() + files.length > maxPhotos) {
      return problem(text('too_many', { n: count() + files.length, most: maxPhotos }));
    }
    const wrong = files.map((file) => fault(file, maxBytes, root)).filter((found) => found !== '');
    const right = files.filter((file) => fault(file, maxBytes, root) === '');
    if (wrong.length) problem(wrong.join(' '));
    if (right.length) onPhotos(right.map(makePhoto));
  };

  root.addEventListener('change', (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    if (input.type !== 'file') return;
    add([...(input.files ?? [])]);
    input.value = ''; // the same photo can be chosen again
  });
  root.addEventListener('photos', (event) => { // see shared.js
    const files = /** @type {CustomEvent<File[]>} */ (event).detail;
    if (files.length) add(files);
    else problem(text('shared_nothing'));
  });
  dropTarget.addEventListener('dragover', (event) => {
    event.preventDefault();
    dropTarget.classList.add('over');
  });
  dropTarget.addEventListener('dragleave', (event) => {
    if (!dropTarget.contains(/** @type {Node | null} */ (event.relatedTarget))) dropTarget.classList.remove('over');
  });
  dropTarget.addEventListener('drop', (event) => {
    event.preventDefault();
    dropTarget.classList.remove('over');
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) add(files);
    else problem(text('dropped_no_file'));
  });
  document.addEventListener('paste', (event) => {
    const isTyping = event.target instanceof Element && event.target.closest('input, textarea, [contenteditable]');
    if (!dropTarget.offsetParent || (isTyping && !isTyping.matches('[type=file]'))) return;
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) add(files);
    else problem(text('pasted_no_photo'));
  });
  connectCamera(root, add, problem);
  return { problem };
}

/**
 * @param {HTMLElement} root
 * @param {(files: File[]) => void} add
 * @param {(message: string) => void} problem
 */
function connectCamera(root, add, problem) {
  const open = /** @type {HTMLElement | null} */ (root.querySelector('[data-camera]'));
  const capture = /** @type {HTMLElement | null} */ (root.querySelector('[data-capture]'));
  const isTouch = matchMedia('(pointer: coarse)').matches;
  if (capture) capture.hidden = !isTouch; // the camera program of the phone has no ring, but focus, dates and all pixels
  if (!open) return;
  open.hidden = !canUseCamera();
  let isOpening = false;
  open.addEventListener('click', async () => {
    if (isOpening) return;
    isOpening = true;
    problem('');
    try {
      const file = await openCamera(root);
      if (file) add([file]);
    } catch {
      problem(text('no_camera'));
      if (capture) capture.hidden = !isTouch;
    }
    isOpening = false;
    open.focus();
  });
}

/**
 * Return why the API would reject a file, in words, or an empty string.
 * @param {File} file
 * @param {number} maxBytes
 * @param {HTMLElement} root
 * @returns {string}
 */
function fault(file, maxBytes, root) {
  const name = isolated(file.name);
  if (file.size > maxBytes) return text('file_too_large', { name, mb: numberText(file.size / 1e6, 1), most: Math.round(maxBytes / 1e6) });
  if (file.size === 0) return text('file_empty', { name });
  const isKnownOther = file.type !== '' && !file.type.startsWith('image/') && file.type !== 'application/octet-stream';
  const suffix = file.name.slice(file.name.lastIndexOf('.')).toLowerCase();
  if (isKnownOther && !String(root.dataset.suffixes).split(' ').includes(suffix)) return text('file_no_photo', { name });
  return '';
}

/** @type {Map<number, ReturnType<typeof fetchPreview>>} */
const previews = new Map();

/**
 * Show a photo in an <img>; the server draws it if the browser cannot.
 * @param {HTMLImageElement} image
 * @param {Photo} photo
 * @returns {Promise<{width: number, height: number} | null | undefined>} size of the upright photo in pixels; null if
 *   the photo cannot be decoded; undefined if the server did not answer, so that this is not known
 */
export async function showPhoto(image, photo) {
  image.style.visibility = 'hidden'; // instead of a broken picture while the server draws
  try {
    return await draw(image, photo);
  } finally {
    image.style.visibility = '';
  }
}

/**
 * @param {HTMLImageElement} image
 * @param {Photo} photo
 * @returns {Promise<{width: number, height: number} | null | undefined>}
 */
async function draw(image, photo) {
  if (await loads(image, photo.url)) return { width: image.naturalWidth, height: image.naturalHeight };
  try {
    const drawing = previews.get(photo.id) ?? fetchPreview(photo.file);
    previews.set(photo.id, drawing);
    const preview = await drawing;
    if (!preview || !(await loads(image, preview.data_uri))) return null;
    return { width: preview.width_px, height: preview.height_px };
  } catch {
    previews.delete(photo.id); // the next call tries again
    return undefined;
  }
}

/**
 * Load the photos of an example: `<button data-example="ADDRESS ADDRESS">`.
 * @param {HTMLElement} tile
 * @returns {Promise<File[]>}
 * @throws {import('./http.js').ApiError}
 */
export const fetchExample = (tile) => Promise.all(String(tile.dataset.example).split(' ').map(fetchFile));

/**
 * @param {HTMLImageElement} image
 * @param {string} url
 * @returns {Promise<boolean>}
 */
function loads(image, url) {
  return new Promise((resolve) => {
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = url;
  });
}
