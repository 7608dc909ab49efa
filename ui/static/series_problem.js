/**
 * Say in words why photos cannot be compared.
 *
 * @typedef {import('./series.js').Problem} Problem
 * @typedef {import('./series.js').Limits} Limits
 * @typedef {import('./series_photos.js').SeriesPhotos} SeriesPhotos
 */

import { ApiError } from './http.js';
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

/**
 * @param {number} bytes
 * @returns {number}
 */
const megabytes = (bytes) => Math.round(bytes / 1e6);
