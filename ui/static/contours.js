/** Draw a Grad-CAM map as lines around its strongest areas, so that nothing covers the lesion. */

import { shareText } from './numbers.js';
import { text } from './texts.js';

/** Cells of the grid on each side; the map of the network has fewer. */
const GRID = 56;
/** Shares of the largest value of the map, each with lines of its own. */
const LEVELS = [0.5, 0.8];
const SVG = 'http://www.w3.org/2000/svg';

/**
 * @typedef {Float32Array} Grid values of GRID x GRID cells, row by row
 * @typedef {[number, number]} Point in cells, from the centre of the top left cell
 * @typedef {{edge: string, point: string, isExit: boolean}} Crossing of a line with an edge between two cells
 */

/**
 * Draw the lines of a photo and say in words what they enclose.
 * @param {HTMLElement} stage of templates/lesion_photo.html.jinja
 */
export async function drawContours(stage) {
  const svg = stage.querySelector('.contours');
  const image = /** @type {HTMLImageElement | null} */ (stage.querySelector('.grad-cam'));
  if (!svg || !image) return;
  const grid = await readMap(image).catch(() => null); // a history from elsewhere can have a map that is no picture
  if (!grid) return;
  const peak = Math.max(...grid);
  svg.setAttribute('viewBox', `-0.5 -0.5 ${GRID} ${GRID}`);
  svg.replaceChildren(...(peak > 0 ? LEVELS.flatMap((level) => strokes(outline(grid, level * peak), level)) : []));
  /** @type {HTMLElement} */ (stage.querySelector('[data-slot="map-text"]')).textContent =
    peak > 0 ? inWords(grid, LEVELS[1] * peak, stage) : text('map_empty');
}

/**
 * Read the map from the opacity of its picture.
 * @param {HTMLImageElement} image
 * @returns {Promise<Grid>}
 */
async function readMap(image) {
  await image.decode();
  const canvas = Object.assign(document.createElement('canvas'), { width: GRID, height: GRID });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, 0, 0, GRID, GRID);
  const { data } = context.getImageData(0, 0, GRID, GRID);
  return Float32Array.from({ length: GRID * GRID }, (_, index) => data[4 * index + 3]);
}

/**
 * Return closed lines around the values from a level on, by marching squares.
 * @param {Grid} grid
 * @param {number} level above 0
 * @returns {string} `d` of a path; beside the map all values count as 0
 */
function outline(grid, level) {
  /** @type {Map<string, {point: string, next: string}>} */
  const steps = new Map();
  for (let y = -1; y < GRID; y += 1) {
    for (let x = -1; x < GRID; x += 1) {
      for (const [from, to] of linesIn([[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]], grid, level)) {
        steps.set(from.edge, { point: from.point, next: to.edge });
      }
    }
  }
  let path = '';
  while (steps.size) {
    const points = [];
    let [edge] = steps.keys();
    for (let step = steps.get(edge); step; step = steps.get(edge)) {
      points.push(step.point);
      steps.delete(edge);
      edge = step.next;
    }
    path += `M${points.join('L')}Z`;
  }
  return path;
}

/**
 * Return the lines between four neighbouring cells, each from one edge to another.
 * @param {Point[]} corners clockwise
 * @param {Grid} grid
 * @param {number} level
 * @returns {[Crossing, Crossing][]}
 */
function linesIn(corners, grid, level) {
  const values = corners.map(([x, y]) => (x < 0 || y < 0 || x >= GRID || y >= GRID ? 0 : grid[y * GRID + x]));
  const crossings = corners.flatMap(([x, y], index) => {
    const next = (index + 1) % 4;
    if (values[index] >= level === values[next] >= level) return [];
    const share = (level - values[index]) / (values[next] - values[index]);
    const [toX, toY] = corners[next];
    const point = `${(x + share * (toX - x)).toFixed(2)} ${(y + share * (toY - y)).toFixed(2)}`;
    return [{ edge: `${x + toX},${y + toY}`, point, isExit: values[index] >= level }];
  });
  const isMiddleIn = (values[0] + values[1] + values[2] + values[3]) / 4 >= level;
  return crossings.flatMap((exit, index) => {
    if (!exit.isExit) return [];
    const step = crossings.length === 4 && !isMiddleIn ? 3 : 1;
    return [/** @type {[Crossing, Crossing]} */ ([exit, crossings[(index + step) % crossings.length]])];
  });
}

/**
 * Draw lines twice, dark and wide below light and narrow: one of both contrasts with any skin.
 * @param {string} path
 * @param {number} level
 * @returns {SVGPathElement[]}
 */
const strokes = (path, level) => ['under', 'over'].map((kind) => {
  const line = document.createElementNS(SVG, 'path');
  line.setAttribute('d', path);
  line.setAttribute('class', `${kind} from-${Math.round(100 * level)}`);
  return line;
});

/**
 * Say how large the area inside a line is, and how much of it is inside the frame of the lesion.
 * @param {Grid} grid
 * @param {number} level
 * @param {HTMLElement} stage
 * @returns {string}
 */
function inWords(grid, level, stage) {
  const [left, top, right, bottom] = edgesOf(stage, '.contours');
  const frame = stage.querySelector('.lesion-box') ? edgesOf(stage, '.lesion-box') : null;
  const inside = [...grid.keys()].filter((index) => grid[index] >= level);
  const share = shareText(inside.length / grid.length);
  if (!frame) return text('map_share', { share });
  const inFrame = inside.filter((index) => {
    const x = left + ((right - left) * ((index % GRID) + 0.5)) / GRID;
    const y = top + ((bottom - top) * (Math.floor(index / GRID) + 0.5)) / GRID;
    return x >= frame[0] && x <= frame[2] && y >= frame[1] && y <= frame[3];
  });
  return text('map_share_and_frame', { share, inside: shareText(inFrame.length / inside.length) });
}

/**
 * @param {HTMLElement} stage
 * @param {string} selector of an element with `data-box`
 * @returns {number[]} left, top, right, bottom in pixels of the photo
 */
const edgesOf = (stage, selector) => String(/** @type {HTMLElement} */ (stage.querySelector(selector)).dataset.box).split(',').map(Number);
