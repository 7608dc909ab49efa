/** Give Gradio's tabs addresses (#lesion, #progress, #about) and the keys of the tabs pattern of WAI-ARIA. */

import { text } from './texts.js';

const PREFIX = 'panel-';

/** @returns {HTMLElement[]} */
const tabs = () => [...document.querySelectorAll('#tabs [role="tablist"] [role="tab"]')].map((tab) => /** @type {HTMLElement} */ (tab));

/** @param {HTMLElement} tab */
const nameOf = (tab) => String(tab.getAttribute('aria-controls')).slice(PREFIX.length);

/** @returns {HTMLElement | undefined} */
const selected = () => tabs().find((tab) => tab.ariaSelected === 'true');

/**
 * Connect the tabs.
 * @returns {boolean} whether they exist yet
 */
export function connectTabs() {
  const list = document.querySelector('#tabs [role="tablist"]');
  if (!list || !selected()) return false;
  list.addEventListener('keydown', (event) => moveFocus(/** @type {KeyboardEvent} */ (event)));
  new MutationObserver(update).observe(list, { subtree: true, attributeFilter: ['aria-selected'] });
  window.addEventListener('popstate', openAddressed);
  openAddressed();
  update();
  return true;
}

/** Open the tab of the address. */
function openAddressed() {
  const name = location.hash.slice(1) || nameOf(tabs()[0]);
  const tab = tabs().find((one) => nameOf(one) === name);
  if (tab && tab !== selected()) tab.click();
}

/** Make the selected tab the only one in the order of focus, and its address that of the page. */
function update() {
  const current = selected();
  if (!current) return;
  for (const tab of tabs()) tab.tabIndex = tab === current ? 0 : -1;
  const name = nameOf(current);
  const isFirst = current === tabs()[0];
  document.title = text('tab_title', { tab: (current.textContent ?? '').trim() });
  if (location.hash.slice(1) === name || (isFirst && !location.hash)) return;
  history.pushState(null, '', `#${name}`);
}

/** @param {KeyboardEvent} event */
function moveFocus(event) {
  const all = tabs();
  const current = all.indexOf(/** @type {HTMLElement} */ (event.target));
  if (current < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  const forward = getComputedStyle(all[current]).direction === 'rtl' ? -1 : 1;
  /** @type {Record<string, number>} */
  const next = { ArrowRight: current + forward, ArrowLeft: current - forward, Home: 0, End: all.length - 1 };
  if (!(event.key in next)) return;
  event.preventDefault();
  const tab = all[(next[event.key] + all.length) % all.length];
  tab.click();
  tab.focus();
}
