/**
 * Look at a picture in the browser before it is sent: hints in the kinds of the API's reasons, which decide.
 *
 * A hint never blocks. Limits are chosen on drawn lesions that were darkened, lit, blurred and moved away, and lie
 * beside all or nearly all real photos (docs/decisions/0043-hints-before-sending.md). A lesion that is pale or lies
 * at the edge gets no hint.
 */

/** Sides of the canvases on which a picture is measured, pixels. */
const WHOLE_PX = 128;
const MIDDLE_PX = 512;
/** Larger files are not decoded a second time. */
const MAX_FILE_BYTES = 20_000_000;

const LIMITS = {
  /** Shorter side, pixels; the networks read squares of this size. */
  minSidePx: 160,
  /** 99th percentile of the luminance, of 255. */
  minBrightness: 90,
  /** Luminance that counts as white, and the largest share of it. */
  white: 250,
  maxWhiteShare: 0.25,
  /** Of `sharpness`. */
  minSharpness: 0.5,
  /** Share of the ring that a lesion covers, if it is small, and of the skin around it. */
  smallLesion: [0.005, 0.2],
  maxAroundShare: 0.03,
};
const WINDOW_PX = 11;

/**
 * @typedef {'too_small' | 'too_dark' | 'overexposed' | 'blurred' | 'lesion_too_small'} Hint
 * @typedef {{data: Uint8ClampedArray, width: number, height: number}} Pixels RGBA
 * @typedef {{width: number, height: number}} Size
 */

/**
 * Look at a photo.
 * @param {File} file
 * @param {{isLesion: boolean}} options whether it should show one lesion in the middle
 * @returns {Promise<Hint | null>} the most important hint; null also for a file that the browser cannot decode
 */
export async function lookAtFile(file, options) {
  if (file.size > MAX_FILE_BYTES) return null;
  try {
    const bitmap = await createImageBitmap(file);
    const hint = look(bitmap, bitmap, options);
    bitmap.close();
    return hint;
  } catch {
    return null;
  }
}

/**
 * Look at a decoded picture.
 * @param {CanvasImageSource} picture
 * @param {Size} size
 * @param {{isLesion: boolean}} options
 * @returns {Hint | null}
 */
export function look(picture, { width, height }, { isLesion }) {
  if (Math.min(width, height) < LIMITS.minSidePx) return 'too_small';
  const whole = pixels(picture, { x: 0, y: 0, width, height }, WHOLE_PX);
  const light = Array.from(luminance(whole)).sort((a, b) => a - b);
  if (light[Math.floor(0.99 * (light.length - 1))] < LIMITS.minBrightness) return 'too_dark';
  if (light.filter((value) => value >= LIMITS.white).length > LIMITS.maxWhiteShare * light.length) return 'overexposed';
  const middle = pixels(picture, { x: width / 4, y: height / 4, width: width / 2, height: height / 2 }, MIDDLE_PX);
  if (sharpness(middle) < LIMITS.minSharpness) return 'blurred';
  return isLesion && isLesionSmall(whole) ? 'lesion_too_small' : null;
}

/**
 * Return a part of a picture, reduced.
 * @param {CanvasImageSource} picture
 * @param {{x: number, y: number, width: number, height: number}} part
 * @param {number} maxPx longer side
 * @returns {Pixels}
 */
function pixels(picture, part, maxPx) {
  const scale = Math.min(1, maxPx / Math.max(part.width, part.height));
  const size = { width: Math.max(1, Math.round(scale * part.width)), height: Math.max(1, Math.round(scale * part.height)) };
  const context = /** @type {CanvasRenderingContext2D} */ (Object.assign(document.createElement('canvas'), size).getContext('2d', { willReadFrequently: true }));
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, part.x, part.y, part.width, part.height, 0, 0, size.width, size.height);
  return context.getImageData(0, 0, size.width, size.height);
}

/**
 * @param {Pixels} pixels
 * @returns {Int16Array} 0 to 255, row by row
 */
const luminance = ({ data, width, height }) => Int16Array.from({ length: width * height }, (_, index) =>
  Math.round(0.299 * data[4 * index] + 0.587 * data[4 * index + 1] + 0.114 * data[4 * index + 2]));

/**
 * Return the sharpness of a picture, 0 (blurred) to 1, whatever its contrast: `sharpness` of models/lesion/gate.py.
 * @param {Pixels} picture
 * @returns {number} 1 for a picture of one colour
 */
function sharpness(picture) {
  const { width, height } = picture;
  const grey = luminance(picture);
  return Math.min(sharpnessAlong(grey, width, height, 1, width), sharpnessAlong(grey, height, width, width, 1));
}

/**
 * @param {Int16Array} grey
 * @param {number} length of a line, pixels
 * @param {number} numLines
 * @param {number} step from a pixel to the next one of its line
 * @param {number} lineStep from a line to the next one
 * @returns {number}
 */
function sharpnessAlong(grey, length, numLines, step, lineStep) {
  const half = (WINDOW_PX - 1) / 2;
  let [removed, total] = [0, 0];
  for (let line = 0; line < numLines; line += 1) {
    for (let at = 0; at < length - WINDOW_PX; at += 1) {
      const first = line * lineStep + at * step;
      const variation = WINDOW_PX * Math.abs(grey[first + (half + 1) * step] - grey[first + half * step]);
      const blurred = Math.abs(grey[first + WINDOW_PX * step] - grey[first]);
      total += variation;
      removed += Math.max(variation - blurred, 0);
    }
  }
  return total ? removed / total : 1;
}

/**
 * Return whether the middle shows a small thing on even skin: most of the ring looks like the skin around it.
 * @param {Pixels} picture
 * @returns {boolean}
 */
function isLesionSmall({ data, width, height }) {
  const side = Math.min(width, height);
  /** @type {number[][]} colours inside the ring, half as wide as the picture, and around it */
  const inside = [];
  /** @type {number[][]} */
  const around = [];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const radius = Math.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2) / side;
      const at = 4 * (y * width + x);
      if (radius < 0.25) inside.push([...data.subarray(at, at + 3)]);
      else if (radius >= 0.3 && radius < 0.5) around.push([...data.subarray(at, at + 3)]);
    }
  }
  const skin = [0, 1, 2].map((channel) => median(around.map((colour) => colour[channel])));
  const distance = (/** @type {number[]} */ colour) => colour.reduce((sum, value, channel) => sum + Math.abs(value - skin[channel]), 0);
  const spread = median(around.map(distance));
  if (spread >= 25) return false; // hair, an edge, a shadow
  const isOther = (/** @type {number[]} */ colour) => distance(colour) > Math.max(45, 3 * spread);
  const share = inside.filter(isOther).length / inside.length;
  const [least, most] = LIMITS.smallLesion;
  return share > least && share < most && around.filter(isOther).length < LIMITS.maxAroundShare * around.length;
}

/**
 * @param {number[]} values
 * @returns {number}
 */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
