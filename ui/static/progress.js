/**
 * The Progress tab: add photos, compare them by the API, ask for missing dates, show the answer.
 *
 * The photos stay in this browser; changing them, their dates or their order never loses one.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./series.js').Item} Item
 * @typedef {import('./series.js').Mode} Mode
 * @typedef {import('./series.js').Request} Request
 * @typedef {() => void} Present Shows the end of a comparison.
 */

import { afterAnswer } from './after_answer.js';
import { announce, clear, focusHeading, markBusy, showError, showWorking } from './answer.js';
import { ArrangeForm } from './arrange.js';
import { ApiError, isAbort, photoForm, postPhotos, renderFragment, requestIdOf } from './http.js';
import { connectModelChoice } from './models.js';
import { connectPhotoInput, fetchExample, makePhoto } from './photo_input.js';
import { nextRequest, photoNumber, stepAfter, withChosenOrder, withRecordedTimes } from './series.js';
import { fillPhotos } from './series_answer.js';
import { SeriesHints } from './series_hints.js';
import { SeriesPhotos } from './series_photos.js';
import { problemError } from './series_problem.js';
import { SeriesTiles } from './series_tiles.js';
import { text } from './texts.js';

/** Errors of the API about one photo; their message begins with its number. */
const OF_ONE_PHOTO = new Set(['unreadable_image', 'unsupported_type', 'too_large', 'too_many_pixels']);

const series = new SeriesPhotos();
/** Whether the history has the last answer, and the photos have not changed since. */
let isKept = false;

/**
 * Return whether leaving the page loses photos or an answer.
 * @returns {boolean}
 */
export const hasUnsaved = () => series.items.length > 0 && !series.isExample && !isKept;

/**
 * Connect the tab.
 * @param {HTMLElement} root has the HTML of templates/progress_tab.html.jinja
 */
export const startProgress = (root) => {
  new ProgressTab(root);
};

class ProgressTab {
  /** @type {AbortController | null} */
  running = null;
  /** @type {Request | null} Sent last. */
  sent = null;
  /** @type {Request | null} Of the answer that is shown. */
  shown = null;
  /** @type {{answer: any, request: Request} | null} Of photos without all dates. */
  undated = null;

  /** Request ID of the answer to `sent`. */
  requestId = 'unknown';
  /** Path of the request below /v1/, with its query. */
  path = 'progress';

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.modelQuery = connectModelChoice(this.#find('[data-model-choice]'));
    this.status = this.#find('#progress-status');
    this.answer = this.#find('#progress-answer');
    this.input = this.#find('.photo-input');
    this.views = ['photos', 'arrange', 'answer'].map((name) => this.#view(name));
    const settings = this.#view('photos').dataset;
    this.limits = {
      minPhotos: Number(settings.minPhotos),
      maxPhotos: Number(settings.maxPhotos),
      maxPhotoBytes: Number(settings.maxBytes),
      maxRequestBytes: Number(settings.maxRequestBytes),
    };
    this.tiles = new SeriesTiles(this.#find('.series-tiles'), {
      photoOf: series.photoOf,
      onRemove: (id) => this.#remove(id),
      onUse: (id) => this.#change(() => series.setLeftOut([id], false)),
      onUnreadable: (id) => {
        if (series.photos.has(id)) this.#change(() => series.faults.set(id, text('tile_unreadable')));
      },
    });
    this.hints = new SeriesHints(this.#find('.series-hints'), series.photoOf);
    this.form = new ArrangeForm(this.#view('arrange'), {
      photoOf: series.photoOf,
      onDates: (button) => this.#compareArranged('dates', button),
      onOrder: (button) => this.#compareArranged('order', button),
      onBack: () => this.#leaveForm(),
    });
    connectPhotoInput(this.input, {
      onPhotos: (photos) => this.#add(photos),
      dropTarget: root,
      count: () => (series.isExample ? 0 : series.used.length),
    });
    root.addEventListener('click', (event) => this.#onClick(event));
  }

  /** @param {Event} event */
  #onClick(event) {
    const pressed = /** @type {Element} */ (event.target).closest('button');
    if (!pressed || this.running) return;
    const { action, example, leaveOut } = pressed.dataset;
    if (pressed.id === 'progress-compare') this.#compare('dates', pressed);
    else if (example !== undefined) this.#compareExample(pressed);
    else if (leaveOut !== undefined) this.#compareWithout(this.#idsAt(leaveOut));
    else if (action === 'change') this.#show('photos');
    else if (action === 'add') this.#chooseMore();
    else if (action === 'arrange') this.#arrange();
    else if (action === 'remove-all') this.#removeAll();
  }

