/**
 * Find photos that record no date, before they are sent: messengers and editors remove it.
 *
 * The API reads the dates. Here only photos that cannot have one are found: JPEG, PNG and WebP without EXIF and XMP.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./series.js').Item} Item
 */

/** How a JPEG, a PNG and a WebP start. */
const START = /^(?:\xff\xd8\xff|.PNG\r\n|RIFF[^]{4}WEBP)/;
/** Markers of EXIF and XMP in these formats. */
const METADATA = /Exif\0|eXIf|EXIF|XMP |ns\.adobe\.com|com\.adobe\.xmp|adobe:ns|Raw profile/;

/**
 * Return whether a file certainly records no date.
 * @param {Blob} file
 * @returns {Promise<boolean>}
 */
export async function hasNoDate(file) {
  try {
    const content = new TextDecoder('latin1').decode(await file.arrayBuffer());
    return START.test(content) && !METADATA.test(content);
  } catch {
    return false; // the file has changed since; the API reports the fault
  }
}

/** Looks at one photo after the other, so that only one is in memory at a time. */
export class UndatedPhotos {
  /**
   * @param {(id: number) => Photo} photoOf
   * @param {() => void} onFound called after each photo without a date
   */
  constructor(photoOf, onFound) {
    this.photoOf = photoOf;
    this.onFound = onFound;
    /** @type {Map<number, boolean>} by the id of a photo; false also while it is looked at */
    this.known = new Map();
    /** @type {Item[]} */
    this.items = [];
    this.isLooking = false;
  }

  /**
   * Return whether photos certainly record no date and have none that a person entered.
   * @param {Item[]} items
   * @returns {boolean}
   */
  areAll(items) {
    return items.every(({ id, takenAt }) => takenAt === null && this.known.get(id));
  }

  /**
   * Look at photos that are new.
   * @param {Item[]} items
   */
  async update(items) {
    this.items = items;
    for (const id of this.known.keys()) if (!items.some((item) => item.id === id)) this.known.delete(id);
    if (this.isLooking) return;
    this.isLooking = true;
    for (let next = this.#nextId(); next !== undefined; next = this.#nextId()) {
      this.known.set(next, false);
      const isUndated = await hasNoDate(this.photoOf(next).file);
      if (!isUndated || !this.known.has(next)) continue;
      this.known.set(next, true);
      this.onFound();
    }
    this.isLooking = false;
  }

  /** @returns {number | undefined} */
  #nextId() {
    return this.items.find(({ id }) => !this.known.has(id))?.id;
  }
}
