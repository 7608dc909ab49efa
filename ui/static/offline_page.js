/** The page without a server: what works here, and the history. */

import { startHistory } from './history.js';
import { template } from './texts.js';

const root = /** @type {HTMLElement} */ (document.getElementById('history'));
root.append(template('template-history'));
startHistory(root);
document.getElementById('reload')?.addEventListener('click', () => location.reload());
