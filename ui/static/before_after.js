/**
 * Compare two photos of a series, by a slider or side by side: templates/progress_before_after.html.jinja.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 */

import { showPhoto } from './photo_input.js';

/** Longer side of the box of a face, as a share of the picture. */
const FACE_SHARE = 0.7;
/** Longer side of the box and distance from the eyes to the middle of the face, in distances of the eyes:
 *  FACE_SIDE and FACE_CENTRE of models/face/alignment.py. */
const FACE_SIDE = 2.7;
const FACE_CENTRE = 0.4;

/**
 * Connect the two photos, which are never the same, the slider and the choice between both views.
 * @param {HTMLElement} root `[data-before-after]`
 * @param {(index: number) => Photo | undefined} photoAt photo by its position in the request
 */
export function connectBeforeAfter(root, photoAt) {
  const stage = /** @type {HTMLElement} */ (root.querySelector('.before-after-stage'));
  const divider = /** @type {HTMLInputElement} */ (root.querySelector('[data-divider]'));
  const slide = () => stage.style.setProperty('--at', `${divider.value}%`);

  const selects = /** @type {HTMLSelectElement[]} */ ([...root.querySelectorAll('select')]);
  const excludeOther = () => selects.forEach((select, index) => {
    for (const option of select.options) option.disabled = option.value === selects[1 - index].value;
  });
  for (const select of selects) {
    const figure = /** @type {HTMLElement} */ (stage.querySelector(`.${select.dataset.side}`));
    const show = () => showFace(figure, select.selectedOptions[0], photoAt);
    select.addEventListener('change', () => {
      excludeOther();
      show();
    });
    show();
  }
  excludeOther();
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
 * @typedef {object} FacePlace
 * @property {number} x middle of the face, pixels of the upright photo
 * @property {number} y
 * @property {number} side of the face, pixels
 * @property {number} angle of the line through the eyes, radians, clockwise
 */

/**
 * Return where a face is: by its eyes, or by its box in an answer without eyes.
 * @param {DOMStringMap} dataset of an option of templates/progress_before_after.html.jinja
 * @returns {FacePlace}
 */
export function facePlace({ face, eyes }) {
  if (eyes) {
    const [leftX, leftY, rightX, rightY] = eyes.split(',').map(Number);
    const [acrossX, acrossY] = [rightX - leftX, rightY - leftY];
    return {
      x: (leftX + rightX) / 2 - FACE_CENTRE * acrossY,
      y: (leftY + rightY) / 2 + FACE_CENTRE * acrossX,
      side: FACE_SIDE * Math.hypot(acrossX, acrossY),
      angle: Math.atan2(acrossY, acrossX),
    };
  }
  const [left, top, right, bottom] = String(face).split(',').map(Number);
  return { x: (left + right) / 2, y: (top + bottom) / 2, side: Math.max(right - left, bottom - top), angle: 0 };
}

/**
 * Show a photo so that its face has the same place, size and turn as that of the other one.
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
  const place = facePlace(option.dataset);
  const shown = place.side / FACE_SHARE;
  const percent = (/** @type {number} */ length, /** @type {number} */ whole) => `${(100 * length) / whole}%`;
  Object.assign(image.style, {
    width: percent(size.width, shown),
    height: percent(size.height, shown),
    left: percent(shown / 2 - place.x, shown),
    top: percent(shown / 2 - place.y, shown),
    transformOrigin: `${percent(place.x, size.width)} ${percent(place.y, size.height)}`,
    transform: `rotate(${-place.angle}rad)`,
  });
}
