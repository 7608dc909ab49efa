/**
 * Say in words why photos cannot be compared.
 *
 * @typedef {import('./series.js').Request} Request
 * @typedef {import('./series.js').Problem} Problem
 * @typedef {import('./series.js').Limits} Limits
 * @typedef {import('./series_photos.js').SeriesPhotos} SeriesPhotos
 */

import { ApiError } from './http.js';
import { photoNumber } from './series.js';
import { text } from './texts.js';

/** Code of the API's error for the same problem. */
const CODES = { too_few: 'too_few_photos', too_many: 'too_many_photos', unreadable: 'unreadable_image', too_large: 'too_large', total_too_large: 'too_large' };

/**
 * Return the error that the API would answer.
 * @param {Problem} problem
 * @param {SeriesPhotos} series
 * @param {Limits} limits
 * @returns {ApiError}
 */
export function problemError({ code, count: n, ids }, series, limits) {
  const used = series.used.map(({ id }) => id);
  const values = {
    n,
    least: limits.minPhotos,
    most: code === 'total_too_large' ? megabytes(limits.maxRequestBytes) : limits.maxPhotos,
    mb: megabytes(limits.maxPhotoBytes),
    found: megabytes(series.bytes),
    numbers: ids.map((id) => text('photo_number', { number: used.indexOf(id) + 1 })).join(', '),
  };
  return new ApiError(CODES[code], text(code === 'too_few' && n === 0 ? 'series_empty' : `series_${code}`, values));
}

/** Errors of the API about one photo; their message begins with its number. */
const OF_ONE_PHOTO = new Set(['unreadable_image', 'unsupported_type', 'too_large', 'too_many_pixels']);

/**
 * Mark the photos that the API rejects.
 * @param {unknown} error
 * @param {Request | null} sent
 * @param {SeriesPhotos} series
 * @returns {{error: unknown, ids: number[]}} the error with the numbers of the tiles; all photos with a fault
 */
export function markRejected(error, sent, series) {
  const rejected = rejectedBy(error).filter(({ index }) => sent?.items[index]);
  if (!(error instanceof ApiError) || !sent || !rejected.length) return { error, ids: [] };
  for (const { index, code } of rejected) {
    series.faults.set(sent.items[index].id, text(code.startsWith('too_') ? 'tile_too_large' : 'tile_unreadable'));
  }
  const used = series.used.map(({ id }) => id);
  const ids = used.filter((id) => series.faults.has(id));
  const numbers = rejected.map(({ index }) => used.indexOf(sent.items[index].id) + 1).sort((a, b) => a - b);
  const names = numbers.map((number) => text('photo_number', { number }));
  const message = rejected.length === 1 ? `${names[0]}: ${rejected[0].message}` : text('series_rejected', { n: names.length, numbers: names.join(', ') });
  return { error: new ApiError(error.code, message, error), ids };
}

/**
 * @param {unknown} error
 * @returns {import('./http.js').RejectedPhoto[]}
 */
function rejectedBy(error) {
  if (!(error instanceof ApiError) || !OF_ONE_PHOTO.has(error.code)) return [];
  if (error.photos.length) return error.photos;
  const number = photoNumber(error.message); // of an older server
  return number ? [{ index: number - 1, code: error.code, message: error.message.replace(/^[^:]*:\s*/, '') }] : [];
}

/**
 * @param {number} bytes
 * @returns {number}
 */
const megabytes = (bytes) => Math.round(bytes / 1e6);
