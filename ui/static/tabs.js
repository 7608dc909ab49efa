/** The tabs: they have addresses (#lesion, #progress, ...) and the keys of the tabs pattern of WAI-ARIA. */

import { text } from './texts.js';

const PREFIX = 'panel-';

/** @returns {HTMLElement[]} */
const tabs = () => [...document.querySelectorAll('#tabs [role="tab"]')].map((tab) => /** @type {HTMLElement} */ (tab));

/** @param {HTMLElement} tab */
const panelOf = (tab) => /** @type {HTMLElement} */ (document.getElementById(String(tab.getAttribute('aria-controls'))));

/** @param {HTMLElement} tab */
const nameOf = (tab) => panelOf(tab).id.slice(PREFIX.length);

/**
 * Connect the tabs and open that of the address.
 * @param {(name: string, panel: HTMLElement) => void} onOpen called each time that a tab is opened
 */
export function connectTabs(onOpen) {
  const list = /** @type {HTMLElement} */ (document.getElementById('tabs'));
  list.addEventListener('click', (event) => {
    const tab = /** @type {HTMLElement} */ (event.target).closest('[role="tab"]');
    if (tab) open(/** @type {HTMLElement} */ (tab), onOpen);
  });
  list.addEventListener('keydown', moveFocus);
  const openAddressed = () => {
    const all = tabs();
    const name = location.hash.slice(1) || nameOf(all[0]);
    const tab = all.find((one) => nameOf(one) === name) ?? all.find((one) => one.ariaSelected === 'true');
    if (tab) open(tab, onOpen);
  };
  window.addEventListener('popstate', openAddressed);
  openAddressed();
}

/**
 * Show the panel of a tab; make the tab the only one in the order of focus, and its address that of the page.
 * @param {HTMLElement} tab
 * @param {(name: string, panel: HTMLElement) => void} onOpen
 */
function open(tab, onOpen) {
  const all = tabs();
  for (const one of all) {
    one.ariaSelected = String(one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    panelOf(one).hidden = one !== tab;
  }
  const name = nameOf(tab);
  document.title = text('tab_title', { tab: (tab.textContent ?? '').trim() });
  onOpen(name, panelOf(tab));
  if (location.hash.slice(1) === name || (tab === all[0] && !location.hash)) return;
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
