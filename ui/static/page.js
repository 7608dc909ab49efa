/** Start the page: fill Gradio's empty places with our HTML as soon as they exist, then connect it. */

import { startAbout } from './about.js';
import { watchConnection } from './connection.js';
import { startHistory } from './history.js';
import { registerWorker } from './install.js';
import { connectLanguages, holdLanguage, openKeptLanguage } from './languages.js';
import { hasUnsaved as hasLesion, startLesion } from './lesion.js';
import { hasUnsaved as hasSeries, startProgress } from './progress.js';
import { receiveShared } from './shared.js';
import { connectTabs } from './tabs.js';
import { template } from './texts.js';

/** @type {Record<string, (root: HTMLElement) => void>} */
const PARTS = { head: startHead, lesion: startLesion, progress: startProgress, history: startHistory, about: startAbout, foot: () => {} };
const started = new Set();

/** @param {HTMLElement} root */
function startHead(root) {
  watchConnection(root);
  connectLanguages(root);
}

/** Gradio draws a tab when it is first opened. */
function fillPlaces() {
  for (const [name, start] of Object.entries(PARTS)) {
    const place = document.getElementById(`place-${name}`);
    if (!place || started.has(name)) continue;
    started.add(name);
    const root = document.createElement('div');
    root.className = 'skin';
    root.append(template(`template-${name}`));
    place.replaceChildren(root);
    start(root);
    receiveShared(name, root);
  }
  if (!started.has('tabs') && connectTabs()) started.add('tabs');
  if (started.size === Object.keys(PARTS).length + 1) places.disconnect();
}

const places = new MutationObserver(fillPlaces);
holdLanguage();
if (!openKeptLanguage()) {
  places.observe(document.body, { childList: true, subtree: true });
  fillPlaces();
  registerWorker();
}

window.addEventListener('beforeunload', (event) => {
  if (hasLesion() || hasSeries()) event.preventDefault();
});
// A drop beside the page's inputs would replace the page by the photo.
for (const kind of ['dragover', 'drop']) document.addEventListener(kind, (event) => event.preventDefault());
