/**
 * "Was this right?": send feedback with the person's consent, show its receipt, delete it.
 *
 * @typedef {object} Answered
 * @property {'lesion' | 'progress'} task
 * @property {any} answer
 * @property {string} requestId
 * @property {import('./photo_input.js').Photo} [photo] of a lesion
 */

import { announce, clear, fill, markBusy, showError } from './answer.js';
import { connectCopyButtons } from './clipboard.js';
import { deleteFeedback, photoForm, postFeedback } from './http.js';
import { servedModels } from './models.js';
import { DIRECTION_MARKS, template, text } from './texts.js';

let lastId = 0;

/**
 * Connect the form of an answer; it stays hidden where the server stores no feedback.
 * @param {HTMLElement} root `[data-feedback]`: templates/after_answer.html.jinja
 * @param {Answered} answered
 */
export function connectFeedback(root, answered) {
  const form = /** @type {HTMLFormElement} */ (root.querySelector('form'));
  giveOwnId(form);
  const problem = /** @type {HTMLElement} */ (root.querySelector('[data-slot="problem"]'));
  const send = /** @type {HTMLButtonElement} */ (form.querySelector('[type="submit"]'));
  showIfStored(root);
  form.addEventListener('input', () => followFinding(form));
  followFinding(form);
  const submit = async () => {
    if (send.ariaDisabled === 'true') return;
    clear(problem);
    const restore = markBusy(send, text('feedback_sending'));
    try {
      showReceipt(root, await postFeedback(fieldsOf(form, answered)));
    } catch (error) {
      showError(problem, error, { onRetry: submit });
    } finally {
      restore();
    }
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
}

/**
 * Connect the form of an answer of the history: what a doctor found is often known weeks later.
 * @param {HTMLElement} root `[data-feedback]`
 * @param {Omit<Answered, 'requestId'> & {requestId?: string}} answered
 */
export function connectLaterFeedback(root, { requestId, ...answered }) {
  if (requestId !== undefined) {
    /** @type {HTMLElement} */ (root.querySelector('summary')).textContent = text('feedback_later');
    return connectFeedback(root, { ...answered, requestId });
  }
  const note = Object.assign(document.createElement('p'), { className: 'muted small', hidden: true, textContent: text('feedback_no_request') });
  root.replaceWith(note);
  showIfStored(note);
}

/**
 * Connect the form that deletes feedback of an earlier visit by its receipt.
 * @param {HTMLElement} root `[data-feedback-delete]`: templates/about_tab.html.jinja
 */
export function connectFeedbackDeletion(root) {
  const form = /** @type {HTMLFormElement} */ (root.querySelector('form'));
  const input = /** @type {HTMLInputElement} */ (form.querySelector('input'));
  connectDeletion(root, /** @type {HTMLButtonElement} */ (form.querySelector('button')), () => input.value.trim());
  form.addEventListener('submit', (event) => event.preventDefault());
  showIfStored(root);
}

/**
 * Show an element only where the server stores feedback.
 * @param {HTMLElement} root
 */
function showIfStored(root) {
  servedModels().then(({ feedback }) => { root.hidden = !feedback; }, () => {});
}

/**
 * Rename the choice of a diagnosis: the form of a tab and that of History can be on the page together.
 * @param {HTMLFormElement} form
 */
function giveOwnId(form) {
  const label = /** @type {HTMLLabelElement | null} */ (form.querySelector('label[for="finding"]'));
  const choice = form.querySelector('#finding');
  if (label && choice) label.htmlFor = choice.id = `finding-${++lastId}`;
}

/**
 * Ask how a finding was confirmed only if there is one, and for words only if no diagnosis of the list fits.
 * @param {HTMLFormElement} form
 */
function followFinding(form) {
  const finding = form.elements.namedItem('finding');
  const isOther = !(finding instanceof HTMLSelectElement) || finding.value === 'text';
  const words = /** @type {HTMLInputElement} */ (form.elements.namedItem('text'));
  part(form, 'text').hidden = !isOther;
  words.required = finding instanceof HTMLSelectElement && isOther;
  part(form, 'confirmed').hidden = finding instanceof HTMLSelectElement ? !finding.value : !words.value.trim();
}

/**
 * @param {HTMLFormElement} form
 * @param {Answered} answered
 * @returns {FormData} fields of POST /v1/feedback
 */
function fieldsOf(form, { task, answer, requestId, photo }) {
  const given = new FormData(form);
  const has = (/** @type {string} */ name) => given.get(name) !== null;
  const sent = has('photo_consent') && photo ? photoForm('photo', [photo.file], { photo_consent: ['true'] }) : new FormData();
  const [kind, value] = String(given.get('finding') ?? 'text').split(/:(.*)/);
  const words = String(given.get('text') ?? '').replace(DIRECTION_MARKS, '').trim(); // keyboards add them, and the API rejects them
  /** @type {Record<string, unknown>} */
  const fields = {
    task,
    model_name: answer.model.name,
    model_version: answer.model.version,
    verdict: answer.verdict,
    malignant_probability: answer.malignant_probability,
    request_id: requestId,
    correct: given.get('correct'),
    [kind]: kind === 'text' ? words : value,
    confirmed_by: part(form, 'confirmed').hidden ? null : given.get('confirmed_by'),
    consent: has('consent'),
  };
  for (const [name, field] of Object.entries(fields)) if (name && field !== null && field !== undefined && field !== '') sent.append(name, String(field));
  return sent;
}

/**
 * @param {HTMLElement} root
 * @param {{receipt: string, photo_stored: boolean}} stored
 */
function showReceipt(root, { receipt, photo_stored: hasPhoto }) {
  const content = template('feedback-receipt');
  const card = /** @type {HTMLElement} */ (content.firstElementChild);
  fill(card, 'stored', text(hasPhoto ? 'feedback_stored_with_photo' : 'feedback_stored'));
  fill(card, 'receipt', receipt);
  connectCopyButtons(card);
  connectDeletion(card, /** @type {HTMLButtonElement} */ (card.querySelector('[data-delete]')), () => receipt);
  /** @type {HTMLElement} */ (root.querySelector('form')).replaceWith(content);
  const heading = /** @type {HTMLElement} */ (card.querySelector('h3'));
  heading.tabIndex = -1;
  heading.focus();
}

/**
 * Let a button delete feedback and show the outcome in `[data-slot="outcome"]`.
 * @param {HTMLElement} root
 * @param {HTMLButtonElement} pressed
 * @param {() => string} receiptOf
 */
function connectDeletion(root, pressed, receiptOf) {
  const outcome = /** @type {HTMLElement} */ (root.querySelector('[data-slot="outcome"]'));
  const remove = async () => {
    const receipt = receiptOf();
    if (!receipt || pressed.ariaDisabled === 'true') return;
    clear(outcome);
    const restore = markBusy(pressed, text('feedback_deleting'));
    try {
      await deleteFeedback(receipt);
      outcome.textContent = text('feedback_deleted');
      outcome.hidden = false;
      announce(text('feedback_deleted'));
      root.querySelector('[data-kept]')?.remove();
    } catch (error) {
      showError(outcome, error, { onRetry: remove });
    } finally {
      restore();
    }
  };
  pressed.addEventListener('click', remove);
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {HTMLElement}
 */
const part = (form, name) => /** @type {HTMLElement} */ (form.querySelector(`[data-part="${name}"]`));
