/** Show answers, errors and work in progress; place boxes on photos. */

import { ApiError, isAbort } from './http.js';
import { hasText, template, text } from './texts.js';

/** Time between two updates of a waiting Retry button. */
const TICK_MS = 1000;

/**
 * Replace the content of an element, scroll it into view and focus its heading, which a screen reader then reads.
 * @param {HTMLElement} place
 * @param {Node} content has a heading
 */
export function show(place, content) {
  place.replaceChildren(content);
  place.hidden = false;
  focusHeading(place);
}

/**
 * Focus the first heading of an element and scroll it into view.
 * @param {HTMLElement} place
 */
export function focusHeading(place) {
  const heading = place.querySelector('h2, h3, h4');
  if (!(heading instanceof HTMLElement)) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  (heading.closest('.card') ?? heading).scrollIntoView({ block: 'start', behavior: still ? 'auto' : 'smooth' });
}

/**
 * Remove what `show` has shown.
 * @param {HTMLElement} place
 */
export function clear(place) {
  place.replaceChildren();
  place.hidden = true;
}

/**
 * Show an error as a card.
 * @param {HTMLElement} place
 * @param {unknown} error
 * @param {{onRetry?: () => void, actions?: {label: string, onClick: () => void}[]}} [options] onRetry: offered if the
 *   same request can succeed later; the button waits for Retry-After. actions: further buttons.
 */
export function showError(place, error, { onRetry, actions = [] } = {}) {
  if (isAbort(error)) return;
  if (!(error instanceof ApiError)) console.error(error);
  const failure = error instanceof ApiError ? error : new ApiError('unexpected', text('unexpected'));
  const content = template('error-card');
  const card = /** @type {HTMLElement} */ (content.firstElementChild);
  card.dataset.code = failure.code;
  const title = `title_${failure.code}`;
  fill(card, 'title', text(hasText(title) ? title : 'title_other'));
  fill(card, 'message', failure.message);
  const buttons = /** @type {HTMLElement} */ (card.querySelector('[data-slot="actions"]'));
  if (onRetry && failure.isRetriable) buttons.append(retryButton(onRetry, failure.retryAfterS ?? 0));
  for (const { label, onClick } of actions) buttons.append(button(label, onClick));
  buttons.hidden = !buttons.childElementCount;
  show(place, content);
}

/**
 * Return a handle of a card with the progress of an upload and a Cancel button.
 * @param {HTMLElement} place
 * @param {{title: string, onCancel: () => void, focus?: boolean}} options title: what the server does after the upload
 * @returns {{progress: (fraction: number) => void}}
 */
export function showWorking(place, { title, onCancel, focus = true }) {
  const content = template('working-card');
  const card = /** @type {HTMLElement} */ (content.firstElementChild);
  const bar = /** @type {HTMLElement} */ (card.querySelector('[role="progressbar"]'));
  fill(card, 'title', title);
  fill(card, 'text', text('uploading', { percent: 0 }));
  card.querySelector('[data-cancel]')?.addEventListener('click', onCancel);
  place.replaceChildren(content);
  place.hidden = false;
  if (focus) focusHeading(place);
  return {
    progress(fraction) {
      const percent = Math.round(100 * fraction);
      const isSent = fraction >= 1;
      fill(card, 'text', isSent ? text('working') : text('uploading', { percent }));
      bar.style.setProperty('--done', `${percent}%`);
      bar.classList.toggle('unknown', isSent);
      if (isSent) bar.removeAttribute('aria-valuenow');
      else bar.setAttribute('aria-valuenow', String(percent));
    },
  };
}

/**
 * Mark a button as working: it shows `label`, and a second press does nothing.
 * @param {HTMLButtonElement} pressed
 * @param {string} label
 * @returns {() => void} restore the button
 */
export function markBusy(pressed, label) {
  const before = pressed.textContent;
  pressed.textContent = label;
  pressed.setAttribute('aria-disabled', 'true'); // `disabled` would move the focus to the body
  pressed.setAttribute('aria-busy', 'true');
  return () => {
    pressed.textContent = before;
    pressed.removeAttribute('aria-disabled');
    pressed.removeAttribute('aria-busy');
  };
}

/**
 * Say a short message to screen readers.
 * @param {string} message
 */
export function announce(message) {
  const region = document.getElementById('announcements');
  if (region) region.textContent = message;
}

/**
 * Place every `[data-box="left,top,right,bottom"]` of an element, in pixels of the upright photo, in percent of it.
 * @param {ParentNode} root
 * @param {{width: number, height: number}} size of the upright photo, pixels
 */
export function placeBoxes(root, { width, height }) {
  for (const box of root.querySelectorAll('[data-box]')) {
    const edges = String(/** @type {HTMLElement} */ (box).dataset.box).split(',').map(Number);
    const [left, right] = [edges[0], edges[2]].map((x) => (100 * Math.min(Math.max(x, 0), width)) / width);
    const [top, bottom] = [edges[1], edges[3]].map((y) => (100 * Math.min(Math.max(y, 0), height)) / height);
    Object.assign(/** @type {HTMLElement} */ (box).style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
  }
}

/**
 * Set the text of a slot, `[data-slot="NAME"]`.
 * @param {ParentNode} root
 * @param {string} name
 * @param {string} value
 */
export function fill(root, name, value) {
  const slot = root.querySelector(`[data-slot="${name}"]`);
  if (slot && slot.textContent !== value) slot.textContent = value;
}

/**
 * @param {string} label
 * @param {() => void} onClick
 * @returns {HTMLButtonElement}
 */
export function button(label, onClick) {
  const made = Object.assign(document.createElement('button'), { type: 'button', textContent: label });
  made.addEventListener('click', onClick);
  return made;
}

/**
 * @param {() => void} onRetry
 * @param {number} waitS
 * @returns {HTMLButtonElement}
 */
function retryButton(onRetry, waitS) {
  const made = button(text('retry'), () => { if (made.ariaDisabled !== 'true') onRetry(); });
  made.className = 'primary';
  made.dataset.retry = '';
  let left = Math.ceil(waitS);
  const tick = () => {
    made.ariaDisabled = String(left > 0);
    made.textContent = left > 0 ? text('retry_in', { n: left }) : text('retry');
    if (left-- > 0) setTimeout(tick, TICK_MS);
  };
  tick();
  return made;
}
