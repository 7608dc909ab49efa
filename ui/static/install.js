/** Make the page installable and give it an offline page: register the service worker, worker/sw.js. */

/** Register it when the page is ready: it must not delay the first view. */
export function registerWorker() {
  if (!('serviceWorker' in navigator)) return;
  const register = async () => {
    try {
      await navigator.serviceWorker.register('sw.js');
      const { active } = await navigator.serviceWorker.ready;
      active?.postMessage({ search: location.search }); // has the language of the offline page
    } catch (error) {
      console.info(error); // the page works without it
    }
  };
  if (document.readyState === 'complete') register();
  else addEventListener('load', register, { once: true });
}
