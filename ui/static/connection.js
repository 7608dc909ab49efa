/** Report a server that does not answer, before the person waits for a photo. */

import { afterLoad } from './after_load.js';

const EVERY_MS = 5000;
const TIMEOUT_MS = 4000;
const ALLOWED_MISSES = 1; // a busy server can be late

/**
 * Watch the connection.
 * @param {HTMLElement} root has the message
 */
export function watchConnection(root) {
  const message = /** @type {HTMLElement} */ (root.querySelector('#connection'));
  let misses = 0;
  const check = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch('alive', { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
      misses = response.ok ? 0 : misses + 1;
    } catch {
      misses += 1;
    }
    message.hidden = misses <= ALLOWED_MISSES;
  };
  afterLoad.then(check);
  setInterval(check, EVERY_MS);
}
