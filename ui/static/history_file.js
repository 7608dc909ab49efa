/**
 * The file of an exported history: pure functions without the page.
 *
 * MAGIC, then the length of a JSON head (4 bytes, big-endian), the head, and parts. A part is its length (4 bytes) and
 * its bytes. The first part is JSON: the entries without their photos; the photos follow in their order. With a
 * passphrase each part is AES-256-GCM: 12 bytes of nonce, the encrypted bytes; its number is authenticated with it.
 *
 * @typedef {import('./history_store.js').Entry} Entry
 * @typedef {{encryption: null | {salt: string, iterations: number}}} Head
 */

const MAGIC = 'skinserve-history-1\n';
const ITERATIONS = 600_000; // of PBKDF2 with SHA-256
const MAX_ITERATIONS = 10_000_000;
const NONCE_BYTES = 12;
const MAX_HEAD_BYTES = 1000;
const MAX_INDEX_BYTES = 200e6;
const MAX_ENTRIES = 2000;
const MAX_ANSWER_CHARACTERS = 4e6; // what the page renders
const MAX_PHOTOS = 30;
const MAX_PHOTO_BYTES = 100e6;
/** Longest name of a lesion or a face. */
export const MAX_LABEL_CHARACTERS = 60;

/** What POST /v1/feedback accepts. */
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

/** @param {unknown} id @returns {boolean} */
export const isRequestId = (id) => typeof id === 'string' && id !== 'unknown' && REQUEST_ID.test(id);

/** Types of photos that an imported file may name; others are read without a type. */
const PHOTO_TYPES = new Set(['image/jpeg', 'image/png', 'image/webp', 'image/heic', 'image/heif', 'image/avif', 'image/tiff', 'image/bmp', 'image/gif', 'image/mpo', 'image/jp2']);
const VERDICTS = { lesion: ['benign', 'malignant', 'inconclusive'], progress: ['improved', 'worsened', 'no_clear_change', 'inconclusive'] };

/** Report a file that cannot be imported. */
export class FileError extends Error {
  /** @param {'foreign' | 'newer' | 'damaged' | 'passphrase' | 'insecure'} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/**
 * Write entries into one file.
 * @param {Entry[]} entries
 * @param {string | null} passphrase encrypts the file; null: anybody who has the file can read it
 * @returns {Promise<Blob>}
 */
export async function writeFile(entries, passphrase) {
  const index = entries.map(({ id, kind, label, createdAt, requestId, answer, photos }) => ({
    ...{ id, kind, label, createdAt, requestId, answer },
    photos: photos.map(({ type }) => type),
  }));
  const parts = [new Blob([JSON.stringify(index)]), ...entries.flatMap(({ photos }) => photos)];
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const encryption = passphrase === null ? null : { salt: toHex(salt), iterations: ITERATIONS };
  const key = passphrase === null ? null : await keyOf(passphrase, salt, ITERATIONS);
  const head = new TextEncoder().encode(JSON.stringify({ encryption }));
  /** @type {BlobPart[]} */
  const file = [MAGIC, uint32(head.length), head];
  for (const [number, part] of parts.entries()) {
    const content = key ? await encrypt(key, part, number) : part;
    file.push(uint32(content.size), content);
  }
  return new Blob(file, { type: 'application/octet-stream' });
}

/**
 * Return whether a file needs a passphrase.
 * @param {Blob} file
 * @returns {Promise<boolean>}
 * @throws {FileError}
 */
export async function isEncrypted(file) {
  return (await readHead(file)).head.encryption !== null;
}

/**
 * Read and check all entries of a file; they have no HTML.
 * @param {Blob} file
 * @param {string | null} passphrase
 * @returns {Promise<Entry[]>}
 * @throws {FileError}
 */
export async function readFile(file, passphrase) {
  const { head, end } = await readHead(file);
  const key = head.encryption && (await keyOf(passphrase ?? '', fromHex(head.encryption.salt), head.encryption.iterations));
  const reader = new PartReader(file, end, key);
  const index = parse(await (await reader.next(MAX_INDEX_BYTES)).text());
  if (!Array.isArray(index) || index.length > MAX_ENTRIES || !index.every(isEntry)) throw new FileError('damaged');
  const entries = [];
  for (const { id, kind, label, createdAt, requestId, answer, photos: types } of index) {
    const photos = [];
    for (const type of types) photos.push(typed(await reader.next(MAX_PHOTO_BYTES), type));
    entries.push({ id, kind, label, createdAt, answer, photos, ...(requestId === undefined ? {} : { requestId }) });
  }
  if (!reader.isAtEnd) throw new FileError('damaged');
  return entries;
}

/** Read the parts of a file one after the other. */
class PartReader {
  number = 0;

  /**
   * @param {Blob} file
   * @param {number} at start of the first part
   * @param {CryptoKey | null} key
   */
  constructor(file, at, key) {
    this.file = file;
    this.at = at;
    this.key = key;
  }

  get isAtEnd() {
    return this.at === this.file.size;
  }