  /** @param {Photo[]} photos */
  #add(photos) {
    this.#change(() => series.add(photos));
    this.#show('photos', { focus: false });
    announce(text('photos_now', { n: series.items.length }));
  }

  /** @param {number} id */
  #remove(id) {
    const index = series.items.findIndex((item) => item.id === id);
    this.#change(() => series.remove(id));
    if (series.items.length) this.tiles.focus(index);
    else this.#fileChooser().focus();
    announce(text('photos_now', { n: series.items.length }));
  }

  #removeAll() {
    this.#change(() => series.removeAll());
    this.shown = null;
    this.#fileChooser().focus();
    announce(text('photos_now', { n: 0 }));
  }

  #chooseMore() {
    this.#show('photos');
    this.#fileChooser().click();
  }

  #arrange() {
    this.form.fill(series.items);
    this.#show('arrange');
  }

  #leaveForm() {
    this.#change(() => { series.items = this.form.items; });
    this.#show(this.shown ? 'answer' : 'photos');
  }

  /**
   * Change the photos and draw them again; an error about them is out of date.
   * @param {() => void} change
   */
  #change(change) {
    change();
    isKept = false;
    this.undated = null;
    if (!this.running) clear(this.status);
    this.#redraw();
  }

  #redraw() {
    const isEmpty = series.items.length === 0;
    this.tiles.update(series.items, series.faults);
    this.hints.update(series.items, series.isExample);
    this.input.classList.toggle('has-photos', !isEmpty);
    this.#find('#progress-examples').hidden = !isEmpty;
    const view = this.#view('photos');
    /** @type {HTMLElement} */ (view.querySelector('[data-action="remove-all"]')).hidden = isEmpty;
    /** @type {HTMLElement} */ (view.querySelector('[data-action="arrange"]')).hidden = !series.items.some(({ isKnown }) => isKnown);
  }

  /** @param {HTMLElement} tile */
  #compareExample(tile) {
    this.#run(null, async (signal) => {
      const photos = (await fetchExample(tile)).map(makePhoto);
      this.#change(() => series.add(photos, { isExample: true }));
      return this.#answered('dates', signal);
    });
  }

  /** @param {number[]} ids */
  #compareWithout(ids) {
    this.#change(() => series.setLeftOut(ids, true));
    this.#compare('dates');
  }

  /**
   * Compare the photos as the form has them; an answer to the same photos in the same order is not asked for again.
   * @param {Mode} mode
   * @param {HTMLButtonElement} pressed
   */
  #compareArranged(mode, pressed) {
    const undated = this.undated;
    this.#change(() => { series.items = this.form.items; });
    const request = nextRequest(series.items, 'order');
    if (mode === 'order' && undated && sameIds(undated.request.items, request.items)) {
      this.#run(pressed, (signal) => this.#rendered(withChosenOrder(undated.answer, request), request, signal));
    } else this.#compare(mode, pressed);
  }

  /**
   * @param {Mode} mode
   * @param {HTMLButtonElement | null} [pressed]
   */
  #compare(mode, pressed = null) {
    if (!this.running && !this.#reportProblem()) this.#run(pressed, (signal) => this.#answered(mode, signal));
  }

  /**
   * Do one comparison at a time; nothing else can be pressed meanwhile, except Cancel.
   * @param {HTMLButtonElement | null} pressed
   * @param {(signal: AbortSignal) => Promise<Present>} work
   */
  async #run(pressed, work) {
    if (this.running) return;
    const running = (this.running = new AbortController());
    const restore = pressed && markBusy(pressed, text('comparing'));
    this.views.forEach((view) => { view.inert = true; });
    let present;
    try {
      present = await work(running.signal);
    } catch (error) {
      present = () => this.#reportError(error, () => this.#run(pressed, work), pressed);
    }
    this.running = null;
    this.views.forEach((view) => { view.inert = false; });
    restore?.();
    present();
  }

  /**
   * @param {Mode} mode
   * @param {AbortSignal} signal
   * @returns {Promise<Present>}
   */
  async #answered(mode, signal) {
    let request = nextRequest(series.items, mode);
    let answer = await this.#post(request, signal);
    series.items = withRecordedTimes(series.items, request, answer);
    const step = stepAfter(series.items, request);
    this.#redraw();
    if (step === 'ask') return () => this.#askForDates(answer, request);
    if (step === 'again') {
      request = nextRequest(series.items, mode);
      answer = await this.#post(request, signal);
    }
    return this.#rendered(mode === 'order' ? withChosenOrder(answer, request) : answer, request, signal);
  }

  /**
   * @param {Request} request
   * @param {AbortSignal} signal
   * @returns {Promise<any>}
   */
  async #post(request, signal) {
    this.sent = request;
    this.path = ['progress', this.modelQuery()].filter(Boolean).join('?');
    const card = showWorking(this.status, { title: text('comparing_title'), onCancel: () => this.running?.abort() });
    const files = request.items.map(({ id }) => series.photoOf(id).file);
    const form = photoForm('files', files, { taken_at: request.times });
    const answer = await postPhotos(this.path, form, { onProgress: card.progress, signal });
    this.requestId = requestIdOf(answer);
    return answer;
  }

  /**
   * @param {any} answer
   * @param {Request} request
   */
  #askForDates(answer, request) {
    clear(this.status);
    this.undated = { answer, request };
    this.#arrange();
  }

  /**
   * @param {any} answer
   * @param {Request} request
   * @param {AbortSignal} signal
   * @returns {Promise<Present>}
   */
  async #rendered(answer, request, signal) {
    const content = await renderFragment('progress', answer, signal);
    const photos = request.items.map(({ id }) => series.photoOf(id));
    const { requestId, path } = this;
    return () => {
      this.shown = request;
      isKept = false;
      this.answer.replaceChildren(content);
      const { isExample } = series;
      const onKept = () => { isKept = this.shown === request; };
      afterAnswer(this.answer, { task: 'progress', answer, path, photos, requestId, takenAt: request.times, isExample, onKept });
      fillPhotos(this.answer, (index) => series.photos.get(request.items[index].id));
      clear(this.status);
      this.#show('answer', { focus: false });
      focusHeading(this.answer);
    };
  }

  /**
   * Say what the API would reject, before anything is sent.
   * @returns {boolean} whether there is a problem
   */
  #reportProblem() {
    const problem = series.problem(this.limits);
    if (!problem) return false;
    showError(this.status, problemError(problem, series, this.limits), { actions: this.#leaveOutActions(problem.ids) });
    return true;
  }

  /**
   * @param {unknown} error
   * @param {() => void} onRetry
   * @param {HTMLElement | null} pressed
   */
  #reportError(error, onRetry, pressed) {
    if (isAbort(error)) {
      clear(this.status);
      return pressed?.focus();
    }
    const number = error instanceof ApiError && OF_ONE_PHOTO.has(error.code) ? photoNumber(error.message) : null;
    const rejected = number && this.sent?.items[number - 1];
    if (rejected) {
      const isLarge = error instanceof ApiError && error.code.startsWith('too_');
      series.faults.set(rejected.id, text(isLarge ? 'tile_too_large' : 'tile_unreadable'));
      this.#redraw();
    }
    const faulty = series.used.map(({ id }) => id).filter((id) => series.faults.has(id));
    showError(this.status, error, { onRetry, actions: rejected ? this.#leaveOutActions(faulty) : [] });
  }

  /**
   * @param {number[]} ids
   * @returns {{label: string, onClick: () => void}[]}
   */
  #leaveOutActions(ids) {
    return ids.length ? [{ label: text('leave_out', { n: ids.length }), onClick: () => this.#compareWithout(ids) }] : [];
  }

  /**
   * @param {string} indices positions in the request of the answer, such as "1 3"
   * @returns {number[]}
   */
  #idsAt(indices) {
    const items = this.shown?.items ?? [];
    return indices.split(' ').map((index) => items[Number(index)].id);
  }

  /** @returns {HTMLElement} */
  #fileChooser() {
    return /** @type {HTMLElement} */ (this.input.querySelector('[type="file"]'));
  }

  /**
   * @param {'photos' | 'arrange' | 'answer'} name
   * @param {{focus?: boolean}} [options]
   */
  #show(name, { focus = true } = {}) {
    const shown = this.#view(name);
    this.views.forEach((view) => { view.hidden = view !== shown; });
    if (focus) focusHeading(shown);
  }

  /**
   * @param {string} name
   * @returns {HTMLElement}
   */
  #view(name) {
    return this.#find(`[data-view="${name}"]`);
  }

  /**
   * @param {string} selector
   * @returns {HTMLElement}
   */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.root.querySelector(selector));
  }
}

/**
 * @param {Item[]} some
 * @param {Item[]} others
 * @returns {boolean}
 */
const sameIds = (some, others) => some.length === others.length && some.every(({ id }, index) => id === others[index].id);
