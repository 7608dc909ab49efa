/** Copy text; also over plain HTTP, where browsers offer no Clipboard API. */

import { announce } from './answer.js';
import { text } from './texts.js';

const SHOWN_MS = 2000;

/**
 * Connect every `[data-copy]` button of an element: it copies the text of the `[data-copied]` beside it.
 * @param {HTMLElement} root
 */
export function connectCopyButtons(root) {
  for (const pressed of /** @type {NodeListOf<HTMLButtonElement>} */ (root.querySelectorAll('[data-copy]'))) {
    const label = pressed.textContent;
    pressed.addEventListener('click', async () => {
      const source = /** @type {HTMLElement} */ (pressed.closest('[data-copy-group]')?.querySelector('[data-copied]'));
      const message = text((await copy(source)) ? 'copied' : 'copy_yourself');
      announce(message);
      pressed.textContent = message;
      setTimeout(() => { pressed.textContent = label; }, SHOWN_MS);
    });
  }
}

/**
 * Copy the text of an element; select it where the browser does not allow that.
 * @param {HTMLElement} source
 * @returns {Promise<boolean>} whether it is in the clipboard
 */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent ?? '');
    return true;
  } catch {
    getSelection()?.selectAllChildren(source);
    return document.execCommand('copy'); // deprecated, but the only way without HTTPS
  }
}
