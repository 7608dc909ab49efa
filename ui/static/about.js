/** The About tab: request the networks of the server when it is first opened. */

import { showError } from './answer.js';
import { connectFeedbackDeletion } from './feedback.js';
import { renderFragment } from './http.js';
import { servedModels } from './models.js';

/**
 * Connect the tab.
 * @param {HTMLElement} root
 */
export function startAbout(root) {
  const slot = (/** @type {string} */ name) => /** @type {HTMLElement} */ (root.querySelector(`[data-slot="${name}"]`));
  const address = new URL('..', document.baseURI).href.replace(/\/$/, '');
  for (const place of root.querySelectorAll('[data-slot="address"]')) place.textContent = address;
  connectFeedbackDeletion(/** @type {HTMLElement} */ (root.querySelector('[data-feedback-delete]')));

  const load = async () => {
    slot('problem').hidden = true;
    try {
      const parts = await renderFragment('models', await servedModels());
      for (const name of ['you', 'engineers']) slot(name).replaceChildren(/** @type {Node} */ (parts.querySelector(`[data-part="${name}"]`)));
    } catch (error) {
      slot('engineers').replaceChildren();
      showError(slot('problem'), error, { onRetry: load });
    }
  };
  let isLoaded = false;
  new IntersectionObserver((entries) => {
    if (isLoaded || !entries.some((entry) => entry.isIntersecting)) return;
    isLoaded = true;
    load();
  }).observe(root);
}
