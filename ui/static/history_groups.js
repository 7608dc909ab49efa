/**
 * Group the entries of the history by what the person calls them, and say each answer in two lines.
 *
 * @typedef {import('./history_store.js').Entry} Entry
 *
 * @typedef {object} Group All answers on one lesion or one face.
 * @property {string} label
 * @property {Entry[]} entries oldest first
 * @property {boolean} hasSeveralModels
 */

import { percentText } from './numbers.js';
import { makePhoto } from './photo_input.js';
import { text } from './texts.js';

/**
 * @param {Entry[]} entries oldest first
 * @returns {Group[]} that with the newest answer first
 */
export function groupsOf(entries) {
  /** @type {Map<string, Entry[]>} */
  const groups = new Map();
  for (const entry of entries) {
    const key = `${entry.kind} ${entry.label}`;
    groups.set(key, [...(groups.get(key) ?? []), entry]);
  }
  return [...groups.values()]
    .sort((a, b) => (newest(a) < newest(b) ? 1 : -1))
    .map((all) => ({
      label: all[0].label,
      entries: all,
      hasSeveralModels: new Set(all.map(({ answer }) => `${answer.model?.name} ${answer.model?.version}`)).size > 1,
    }));
}

/**
 * @param {Entry[]} entries
 * @returns {string}
 */
const newest = (entries) => entries[entries.length - 1].createdAt;

/**
 * @param {Entry} entry
 * @returns {{verdict: string, probability: string, tone: string}} tone: class of the colours
 */
export function summaryOf({ kind, answer }) {
  const isDoubtful = kind === 'lesion' && answer.verdict === 'benign' && answer.reasons.some(({ code }) => code === 'blurred');
  const verdict = text(isDoubtful ? 'lesion_doubtful' : `${kind}_${answer.verdict}`);
  const [probability, limits] = kind === 'lesion'
    ? [answer.malignant_probability, [answer.benign_threshold, answer.threshold]]
    : [answer.improved_probability, [answer.improved_threshold]];
  if (kind === 'progress' && answer.verdict === 'inconclusive') return { verdict, probability: '', tone: 'inconclusive' }; // it has none
  const percent = percentText(probability, limits.filter((limit) => typeof limit === 'number'));
  const isPlain = isDoubtful || ['inconclusive', 'no_clear_change'].includes(answer.verdict);
  return { verdict, probability: text(`${kind}_probability`, { percent }), tone: isPlain ? 'inconclusive' : answer.verdict };
}

/**
 * Return the photos of an entry for the page; `release` each one.
 * @param {Entry} entry
 * @returns {import('./photo_input.js').Photo[]}
 */
export const photosOf = ({ photos }) => photos.map((photo, index) => makePhoto(new File([photo], `photo-${index + 1}`, { type: photo.type })));
