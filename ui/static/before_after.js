/**
 * Compare two photos of a series, by a slider or side by side: templates/progress_before_after.html.jinja.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 */

import { showPhoto } from './photo_input.js';

const FACE_SHARE = 0.7; // of the side of the picture

/**
 * Connect the two photos, the slider and the choice between both views.
 * @param {HTMLElement} root `[data-before-after]`
 * @param {(index: number) => Photo | undefined} photoAt photo by its position in the request
 */
export function connectBeforeAfter(root, photoAt) {
  const stage = /** @type {HTMLElement} */ (root.querySelector('.before-after-stage'));
  const divider = /** @type {HTMLInputElement} */ (root.querySelector('[data-divider]'));
  const slide = () => stage.style.setProperty('--at', `${divider.value}%`);

  for (const select of /** @type {NodeListOf<HTMLSelectElement>} */ (root.querySelectorAll('select'))) {
    const figure = /** @type {HTMLElement} */ (stage.querySelector(`.${select.dataset.side}`));
    const show = () => showFace(figure, select.selectedOptions[0], photoAt);
    select.addEventListener('change', show);
    show();
  }
  root.addEventListener('change', (event) => {
    const { type, value } = /** @type {HTMLInputElement} */ (event.target);
    if (type !== 'radio') return;
    stage.dataset.view = value;
    /** @type {HTMLElement} */ (divider.closest('label')).hidden = value !== 'slider';
  });
  divider.addEventListener('input', slide);
  slide();
  connectDrag(stage, divider);
}

/**
 * Move the divider by dragging on the photos.
 * @param {HTMLElement} stage
 * @param {HTMLInputElement} divider
 */
function connectDrag(stage, divider) {
  const follow = (/** @type {PointerEvent} */ event) => {
    const { left, width } = stage.getBoundingClientRect();
    divider.value = String((100 * (event.clientX - left)) / width);
    divider.dispatchEvent(new Event('input'));
  };
  stage.addEventListener('pointerdown', (event) => {
    if (stage.dataset.view !== 'slider' || event.button !== 0) return;
    event.preventDefault(); // no selection, no drag of the picture
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener('pointermove', (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
}

/**
 * Show a photo so that its face has the same place and size as that of the other one.
 * @param {HTMLElement} figure
 * @param {HTMLOptionElement} option
 * @param {(index: number) => Photo | undefined} photoAt
 */
async function showFace(figure, option, photoAt) {
  const image = /** @type {HTMLImageElement} */ (figure.querySelector('img'));
  const photo = photoAt(Number(option.value));
  image.alt = option.text.trim();
  /** @type {HTMLElement} */ (figure.querySelector('figcaption')).textContent = String(option.dataset.caption);
  const size = photo && (await showPhoto(image, photo));
  image.hidden = !size;
  if (!size) return;
  const [left, top, right, bottom] = String(option.dataset.face).split(',').map(Number);
  const side = Math.max(right - left, bottom - top) / FACE_SHARE;
  const percent = (/** @type {number} */ length) => `${(100 * length) / side}%`;
  Object.assign(image.style, {
    width: percent(size.width),
    height: percent(size.height),
    left: percent(side / 2 - (left + right) / 2),
    top: percent(side / 2 - (top + bottom) / 2),
  });
}
