/**
 * Keep answers with their photos in this browser, in IndexedDB; nothing is sent anywhere.
 *
 * @typedef {object} Entry An answer that the person keeps.
 * @property {string} id
 * @property {'lesion' | 'progress'} kind
 * @property {string} label name that the person gives to the lesion or the face
 * @property {string} createdAt ISO 8601 time of the answer
 * @property {any} answer of the API
 * @property {Blob[]} photos in the order of the request
 * @property {string} [requestId] of the answer; missing in entries of earlier versions of this page
 * @property {string} [html] the answer as this server rendered it, shown while it cannot be reached
 */

import { ApiError } from './http.js';
import { text } from './texts.js';

const NAME = 'skinserve';
const STORE = 'answers';


const changes = 'BroadcastChannel' in window ? new BroadcastChannel('skinserve-history') : null;
/** @type {(() => void)[]} */
const listeners = [];
changes?.addEventListener('message', () => listeners.forEach((listener) => listener()));

/**
 * Call a function after each change, by this tab or another one.
 * @param {() => void} listener
 */
export const onChange = (listener) => { listeners.push(listener); };

/**
 * Return an identifier that no other device gives.
 * @returns {string}
 */
export const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * Return all entries, oldest first.
 * @returns {Promise<Entry[]>}
 * @throws {ApiError} `storage`: the browser stores nothing, or has no room; nothing was changed
 */
export async function allEntries() {
  const entries = await inStore('readonly', (store) => store.getAll());
  return entries.sort((/** @type {Entry} */ a, /** @type {Entry} */ b) => (a.createdAt < b.createdAt ? -1 : 1));
}

/**
 * Add or replace entries: all of them or, if one fails, none.
 * @param {Entry[]} entries
 * @returns {Promise<void>}
 * @throws {ApiError} `storage`: the browser stores nothing, or has no room; nothing was changed
 */
export async function putEntries(entries) {
  await inStore('readwrite', (store) => entries.map((entry) => store.put(entry)).at(-1));
  navigator.storage?.persist?.().catch(() => {}); // the browser may delete it only if the person wishes
  changed();
}

/**
 * @param {string} id
 * @returns {Promise<void>}
 * @throws {ApiError} `storage`: the browser stores nothing, or has no room; nothing was changed
 */
export async function deleteEntry(id) {
  await inStore('readwrite', (store) => store.delete(id));
  changed();
}

/**
 * Delete the whole database.
 * @returns {Promise<void>}
 * @throws {ApiError} `storage`: the browser stores nothing, or has no room; nothing was changed
 */
export async function deleteAll() {
  await inStore('readwrite', (store) => store.clear());
  await new Promise((resolve, reject) => {
    const deletion = indexedDB.deleteDatabase(NAME);
    deletion.onsuccess = deletion.onblocked = resolve; // blocked: it is empty, and goes when another tab has finished
    deletion.onerror = () => reject(storageError(deletion.error));
  });
  changed();
}

function changed() {
  changes?.postMessage('');
  listeners.forEach((listener) => listener());
}

/**
 * Run one transaction; its result counts when all of it is stored.
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest | undefined} work
 * @returns {Promise<any>}
 */
async function inStore(mode, work) {
  let database;
  try {
    database = await open();
    return await new Promise((resolve, reject) => {
      const transaction = /** @type {IDBDatabase} */ (database).transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request?.error);
    });
  } catch (error) {
    throw storageError(error);
  } finally {
    database?.close();
  }
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: 'id' });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

/**
 * @param {unknown} error
 * @returns {ApiError}
 */
function storageError(error) {
  console.error(error);
  const isFull = error instanceof DOMException && error.name === 'QuotaExceededError';
  return new ApiError('storage', text(isFull ? 'storage_full' : 'storage_blocked'));
}
