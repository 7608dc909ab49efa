/**
 * Order, dates and limits of the photos of a series: pure functions without the DOM.
 *
 * Times are local times without a zone, such as `2026-03-09T18:30:00`: an entered date has no zone, and the
 * API takes zones for all photos or for none.
 *
 * @typedef {object} Item One photo of a series.
 * @property {number} id Of the photo in the picker.
 * @property {string | null} takenAt Recorded or entered time.
 * @property {boolean} isKnown Whether the API has looked for a recorded time.
 * @property {boolean} isEntered Whether the person entered or deleted the time.
 * @property {boolean} isLeftOut Whether comparisons skip the photo.
 *
 * @typedef {'dates' | 'order'} Mode Sort by the dates, or keep the order of the items.
 *
 * @typedef {object} Request
 * @property {Item[]} items Photos to send, in this order.
 * @property {string[]} times One for each photo; empty: the API uses the recorded ones.
 *
 * @typedef {object} Limits
 * @property {number} minPhotos
 * @property {number} maxPhotos
 * @property {number} maxPhotoBytes
 * @property {number} maxRequestBytes
 *
 * @typedef {object} Photo As far as it counts for the limits.
 * @property {number} id
 * @property {number} bytes
 * @property {boolean} isUnreadable
 *
 * @typedef {object} Problem
 * @property {'too_few' | 'too_many' | 'unreadable' | 'too_large' | 'total_too_large'} code
 * @property {number[]} ids Photos to leave out.
 * @property {number} count Photos that are too many, unreadable or too large; else all photos.
 */

const MULTIPART_BYTES = 300; // of the headers of one file

/**
 * @param {number} id
 * @returns {Item}
 */
export const newItem = (id) => ({ id, takenAt: null, isKnown: false, isEntered: false, isLeftOut: false });

/**
 * Keep the items of photos that are still there, and add one for each new photo at the end.
 *
 * @param {Item[]} items
 * @param {number[]} ids
 * @returns {Item[]}
 */
export function withPhotos(items, ids) {
  const there = new Set(ids);
  const kept = items.filter(({ id }) => there.has(id));
  const known = new Set(kept.map(({ id }) => id));
  return [...kept, ...ids.filter((id) => !known.has(id)).map(newItem)];
}

/**
 * Return the items of an answer that was kept, in its order; times that the photos do not record count as entered.
 *
 * @param {number[]} ids Of the photos, in the order of the request.
 * @param {{photos: {index: number, taken_at: string | null}[], order: string}} answer
 * @returns {Item[]}
 */
export const keptItems = (ids, { photos, order }) => photos.map(({ index, taken_at }) => ({
  ...newItem(ids[index]),
  takenAt: taken_at && localTime(taken_at),
  isKnown: true,
  isEntered: order !== 'exif' && taken_at !== null,
}));

/**
 * Return why the photos cannot be sent, or null.
 *
 * @param {Photo[]} photos
 * @param {Limits} limits
 * @returns {Problem | null}
 */
export function findProblem(photos, limits) {
  const all = photos.length;
  const unreadable = photos.filter(({ isUnreadable }) => isUnreadable);
  const tooLarge = photos.filter(({ bytes }) => bytes > limits.maxPhotoBytes);
  const ids = (/** @type {Photo[]} */ some) => some.map(({ id }) => id);
  if (all === 0) return { code: 'too_few', ids: [], count: 0 };
  if (unreadable.length) return { code: 'unreadable', ids: ids(unreadable), count: unreadable.length };
  if (tooLarge.length) return { code: 'too_large', ids: ids(tooLarge), count: tooLarge.length };
  if (all < limits.minPhotos) return { code: 'too_few', ids: [], count: all };
  if (all > limits.maxPhotos) return { code: 'too_many', ids: [], count: all - limits.maxPhotos };
  const total = photos.reduce((sum, { bytes }) => sum + bytes + MULTIPART_BYTES, 0);
  return total > limits.maxRequestBytes ? { code: 'total_too_large', ids: [], count: all } : null;
}

/**
 * Return the photos and times of the next request.
 *
 * @param {Item[]} items
 * @param {Mode} mode
 * @returns {Request}
 */
export function nextRequest(items, mode) {
  const used = items.filter(({ isLeftOut }) => !isLeftOut);
  if (mode === 'order') return { items: used, times: used.map((_, index) => stepTime(index)) };
  if (!areDated(used) || !used.some(({ isEntered }) => isEntered)) return { items: used, times: [] };
  const sorted = sortByTime(used);
  return { items: sorted, times: sorted.map(({ takenAt }) => /** @type {string} */ (takenAt)) };
}

