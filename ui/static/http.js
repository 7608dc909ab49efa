/**
 * Send requests to the API and to the page's own routes; failures are sentences for people.
 *
 * Photos go to the API only, by XMLHttpRequest: fetch reports no progress of an upload. Settings are attributes of
 * `<template id="page-texts">`: data-api (start of the API's addresses), data-deadline-s.
 *
 * @typedef {{index: number, code: string, message: string}} RejectedPhoto index: in the request, from 0
 */

import { hasText, text } from './texts.js';

const RETRY_AFTER_S = [1, 3]; // a short overload passes without the person's help
const GRACE_S = 5; // beyond the deadline that the server keeps
const RETRIABLE = new Set(['unreachable', 'offline', 'overloaded', 'rate_limited', 'deadline_exceeded', 'internal', 'model_unavailable', 'feedback_unavailable', 'unexpected']);

/** @type {WeakMap<object, string>} */
const requestIds = new WeakMap();

/** Report a failed request; its message says what was found, what is needed and what to do. */
export class ApiError extends Error {
  /**
   * @param {string} code of the API, or `unreachable`, `offline`, `unexpected`
   * @param {string} message
   * @param {{status?: number, retryAfterS?: number | null, requestId?: string | null, photos?: RejectedPhoto[]}} [details]
   *   photos: all photos of the request that the API rejects
   */
  constructor(code, message, { status = 0, retryAfterS = null, requestId = null, photos = [] } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.requestId = requestId;
    this.photos = photos;
  }

  /** Whether the same request can succeed later. */
  get isRetriable() {
    return RETRIABLE.has(this.code);
  }
}

/**
 * Return the settings of the page.
 * @returns {DOMStringMap}
 */
export const settings = () => /** @type {HTMLElement} */ (document.getElementById('page-texts')).dataset;

/**
 * Post photos to the API; retry it twice while the server is overloaded.
 * @param {string} path below /v1/, such as `lesion?explain=true`
 * @param {FormData} form made by `photoForm`
 * @param {{onProgress?: (fraction: number) => void, signal?: AbortSignal}} [options] onProgress: share of the body
 *   that was sent; 1 means that the server works. An aborted signal rejects with an AbortError.
 * @returns {Promise<any>} the JSON answer
 * @throws {ApiError}
 */
export async function postPhotos(path, form, { onProgress, signal } = {}) {
  for (const waitS of RETRY_AFTER_S) {
    try {
      return await send(path, form, onProgress, signal);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 503) throw error;
    }
    await pause(waitS, signal);
  }
  return send(path, form, onProgress, signal);
}

/**
 * Return multipart fields with neutral names: a photo's own name can identify a person.
 * @param {'file' | 'files' | 'photo'} field
 * @param {Blob[]} photos
 * @param {Record<string, string[]>} [values] further fields, such as taken_at
 * @returns {FormData}
 */
export function photoForm(field, photos, values = {}) {
  const form = new FormData();
  photos.forEach((photo, index) => form.append(field, photo.slice(0, photo.size, 'application/octet-stream'), `photo-${index}`));
  for (const [name, all] of Object.entries(values)) for (const value of all) form.append(name, value);
  return form;
}

/**
 * Return the X-Request-ID of an answer of `postPhotos`.
 * @param {object} answer
 * @returns {string}
 */
export const requestIdOf = (answer) => requestIds.get(answer) ?? 'unknown';

/**
 * Send feedback on an answer.
 * @param {FormData} form fields of POST /v1/feedback
 * @returns {Promise<{receipt: string, photo_stored: boolean}>}
 * @throws {ApiError}
 */
export async function postFeedback(form) {
  return (await request(`${settings().api}feedback`, { method: 'POST', body: form })).json();
}

/**
 * Delete feedback.
 * @param {string} receipt
 * @throws {ApiError}
 */
export async function deleteFeedback(receipt) {
  await request(`${settings().api}feedback/${encodeURIComponent(receipt)}`, { method: 'DELETE' });
}

/**
 * Get JSON from the API.
 * @param {string} path below /v1/
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function getJson(path, signal) {
  return (await request(`${settings().api}${path}`, { signal })).json();
}

/**
 * Render an answer of the API on the server.
 * @param {'lesion' | 'progress' | 'models'} name
 * @param {unknown} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<DocumentFragment>}
 * @throws {ApiError}
 */
export async function renderFragment(name, body, signal) {
  const headers = { 'Content-Type': 'application/json' };
  const response = await request(`render/${name}?lang=${document.documentElement.lang}`, { method: 'POST', body: JSON.stringify(body), headers, signal });
  return fragment(await response.text());
}

/** Previews in progress: the server draws few at a time. */
let previewing = Promise.resolve();

/**
 * Let the server draw a photo that the browser cannot show; one at a time.
 * @param {Blob} photo
 * @returns {Promise<{data_uri: string, width_px: number, height_px: number} | null>} null if it cannot be decoded
 * @throws {ApiError} the server does not answer, or is busy
 */
export function fetchPreview(photo) {
  const drawn = previewing.then(() => drawPreview(photo));
  previewing = drawn.then(() => {}, () => {});
  return drawn;
}

/**
 * @param {Blob} photo
 * @returns {Promise<any>}
 */
