/**
 * Let the person frame the lesion: the photo moves and grows under a fixed square frame.
 *
 * @typedef {{width: number, height: number}} Size of the upright photo, pixels
 * @typedef {{x: number, y: number, side: number}} Frame centre and side of the square, pixels of the upright photo
 */

import { template } from './texts.js';

/** Side of the view, relative to the frame. */
const VIEW_SIDE = 2;
const MIN_SIDE_PX = 24;

/**
 * Ask for the area of the lesion.
 * @param {HTMLElement} host of the dialog
 * @param {{src: string, size: Size, start: number[] | null}} photo start: left, top, right, bottom of the first frame;
 *   null: the middle of the photo
 * @returns {Promise<number[] | null>} left, top, right, bottom in pixels of the upright photo; null: cancelled
 */
export async function chooseBox(host, { src, size, start }) {
  const dialog = /** @type {HTMLDialogElement} */ (template('crop-dialog').firstElementChild);
  const view = /** @type {HTMLElement} */ (dialog.querySelector('.cropper'));
  const image = /** @type {HTMLImageElement} */ (view.querySelector('img'));
  const ranges = /** @type {HTMLInputElement[]} */ ([...dialog.querySelectorAll('[data-set]')]);
  let frame = within(start ? frameOf(start) : { x: size.width / 2, y: size.height / 2, side: Math.min(size.width, size.height) / 2 }, size);
  const draw = () => {
    const seen = VIEW_SIDE * frame.side;
    Object.assign(image.style, {
      width: `${(100 * size.width) / seen}%`,
      height: `${(100 * size.height) / seen}%`,
      left: `${50 - (100 * frame.x) / seen}%`,
      top: `${50 - (100 * frame.y) / seen}%`,
    });
    for (const range of ranges) range.value = String(positionOf(frame, size)[/** @type {'zoom'} */ (range.dataset.set)]);
  };
  const change = (/** @type {Partial<Frame>} */ wished) => {
    frame = within({ ...frame, ...wished }, size);
    draw();
  };
  for (const range of ranges) range.addEventListener('input', () => change(wishOf(range, size)));
  connectPointers(view, () => frame, change);
  image.src = src;
  host.append(dialog);
  draw();
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  dialog.remove();
  return dialog.returnValue === 'take' ? boxOf(frame, size) : null;
}

/**
 * @param {number[]} box
 * @returns {Frame}
 */
const frameOf = ([left, top, right, bottom]) => ({ x: (left + right) / 2, y: (top + bottom) / 2, side: Math.max(right - left, bottom - top) });

/**
 * @param {Frame} frame
 * @param {Size} size
 * @returns {number[]} whole pixels inside the photo
 */
function boxOf({ x, y, side }, { width, height }) {
  const [left, top] = [Math.max(0, Math.round(x - side / 2)), Math.max(0, Math.round(y - side / 2))];
  return [left, top, Math.min(width, Math.round(x + side / 2)), Math.min(height, Math.round(y + side / 2))];
}

/**
 * Keep a frame inside the photo.
 * @param {Frame} frame
 * @param {Size} size
 * @returns {Frame}
 */
function within({ x, y, side }, size) {
  const kept = clamp(side, ...sidesOf(size));
  return { x: clamp(x, kept / 2, size.width - kept / 2), y: clamp(y, kept / 2, size.height - kept / 2), side: kept };
}

/**
 * @param {Size} size
 * @returns {[number, number]} smallest and largest side of the frame
 */
function sidesOf({ width, height }) {
  const most = Math.min(width, height);
  return [Math.min(MIN_SIDE_PX, most), most];
}

/**
 * @param {Frame} frame
 * @param {Size} size
 * @returns {{zoom: number, x: number, y: number}} positions of the sliders, 0 to 100
 */
function positionOf({ x, y, side }, size) {
  const [least, most] = sidesOf(size);
  const zoom = least === most ? 0 : (100 * Math.log(most / side)) / Math.log(most / least);
  return { zoom, x: (100 * x) / size.width, y: (100 * y) / size.height };
}

/**
 * @param {HTMLInputElement} range
 * @param {Size} size
 * @returns {Partial<Frame>}
 */
function wishOf({ dataset, value }, size) {
  const share = Number(value) / 100;
  const [least, most] = sidesOf(size);
  if (dataset.set === 'zoom') return { side: most * (least / most) ** share };
  return dataset.set === 'x' ? { x: share * size.width } : { y: share * size.height };
}

/**
 * Move the photo by one finger or the mouse, zoom by two fingers or the wheel.
 * @param {HTMLElement} view
 * @param {() => Frame} frameNow
 * @param {(wished: Partial<Frame>) => void} change
 */
function connectPointers(view, frameNow, change) {
  /** @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  const spread = () => {
    const [one, other] = [...down.values()];
    return Math.hypot(one.x - other.x, one.y - other.y);
  };
  view.addEventListener('pointerdown', (event) => {
    event.preventDefault(); // no drag of the image
    view.setPointerCapture(event.pointerId);
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  view.addEventListener('pointermove', (event) => {
    const from = down.get(event.pointerId);
    if (!from) return;
    const before = down.size === 2 ? spread() : 0;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const { x, y, side } = frameNow();
    if (down.size === 2) return change({ side: (side * before) / Math.max(spread(), 1) });
    const scale = (VIEW_SIDE * side) / view.clientWidth;
    change({ x: x - scale * (event.clientX - from.x), y: y - scale * (event.clientY - from.y) });
  });
  for (const kind of /** @type {const} */ (['pointerup', 'pointercancel'])) view.addEventListener(kind, (event) => down.delete(event.pointerId));
  view.addEventListener('wheel', (event) => {
    event.preventDefault();
    change({ side: frameNow().side * 1.1 ** Math.sign(event.deltaY) });
  }, { passive: false });
}

/**
 * @param {number} value
 * @param {number} least
 * @param {number} most
 * @returns {number}
 */
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
