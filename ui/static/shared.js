/** Take photos that another program of the phone shares with the installed page; see worker/sw.js. */

const TIMEOUT_MS = 5000;

/** Of the page at its start: opening a tab changes the hash. */
const start = new URL(location.href);
const id = start.searchParams.get('shared');
const target = start.hash.slice(1) || 'lesion';

/**
 * Give shared photos to the tab that the address names; the server never gets the request that brings them.
 * @param {string} name of the tab that was just started
 * @param {HTMLElement} root of the tab
 */
export async function receiveShared(name, root) {
  if (!id || name !== target) return;
  const address = new URL(location.href);
  address.searchParams.delete('shared');
  history.replaceState(null, '', address);
  const detail = await takeFiles(id);
  root.querySelector('.photo-input')?.dispatchEvent(new CustomEvent('photos', { detail }));
}

/**
 * @param {string} id
 * @returns {Promise<File[]>} none if the service worker has forgotten them
 */
async function takeFiles(id) {
  if (!('serviceWorker' in navigator)) return [];
  const late = new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS, []));
  const taken = navigator.serviceWorker.ready.then(({ active }) => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => resolve(data);
    active?.postMessage({ take: id }, [port2]);
  }));
  return /** @type {File[]} */ (await Promise.race([taken, late]));
}
