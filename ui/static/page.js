/** Start the page: connect the HTML of the document, which is there already. */

import { startAbout } from './about.js';
import { watchConnection } from './connection.js';
import { startHistory } from './history.js';
import { registerWorker } from './install.js';
import { connectLanguages, openKeptLanguage } from './languages.js';
import { hasUnsaved as hasLesion, startLesion } from './lesion.js';
import { hasUnsaved as hasSeries, resumeSeries, startProgress } from './progress.js';
import { receiveShared } from './shared.js';
import { connectTabs } from './tabs.js';

/** @type {Record<string, (panel: HTMLElement) => void>} */
const PANELS = { lesion: startLesion, progress: startProgress, history: startHistory, about: startAbout };

function start() {
  const page = /** @type {HTMLElement} */ (document.getElementById('page'));
  watchConnection(page);
  connectLanguages(page);
  const started = new Set();
  connectTabs((name, panel) => {
    if (started.has(name)) return;
    started.add(name);
    PANELS[name](panel);
    receiveShared(name, panel);
  });
  document.getElementById('late')?.remove();
  page.inert = false;
  registerWorker();
}

if (!openKeptLanguage()) start();

document.addEventListener('resume-series', (event) => { // see history.js
  document.getElementById('tab-progress')?.click();
  resumeSeries(/** @type {CustomEvent<import('./history_store.js').Entry>} */ (event).detail);
});

window.addEventListener('beforeunload', (event) => {
  if (hasLesion() || hasSeries()) event.preventDefault();
});
// A drop beside the page's inputs would replace the page by the photo.
for (const kind of ['dragover', 'drop']) document.addEventListener(kind, (event) => event.preventDefault());
