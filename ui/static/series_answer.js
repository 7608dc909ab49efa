/**
 * Put the photos of this browser into a rendered answer: templates/progress_result.html.jinja.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 */

import { placeBoxes } from './answer.js';
import { connectBeforeAfter } from './before_after.js';
import { showPhoto } from './photo_input.js';

/**
 * Show the photos of an answer, each in its own ratio with the box of its face.
 * @param {HTMLElement} root
 * @param {(index: number) => Photo | undefined} photoAt photo by its position in the request
 */
export function fillPhotos(root, photoAt) {
  for (const image of /** @type {NodeListOf<HTMLImageElement>} */ (root.querySelectorAll('img[data-photo]'))) {
    placePhoto(image, photoAt(Number(image.dataset.photo)));
  }
  const beforeAfter = /** @type {HTMLElement | null} */ (root.querySelector('[data-before-after]'));
  if (beforeAfter) connectBeforeAfter(beforeAfter, photoAt);
}

/**
 * @param {HTMLImageElement} image
 * @param {Photo | undefined} photo
 */
async function placePhoto(image, photo) {
  const size = photo && (await showPhoto(image, photo));
  const fit = /** @type {HTMLElement} */ (image.parentElement);
  fit.hidden = !size;
  if (!size) return;
  fit.style.aspectRatio = `${size.width} / ${size.height}`;
  fit.style[size.width >= size.height ? 'width' : 'height'] = '100%';
  placeBoxes(fit, size);
}
