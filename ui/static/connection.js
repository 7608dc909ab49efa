/** Report a server that does not answer, before the person waits for a photo. */

import { afterLoad } from './after_load.js';

const EVERY_MS = 5000;
const TIMEOUT_MS = 4000;
const ALLOWED_MISSES = 1; // a busy server can be late

let misses = 0;

/**
 * Watch the connection.
 * @param {HTMLElement} root has the message
 */
export function watchConnection(root) {
  const check = async () => {
    if (document.hidden) return;
    misses = (await isServerThere()) ? 0 : misses + 1;
    showLoss(root);
  };
  afterLoad.then(check);
  setInterval(check, EVERY_MS);
}

/**
 * Return whether the server answers now; report it at once if not.
 * @param {HTMLElement} root has the message
 * @returns {Promise<boolean>}
 */
export async function checkConnection(root) {
  const isThere = await isServerThere();
  misses = isThere ? 0 : ALLOWED_MISSES + 1;
  showLoss(root);
  return isThere;
}

/** @returns {Promise<boolean>} */
async function isServerThere() {
  try {
    return (await fetch('alive', { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) })).ok;
  } catch {
    return false;
  }
}

/** @param {HTMLElement} root */
function showLoss(root) {
  /** @type {HTMLElement} */ (root.querySelector('#connection')).hidden = misses <= ALLOWED_MISSES;
}
