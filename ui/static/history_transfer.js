/**
 * Export the history as one file and import it; the page needs HTTPS or localhost to encrypt.
 *
 * @typedef {import('./history_store.js').Entry} Entry
 */

import { announce } from './answer.js';
import { field, openDialog } from './dialogs.js';
import { FileError, isEncrypted, readFile, writeFile } from './history_file.js';
import { allEntries, putEntries } from './history_store.js';
import { ApiError } from './http.js';
import { download } from './keep.js';
import { text } from './texts.js';

/**
 * @param {HTMLElement} host of the dialog
 * @param {Entry[]} entries
 */
export async function exportHistory(host, entries) {
  const canEncrypt = isSecureContext && Boolean(crypto.subtle);
  await openDialog(host, canEncrypt ? 'export-dialog' : 'export-plain-dialog', {
    submit: async (form) => {
      const passphrase = canEncrypt ? field(form, 'passphrase').value : null;
      if (canEncrypt && passphrase !== field(form, 'again').value) throw new Error(text('passphrases_differ'));
      download(await writeFile(entries, passphrase), `skinserve-history-${new Date().toISOString().slice(0, 10)}.skinserve`);
    },
  });
}

/**
 * Add the entries of a file to the history: all that are not there yet, or none.
 * @param {HTMLElement} host of the dialog
 * @param {Blob} file
 * @throws {ApiError} `import`, or `storage`
 */
export async function importHistory(host, file) {
  try {
    /** @type {Entry[]} */
    let entries = [];
    if (await isEncrypted(file)) {
      if (!crypto.subtle) throw new FileError('insecure');
      const isDone = await openDialog(host, 'import-dialog', {
        submit: async (form) => { entries = await readOrAskAgain(file, field(form, 'passphrase').value); },
      });
      if (!isDone) return;
    } else entries = await readFile(file, null);
    const known = new Set((await allEntries()).map(({ id }) => id));
    const added = entries.filter(({ id }) => !known.has(id));
    if (added.length) await putEntries(added);
    announceImport(host, added.length, entries.length - added.length);
  } catch (error) {
    throw error instanceof FileError ? new ApiError('import', text(`import_${error.code}`)) : error;
  }
}

/**
 * @param {Blob} file
 * @param {string} passphrase
 * @returns {Promise<Entry[]>}
 */
async function readOrAskAgain(file, passphrase) {
  try {
    return await readFile(file, passphrase);
  } catch (error) {
    throw error instanceof FileError ? new Error(text(`import_${error.code}`)) : error;
  }
}

/**
 * @param {HTMLElement} host
 * @param {number} numAdded
 * @param {number} numKnown
 */
function announceImport(host, numAdded, numKnown) {
  const message = [text('imported', { n: numAdded }), numKnown ? text('imported_known', { n: numKnown }) : ''].join(' ').trim();
  const place = /** @type {HTMLElement} */ (host.querySelector('[data-slot="done"]'));
  place.textContent = message;
  place.hidden = false;
  announce(message);
}
