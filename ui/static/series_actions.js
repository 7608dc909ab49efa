/**
 * The buttons below the photos of a series: templates/progress_tab.html.jinja.
 *
 * @typedef {import('./series_photos.js').SeriesPhotos} SeriesPhotos
 */

import { fill } from './answer.js';
import { text } from './texts.js';

/**
 * Show the buttons that apply. Photos without dates are compared in their order at once: the API would only ask for it.
 * @param {HTMLElement} view `[data-view="photos"]`
 * @param {SeriesPhotos} series
 * @param {{areUndated: boolean}} options areUndated: the used photos certainly have no date
 */
export function showActions(view, { items, used }, { areUndated }) {
  const show = (/** @type {string} */ selector, /** @type {boolean} */ isShown) => {
    /** @type {HTMLElement} */ (view.querySelector(selector)).hidden = !isShown;
  };
  const n = used.length;
  fill(view, 'undated', areUndated ? text('arrange_missing', { n, total: n }) : '');
  show('[data-slot="undated"]', areUndated);
  show('#progress-compare', !areUndated);
  show('[data-action="compare-order"]', areUndated);
  show('[data-action="arrange"]', areUndated || items.some(({ isKnown }) => isKnown));
  show('[data-action="remove-all"]', items.length > 0);
}
