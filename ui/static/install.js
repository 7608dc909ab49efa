/** Make the page installable and give it an offline page: register the service worker, worker/sw.js. */

import { afterLoad } from './after_load.js';

/** Register it after the first view. */
export async function registerWorker() {
  if (!('serviceWorker' in navigator)) return;
  await afterLoad;
  try {
    await navigator.serviceWorker.register('sw.js');
    const { active } = await navigator.serviceWorker.ready;
    active?.postMessage({ search: location.search }); // has the language of the offline page
  } catch (error) {
    console.info(error); // the page works without it
  }
}
