/** The page without a server: what works here, and the history. */

import { startHistory } from './history.js';
import { template } from './texts.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
const paint = () => document.body.classList.toggle('dark', dark.matches);
dark.addEventListener('change', paint);
paint();

const root = /** @type {HTMLElement} */ (document.getElementById('history'));
root.append(template('template-history'));
startHistory(root);
document.getElementById('reload')?.addEventListener('click', () => location.reload());
