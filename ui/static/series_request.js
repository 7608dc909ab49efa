/**
 * Send the photos of a series to the API, and remember what was sent.
 *
 * @typedef {import('./series.js').Request} Request
 */

import { showWorking } from './answer.js';
import { photoForm, postPhotos, requestIdOf } from './http.js';
import { text } from './texts.js';

export class SeriesRequest {
  /** @type {Request | null} Sent last. */
  sent = null;
  /** Request ID of the answer to `sent`. */
  requestId = 'unknown';
  /** Path of the request below /v1/, with its query. */
  path = 'progress';

  /**
   * @param {HTMLElement} status shows the progress of the upload
   * @param {{fileOf: (id: number) => File, modelQuery: () => string, onCancel: () => void}} options
   */
  constructor(status, { fileOf, modelQuery, onCancel }) {
    this.status = status;
    this.fileOf = fileOf;
    this.modelQuery = modelQuery;
    this.onCancel = onCancel;
  }

  /**
   * @param {Request} request
   * @param {AbortSignal} signal
   * @returns {Promise<any>} answer of the API
   * @throws {import('./http.js').ApiError}
   */
  async post(request, signal) {
    this.sent = request;
    this.path = ['progress', this.modelQuery()].filter(Boolean).join('?');
    const card = showWorking(this.status, { title: text('comparing_title'), onCancel: this.onCancel });
    const form = photoForm('files', request.items.map(({ id }) => this.fileOf(id)), { taken_at: request.times });
    const answer = await postPhotos(this.path, form, { onProgress: card.progress, signal });
    this.requestId = requestIdOf(answer);
    return answer;
  }
}