async function drawPreview(photo) {
  const headers = { 'Content-Type': 'application/octet-stream' };
  try {
    return await (await request('preview', { method: 'POST', body: photo, headers })).json();
  } catch (error) {
    if (error instanceof ApiError && error.code === 'unreadable_image') return null;
    throw error;
  }
}

/**
 * Load a picture of this server.
 * @param {string} address relative to the page
 * @returns {Promise<File>}
 * @throws {ApiError}
 */
export async function fetchFile(address) {
  const content = await (await request(address, {})).blob();
  return new File([content], address.slice(address.lastIndexOf('/') + 1), { type: content.type });
}

/**
 * Parse HTML of this server.
 * @param {string} html
 * @returns {DocumentFragment}
 */
export function fragment(html) {
  const parsed = document.createElement('template');
  parsed.innerHTML = html;
  return parsed.content;
}

/**
 * @param {string} url
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function request(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { ...options.headers, 'Accept-Language': document.documentElement.lang } });
  } catch (error) {
    throw isAbort(error) ? error : unreachable();
  }
  if (response.ok) return response;
  throw errorOf(response.status, await response.text().catch(() => ''), (name) => response.headers.get(name));
}

/**
 * @param {string} path
 * @param {FormData} form
 * @param {((fraction: number) => void) | undefined} onProgress
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<any>}
 */
function send(path, form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted());
    const deadlineS = Number(settings().deadlineS);
    const xhr = new XMLHttpRequest();
    /** @type {number | undefined} */
    let timer;
    const abort = () => xhr.abort();
    signal?.addEventListener('abort', abort, { once: true });
    xhr.onloadend = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    xhr.upload.onprogress = (event) => onProgress?.(event.lengthComputable && event.total ? event.loaded / event.total : 0);
    xhr.upload.onload = () => {
      onProgress?.(1);
      timer = window.setTimeout(() => {
        reject(new ApiError('deadline_exceeded', text('deadline_exceeded', { seconds: deadlineS })));
        xhr.abort();
      }, (deadlineS + GRACE_S) * 1000);
    };
    xhr.onerror = () => reject(unreachable());
    xhr.onabort = () => reject(aborted());
    xhr.onload = () => {
      if (xhr.status < 200 || xhr.status > 299) {
        return reject(errorOf(xhr.status, xhr.responseText, (name) => xhr.getResponseHeader(name)));
      }
      try {
        const answer = JSON.parse(xhr.responseText);
        requestIds.set(answer, xhr.getResponseHeader('X-Request-ID') ?? 'unknown');
        resolve(answer);
      } catch {
        reject(new ApiError('unexpected', text('unexpected'), { status: xhr.status }));
      }
    };
    xhr.open('POST', `${settings().api}${path}`);
    xhr.setRequestHeader('X-Request-Timeout-Seconds', String(deadlineS));
    xhr.setRequestHeader('Accept-Language', document.documentElement.lang); // of messages
    xhr.send(form);
  });
}

/**
 * Return the API's error, or a sentence for a response that is not the API's own, such as a proxy's plain text.
 * @param {number} status
 * @param {string} body
 * @param {(name: string) => string | null} header
 * @returns {ApiError}
 */
function errorOf(status, body, header) {
  const seconds = Number(header('Retry-After'));
  const details = { status, retryAfterS: seconds > 0 ? seconds : null, requestId: header('X-Request-ID') };
  try {
    const { code, message, photos } = JSON.parse(body).error;
    return new ApiError(String(code), sentence(String(message)), { ...details, photos: rejectedPhotos(photos) });
  } catch {
    const name = `status_${status}`;
    if (hasText(name)) return new ApiError(CODE_OF[status] ?? 'unexpected', text(name), details);
    return new ApiError('unexpected', text('status_unknown', { status }), details);
  }
}

/**
 * @param {unknown} photos of an error of the API
 * @returns {RejectedPhoto[]}
 */
const rejectedPhotos = (photos) => (Array.isArray(photos) ? photos : []).map(({ index, code, message }) => ({
  index: Number(index),
  code: String(code),
  message: sentence(String(message)),
}));

/** @type {Record<number, string>} */
const CODE_OF = { 408: 'deadline_exceeded', 413: 'too_large', 429: 'rate_limited', 502: 'unreachable', 503: 'overloaded', 504: 'deadline_exceeded' };

const unreachable = () => (navigator.onLine ? new ApiError('unreachable', text('unreachable')) : new ApiError('offline', text('offline')));
const aborted = () => new DOMException('aborted', 'AbortError');

/**
 * Return whether an error is the abort that the person wished.
 * @param {unknown} error
 * @returns {boolean}
 */
export const isAbort = (error) => error instanceof DOMException && error.name === 'AbortError';

/**
 * Add a capital and a full stop to a message of the API.
 * @param {string} message
 * @returns {string}
 */
const sentence = (message) => `${message.slice(0, 1).toUpperCase()}${message.slice(1)}${/[.!?\u0964\u061f]$/.test(message) ? '' : '.'}`;

/**
 * @param {number} seconds
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<void>}
 */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener('abort', () => { clearTimeout(timer); reject(aborted()); }, { once: true });
  });
}
