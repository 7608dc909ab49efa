/** Ask the person in a dialog: `<template id="NAME">` with a <dialog> that has a <form>. */

import { template } from './texts.js';

/**
 * Open a dialog until it is cancelled or its form is submitted without a problem.
 * @param {HTMLElement} host of the dialog, inside the page's own HTML
 * @param {string} name of the template
 * @param {{prepare?: (form: HTMLFormElement) => void, submit?: (form: HTMLFormElement) => void | Promise<void>}} [options]
 *   submit: the message of an error that it throws is shown, and the dialog stays open.
 * @returns {Promise<boolean>} whether it was submitted
 */
export async function openDialog(host, name, { prepare, submit } = {}) {
  const dialog = /** @type {HTMLDialogElement} */ (template(name).firstElementChild);
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector('form'));
  const problem = dialog.querySelector('[data-slot="problem"]');
  host.append(dialog);
  prepare?.(form);
  dialog.querySelector('[data-close]')?.addEventListener('click', () => dialog.close());
  let isWorking = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (isWorking) return;
    isWorking = true;
    form.setAttribute('aria-busy', 'true');
    try {
      await submit?.(form);
      dialog.close('done');
    } catch (error) {
      if (!problem) throw error;
      problem.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      isWorking = false;
      form.removeAttribute('aria-busy');
    }
  });
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  dialog.remove();
  return dialog.returnValue === 'done';
}

/**
 * Return a field of a form.
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {HTMLInputElement}
 */
export const field = (form, name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
