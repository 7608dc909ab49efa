/** Do what the first view does not need after it has loaded. */

/** Resolves when the page and its pictures have loaded. */
export const afterLoad = new Promise((resolve) => {
  if (document.readyState === 'complete') resolve(undefined);
  else addEventListener('load', resolve, { once: true });
});
