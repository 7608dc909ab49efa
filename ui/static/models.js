/** The models of the server: choose one where several answer the same question. */

import { afterLoad } from './after_load.js';
import { getJson } from './http.js';

/**
 * @typedef {{kind: string, name: string, version: string, default: boolean, description: string}} Model
 * @typedef {{models: Model[], feedback: boolean}} Served
 */

/** @type {Promise<Served> | null} */
let served = null;

/**
 * Return what the server has; one request for all callers, unless it fails.
 * @returns {Promise<Served>}
 * @throws {import('./http.js').ApiError}
 */
export function servedModels() {
  served ??= getJson('models').catch((error) => {
    served = null;
    throw error;
  });
  return /** @type {Promise<Served>} */ (served);
}

/**
 * Connect a choice of model; it stays hidden where one model is served.
 * @param {HTMLElement} root `[data-model-choice="TASK"]`: templates/macros.html.jinja
 * @param {() => void} [onChange] the person chose another model
 * @returns {() => string} the query parameter `model=...` of the choice, empty for the default: the server then
 *   decides, also between the two models of a canary
 */
export function connectModelChoice(root, onChange) {
  const task = String(root.dataset.modelChoice);
  const select = /** @type {HTMLSelectElement} */ (root.querySelector('select'));
  const key = `skinserve.model.${task}`;
  select.addEventListener('change', () => {
    remember(key, select.value);
    onChange?.();
  });
  afterLoad.then(servedModels).then(({ models }) => {
    const choices = models.filter(({ kind }) => kind === task);
    if (choices.length < 2) return;
    select.replaceChildren(...choices.map(option));
    root.querySelector('ul')?.replaceChildren(...choices.filter(({ description }) => description).map(purpose));
    const before = recall(key);
    if (choices.some((model) => valueOf(model) === before)) select.value = before;
    root.hidden = false;
  }, () => {}); // no choice: the default answers, and the photo's own request reports what is wrong
  return () => (select.value ? `model=${encodeURIComponent(select.value)}` : '');
}

/** @param {Model} model */
const nameOf = (model) => `${model.name} ${model.version}`;

/** @param {Model} model */
const option = (model) => new Option(nameOf(model), valueOf(model), model.default);

/**
 * Say what a model is good for; a closed select would cut this off on a phone.
 * @param {Model} model
 * @returns {HTMLElement}
 */
function purpose(model) {
  // Names and descriptions of checkpoints are in English: a line of them starts at the left in Arabic too.
  const line = Object.assign(document.createElement('li'), { dir: 'ltr', lang: 'en' });
  const name = Object.assign(document.createElement('bdi'), { textContent: nameOf(model) });
  const words = Object.assign(document.createElement('bdi'), { textContent: model.description });
  line.append(name, ': ', words);
  return line;
}

/** @param {Model} model */
const valueOf = (model) => (model.default ? '' : `${model.name}@${model.version}`);

/**
 * @param {string} key
 * @param {string} value
 */
function remember(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // storage is blocked: the choice lasts until the page is loaded again
  }
}

/**
 * @param {string} key
 * @returns {string}
 */
function recall(key) {
  try {
    return sessionStorage.getItem(key) ?? '';
  } catch {
    return '';
  }
}