  /**
   * @param {number} maxBytes
   * @returns {Promise<Blob>}
   */
  async next(maxBytes) {
    const start = this.at + 4;
    if (start > this.file.size) throw new FileError('damaged');
    const size = await readUint32(this.file, this.at);
    if (size > maxBytes || start + size > this.file.size) throw new FileError('damaged');
    this.at = start + size;
    const content = this.file.slice(start, this.at);
    return this.key ? decrypt(this.key, content, this.number++) : content;
  }
}

/**
 * @param {Blob} file
 * @returns {Promise<{head: Head, end: number}>} end: where the parts start
 */
async function readHead(file) {
  const magic = await file.slice(0, MAGIC.length).text();
  if (magic !== MAGIC) throw new FileError(magic.startsWith('skinserve-history-') ? 'newer' : 'foreign');
  const size = file.size >= MAGIC.length + 4 ? await readUint32(file, MAGIC.length) : MAX_HEAD_BYTES + 1;
  if (size > MAX_HEAD_BYTES) throw new FileError('damaged');
  const end = MAGIC.length + 4 + size;
  const head = parse(await file.slice(MAGIC.length + 4, end).text());
  const encryption = head?.encryption;
  const isValid = encryption === null || (
    /^[0-9a-f]{32}$/.test(encryption?.salt) && Number.isInteger(encryption.iterations) && encryption.iterations > 0 && encryption.iterations <= MAX_ITERATIONS
  );
  if (!isValid) throw new FileError('damaged');
  return { head, end };
}

/**
 * @param {any} entry
 * @returns {boolean}
 */
function isEntry(entry) {
  return (
    typeof entry === 'object' && entry !== null &&
    /^[0-9a-f]{32}$/.test(entry.id) &&
    (entry.kind === 'lesion' || entry.kind === 'progress') &&
    typeof entry.label === 'string' && entry.label.trim() !== '' && entry.label.length <= MAX_LABEL_CHARACTERS &&
    typeof entry.createdAt === 'string' && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(entry.createdAt) && !Number.isNaN(Date.parse(entry.createdAt)) &&
    (entry.requestId === undefined || isRequestId(entry.requestId)) &&
    Array.isArray(entry.photos) && entry.photos.length > 0 && entry.photos.length <= (entry.kind === 'lesion' ? 1 : MAX_PHOTOS) &&
    entry.photos.every((/** @type {unknown} */ type) => typeof type === 'string') &&
    isAnswer(entry.answer, entry.kind, entry.photos.length)
  );
}

/**
 * Check what this page reads of an answer; the server checks all of it when it renders it.
 * @param {any} answer
 * @param {'lesion' | 'progress'} kind
 * @param {number} numPhotos
 * @returns {boolean}
 */
function isAnswer(answer, kind, numPhotos) {
  if (typeof answer !== 'object' || answer === null || !VERDICTS[kind].includes(answer.verdict)) return false;
  if (JSON.stringify(answer).length > MAX_ANSWER_CHARACTERS) return false;
  const probability = kind === 'lesion' ? answer.malignant_probability : answer.improved_probability;
  if (typeof probability !== 'number' || !(probability >= 0 && probability <= 1)) return false;
  const isPosition = (/** @type {any} */ photo) => Number.isInteger(photo?.index) && photo.index >= 0 && photo.index < numPhotos;
  return kind === 'lesion' || (Array.isArray(answer.photos) && answer.photos.length === numPhotos && answer.photos.every(isPosition));
}

/**
 * @param {Blob} photo
 * @param {string} type
 * @returns {Blob}
 */
const typed = (photo, type) => photo.slice(0, photo.size, PHOTO_TYPES.has(type) ? type : '');

/**
 * @param {string} passphrase
 * @param {Uint8Array<ArrayBuffer>} salt
 * @param {number} iterations
 * @returns {Promise<CryptoKey>}
 */
async function keyOf(passphrase, salt, iterations) {
  if (!crypto.subtle) throw new FileError('insecure');
  const material = await crypto.subtle.importKey('raw', new TextEncoder().encode(passphrase.normalize('NFC')), 'PBKDF2', false, ['deriveKey']);
  return crypto.subtle.deriveKey({ name: 'PBKDF2', hash: 'SHA-256', salt, iterations }, material, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
}

/**
 * @param {CryptoKey} key
 * @param {Blob} content
 * @param {number} number
 * @returns {Promise<Blob>}
 */
async function encrypt(key, content, number) {
  const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const encrypted = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: uint32(number) }, key, await content.arrayBuffer());
  return new Blob([iv, encrypted]);
}

/**
 * @param {CryptoKey} key
 * @param {Blob} content
 * @param {number} number
 * @returns {Promise<Blob>}
 */
async function decrypt(key, content, number) {
  const iv = new Uint8Array(await content.slice(0, NONCE_BYTES).arrayBuffer());
  const encrypted = await content.slice(NONCE_BYTES).arrayBuffer();
  try {
    return new Blob([await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData: uint32(number) }, key, encrypted)]);
  } catch {
    throw new FileError(number === 0 ? 'passphrase' : 'damaged');
  }
}

/**
 * @param {string} json
 * @returns {any}
 */
function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    throw new FileError('damaged');
  }
}

/**
 * @param {number} value
 * @returns {Uint8Array<ArrayBuffer>} 4 bytes, big-endian
 */
function uint32(value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/**
 * @param {Blob} file
 * @param {number} at
 * @returns {Promise<number>}
 */
const readUint32 = async (file, at) => new DataView(await file.slice(at, at + 4).arrayBuffer()).getUint32(0);

const toHex = (/** @type {Uint8Array} */ bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const fromHex = (/** @type {string} */ hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
