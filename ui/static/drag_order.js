/** Change the order of a list by dragging its items with a mouse, a finger or a pen. */

/** Distance from the edge of the window within which the page scrolls, and its speed, pixels. */
const EDGE_PX = 70;
const SCROLL_PX_PER_FRAME = 12;

/**
 * @typedef {object} Drag
 * @property {number} pointerId
 * @property {HTMLElement} row
 * @property {HTMLElement[]} rows that can change places, in their order
 * @property {number[]} middles of the rows at the start, pixels of the page
 * @property {number} startY pixels of the page
 * @property {number} clientY last, pixels of the window
 * @property {number} from
 * @property {number} to
 */

/**
 * Connect a list; the items stay where they are until the drop.
 * @param {HTMLElement} list
 * @param {{handle: string, canMove: (row: HTMLElement) => boolean, onMove: (from: number, to: number) => void}} options
 *   handle: selector of the part of an item that is dragged. canMove: items for which it is false come last.
 *   onMove: gets the positions among the items that can move.
 */
export function connectDragOrder(list, { handle, canMove, onMove }) {
  /** @type {Drag | null} */
  let drag = null;

  const follow = () => {
    if (!drag) return;
    const { row, rows, middles, from } = drag;
    const down = drag.clientY + scrollY - drag.startY;
    const middle = middles[from] + down;
    drag.to = middles.filter((other, index) => (index < from ? other < middle : index > from && other <= middle)).length;
    const step = rows.length > 1 ? Math.abs(middles[1] - middles[0]) : 0;
    rows.forEach((other, index) => {
      const isPassed = drag && (index < from ? index >= drag.to : index <= drag.to);
      other.style.translate = other === row ? `0 ${down}px` : isPassed ? `0 ${index < from ? step : -step}px` : '';
    });
  };

  const scroll = () => {
    if (!drag) return;
    const above = EDGE_PX - drag.clientY;
    const below = drag.clientY - (innerHeight - EDGE_PX);
    if (above > 0) scrollBy(0, -SCROLL_PX_PER_FRAME);
    else if (below > 0) scrollBy(0, SCROLL_PX_PER_FRAME);
    if (above > 0 || below > 0) follow();
    requestAnimationFrame(scroll);
  };

  const end = (/** @type {boolean} */ isDropped) => {
    if (!drag) return;
    const { row, rows, from, to } = drag;
    drag = null;
    list.classList.remove('dragging');
    row.classList.remove('dragged');
    for (const other of rows) other.style.translate = '';
    if (isDropped && from !== to) onMove(from, to);
  };

  list.addEventListener('pointerdown', (event) => {
    const target = /** @type {Element} */ (event.target);
    const held = target.closest(handle);
    const row = /** @type {HTMLElement | null} */ (held?.closest('li') ?? null);
    if (drag || event.button !== 0 || !held || !row || !canMove(row)) return;
    if (event.pointerType === 'touch' && getComputedStyle(held).touchAction !== 'none') return; // the finger scrolls
    event.preventDefault(); // no selection, no drag of the picture
    list.setPointerCapture(event.pointerId);
    const rows = /** @type {HTMLElement[]} */ ([...list.children]).filter(canMove);
    const middles = rows.map((one) => one.getBoundingClientRect()).map(({ top, bottom }) => (top + bottom) / 2 + scrollY);
    const from = rows.indexOf(row);
    drag = { pointerId: event.pointerId, row, rows, middles, startY: event.clientY + scrollY, clientY: event.clientY, from, to: from };
    list.classList.add('dragging');
    row.classList.add('dragged');
    requestAnimationFrame(scroll);
  });
  list.addEventListener('pointermove', (event) => {
    if (event.pointerId !== drag?.pointerId) return;
    drag.clientY = event.clientY;
    follow();
  });
  list.addEventListener('pointerup', (event) => { if (event.pointerId === drag?.pointerId) end(true); });
  list.addEventListener('pointercancel', (event) => { if (event.pointerId === drag?.pointerId) end(false); });
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') end(false); });
}