/**
 * Return the items with the recorded times of an answer, oldest first if all times are known.
 *
 * @param {Item[]} items
 * @param {Request} request
 * @param {{photos: {index: number, taken_at: string | null}[], order: string}} answer
 * @returns {Item[]}
 */
export function withRecordedTimes(items, request, answer) {
  const recorded = new Map(
    request.times.length ? [] : answer.photos.map(({ index, taken_at }) => [request.items[index].id, taken_at]),
  );
  const known = items.map((item) => {
    const taken = recorded.get(item.id);
    if (taken === undefined) return item;
    return { ...item, isKnown: true, takenAt: item.isEntered ? item.takenAt : taken && localTime(taken) };
  });
  if (answer.order === 'upload' || request.times.length) return known;
  const rank = new Map(answer.photos.map(({ index }, position) => [request.items[index].id, position]));
  const last = items.length;
  return [...known].sort((a, b) => (rank.get(a.id) ?? last) - (rank.get(b.id) ?? last));
}

/**
 * Return what follows an answer: show it, compare again with the entered times, or ask for the missing ones.
 *
 * @param {Item[]} items With the times of the answer.
 * @param {Request} request
 * @returns {'show' | 'again' | 'ask'}
 */
export function stepAfter(items, request) {
  if (request.times.length) return 'show';
  const used = items.filter(({ isLeftOut }) => !isLeftOut);
  if (!areDated(used)) return 'ask';
  return used.some(({ isEntered }) => isEntered) ? 'again' : 'show';
}

/**
 * Replace the times that `nextRequest` made up for a chosen order by the known ones.
 *
 * @template {{photos: {index: number, taken_at: string | null}[], order: string}} Answer
 * @param {Answer} answer
 * @param {Request} request In the mode `order`.
 * @returns {Answer}
 */
export function withChosenOrder(answer, request) {
  const photos = answer.photos.map((photo) => ({ ...photo, taken_at: request.items[photo.index].takenAt }));
  return { ...answer, order: 'upload', photos };
}

/**
 * @param {Item[]} items
 * @returns {boolean}
 */
export const areDated = (items) => items.every(({ takenAt }) => takenAt !== null);

/**
 * @param {Item[]} some
 * @param {Item[]} others
 * @returns {boolean} whether they are the same photos in the same order
 */
export const sameIds = (some, others) => some.length === others.length && some.every(({ id }, index) => id === others[index].id);

/**
 * Sort by time; photos of the same time keep their order. Call with dated items.
 *
 * @param {Item[]} items
 * @returns {Item[]}
 */
export const sortByTime = (items) =>
  [...items].sort((a, b) => compareText(a.takenAt ?? '', b.takenAt ?? ''));

/**
 * Return whether the known times contradict the order of the items.
 *
 * @param {Item[]} items
 * @returns {boolean}
 */
export function isAgainstDates(items) {
  const times = items.map(({ takenAt }) => takenAt).filter((time) => time !== null);
  return times.some((time, index) => index > 0 && time < times[index - 1]);
}

/**
 * Move one item; a step over the end changes nothing.
 *
 * @param {Item[]} items
 * @param {number} from
 * @param {number} to
 * @returns {Item[]}
 */
export function move(items, from, to) {
  if (to < 0 || to >= items.length) return items;
  const moved = [...items];
  moved.splice(to, 0, ...moved.splice(from, 1));
  return moved;
}

/**
 * Set the date of an item; the recorded time of the same day stays.
 *
 * @param {Item} item
 * @param {string} day `2026-03-09`, or empty.
 * @returns {Item}
 */
export function withDay(item, day) {
  if (day === dayOf(item)) return item;
  return { ...item, takenAt: day ? `${day}T12:00:00` : null, isEntered: true };
}

/**
 * @param {Item} item
 * @returns {string} Empty without a time.
 */
export const dayOf = ({ takenAt }) => (takenAt ?? '').slice(0, 10);

/**
 * Return the number of the photo that a message of the API begins with: "photo 3: ...", from 1.
 *
 * @param {string} message
 * @returns {number | null}
 */
export function photoNumber(message) {
  const found = /^[^\d:]{1,30}(\d+)\s*:/.exec(message);
  return found ? Number(found[1]) : null;
}

/**
 * Remove the zone and the fraction of a second.
 *
 * @param {string} time ISO 8601.
 * @returns {string}
 */
export const localTime = (time) => time.slice(0, 19);

/**
 * @param {number} index
 * @returns {string} Later for a higher index.
 */
const stepTime = (index) => localTime(new Date(Date.UTC(2000, 0, 1, 0, index)).toISOString());

/**
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
const compareText = (a, b) => (a < b ? -1 : Number(a > b));
