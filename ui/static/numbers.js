/** Format dates and numbers in the language of the page. */

/** @type {Intl.DateTimeFormatOptions} as format_date of ui/dates.py */
const DAY = { year: 'numeric', month: 'short', day: 'numeric' };

const language = () => document.documentElement.lang || 'en';

/**
 * @param {string} time ISO 8601
 * @param {Intl.DateTimeFormatOptions} [style]
 * @returns {string}
 */
export const dateText = (time, style = DAY) => new Intl.DateTimeFormat(language(), style).format(new Date(time));

/**
 * @param {number} value
 * @param {number} [digits] after the decimal point; as many as the value has if undefined
 * @returns {string}
 */
export const numberText = (value, digits) => new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/**
 * Format a probability in whole percent, as `percent` of ui/rendering.py: never certain, never rounded over a limit.
 * @param {number} probability
 * @param {number[]} limits thresholds of the verdict
 * @returns {string}
 */
export function percentText(probability, limits) {
  const format = (/** @type {number} */ whole) => percentFormat().format(whole / 100);
  if (probability < 0.01) return isolated(`<${format(1)}`);
  if (probability > 0.99) return isolated(`>${format(99)}`);
  let whole = Math.round(100 * probability);
  for (const limit of limits) {
    const first = Math.ceil(Number((100 * limit).toFixed(6)));
    whole = probability >= limit ? Math.max(whole, first) : Math.min(whole, first - 1);
  }
  return isolated(format(whole));
}

/**
 * Format a share that was counted, in whole percent; 0% and 100% are possible.
 * @param {number} share
 * @returns {string}
 */
export const shareText = (share) => isolated(percentFormat().format(share));

const percentFormat = () => new Intl.NumberFormat(language(), { style: 'percent' });

/**
 * Keep text from right to left from mirroring a sign and from putting % before the number.
 * @param {string} number
 * @returns {string}
 */
const isolated = (number) => (document.documentElement.dir === 'rtl' ? `\u2066${number}\u2069` : number);
