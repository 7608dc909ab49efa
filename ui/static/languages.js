/** Open the page in the language that the person chose: `?lang=` of the address, kept in the browser. */

import { checkConnection } from './connection.js';

const KEY = 'language';

/**
 * Open the page in the language of an earlier visit, if the address names none.
 * @returns {boolean} whether another document is loading
 */
export function openKeptLanguage() {
  const kept = readKept();
  if (new URLSearchParams(location.search).has('lang') || !kept || kept === document.documentElement.lang) return false;
  location.replace(addressIn(kept));
  return true;
}

/**
 * Connect the choice of the language.
 * @param {HTMLElement} root
 */
export function connectLanguages(root) {
  const select = /** @type {HTMLSelectElement} */ (root.querySelector('#language'));
  select.addEventListener('change', async () => {
    const chosen = select.value;
    select.value = document.documentElement.lang; // until the other document is there: the person can decide to stay
    if (!(await checkConnection(root))) return; // another document would be an error, and the photos lost
    keep(chosen);
    location.assign(addressIn(chosen));
  });
}

/**
 * @param {string} language
 * @returns {string}
 */
function addressIn(language) {
  const address = new URL(location.href);
  address.searchParams.set('lang', language);
  return address.href;
}

/** @returns {string | null} null too where the browser keeps nothing */
function readKept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** @param {string} language */
function keep(language) {
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // the address still has the language
  }
}
