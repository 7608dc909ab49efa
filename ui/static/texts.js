/**
 * Look up the page's texts. They stand in the document, `<template id="page-texts">`, in the visitor's language:
 * `<p data-text="NAME">... {place} ...</p>`, with `data-plural` (a category of Intl.PluralRules) if a number decides.
 */

import { numberText } from './numbers.js';

/** @returns {DocumentFragment} */
const texts = () => /** @type {HTMLTemplateElement} */ (document.getElementById('page-texts')).content;

/**
 * Return a text with its places filled; `n` also chooses the plural form.
 * @param {string} name
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function text(name, values = {}) {
  const found = element(name, values.n);
  if (!found) throw new Error(`the document has no text ${name}`);
  return (found.textContent ?? '').replace(/\{(\w+)\}/g, (place, key) => (key in values ? shown(values[key]) : place));
}

/** @param {string | number} value */
const shown = (value) => (typeof value === 'number' ? numberText(value) : value);

/** Marks of writing direction, which could turn the rest of a line round. */
export const DIRECTION_MARKS = /[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g;

/**
 * Return a name for a text: an Arabic name in an English sentence, or the reverse, does not move its neighbours.
 * @param {string} name
 * @returns {string}
 */
export const isolated = (name) => `\u2068${name.replace(DIRECTION_MARKS, '')}\u2069`;

/**
 * Return whether the document has a text.
 * @param {string} name
 * @returns {boolean}
 */
export const hasText = (name) => element(name, undefined) !== null;

/**
 * @param {string} name
 * @param {string | number | undefined} n
 * @returns {Element | null}
 */
function element(name, n) {
  const all = `[data-text="${CSS.escape(name)}"]`;
  if (typeof n !== 'number') return texts().querySelector(all);
  const form = new Intl.PluralRules(document.documentElement.lang || 'en').select(n);
  return texts().querySelector(`${all}[data-plural="${form}"]`) ?? texts().querySelector(`${all}[data-plural="other"]`) ?? texts().querySelector(all);
}

/**
 * Return a copy of `<template id="NAME">` of the document.
 * @param {string} name
 * @returns {DocumentFragment}
 */
export function template(name) {
  const found = document.getElementById(name);
  if (!(found instanceof HTMLTemplateElement)) throw new Error(`the document has no template ${name}`);
  return /** @type {DocumentFragment} */ (found.content.cloneNode(true));
}
