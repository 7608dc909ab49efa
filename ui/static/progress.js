/**
 * The Progress tab: add photos, compare them by the API, ask for missing dates, show the answer.
 *
 * The photos stay in this browser; changing them, their dates or their order never loses one.
 *
 * @typedef {import('./photo_input.js').Photo} Photo
 * @typedef {import('./series.js').Mode} Mode
 * @typedef {import('./series.js').Request} Request
 * @typedef {{mode: Mode, isOrderConfirmed?: boolean}} Confirmed isOrderConfirmed: the order counts if no photo has a date
 * @typedef {() => void} Present Shows the end of a comparison.
 */

import { afterAnswer } from './after_answer.js';
import { announce, clear, focusHeading, markBusy, showError } from './answer.js';
import { ArrangeForm } from './arrange.js';
import { openDialog } from './dialogs.js';
import { photosOf } from './history_groups.js';
import { isAbort, renderFragment } from './http.js';
import { connectModelChoice } from './models.js';
import { UndatedPhotos } from './photo_dates.js';
import { connectPhotoInput, fetchExample, makePhoto } from './photo_input.js';
import { nextRequest, sameIds, stepAfter, withChosenOrder, withRecordedTimes } from './series.js';
import { showActions } from './series_actions.js';
import { fillPhotos } from './series_answer.js';
import { SeriesHints } from './series_hints.js';
import { SeriesPhotos } from './series_photos.js';
import { markRejected, problemError } from './series_problem.js';
import { SeriesRequest } from './series_request.js';
import { SeriesTiles } from './series_tiles.js';
import { text } from './texts.js';

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
  tab = new ProgressTab(root);
};

/** @type {ProgressTab | null} */
let tab = null;

/**
 * Load the photos of a kept answer and let the person add one.
 * @param {import('./history_store.js').Entry} entry of a series
 */
export const resumeSeries = (entry) => tab?.resume(entry);

class ProgressTab {
  /** @type {AbortController | null} */
  running = null;
  /** @type {Request | null} Of the answer that is shown. */
  shown = null;
  /** @type {{answer: any, request: Request} | null} Of photos without all dates. */
  undated = null;
  /** @type {Confirmed} How the photos were compared last; leaving some out repeats it. */
  last = { mode: 'dates' };

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.status = this.#find('#progress-status');
    this.answer = this.#find('#progress-answer');
    this.request = new SeriesRequest(this.status, {
      fileOf: (id) => series.photoOf(id).file,
      modelQuery: connectModelChoice(this.#find('[data-model-choice]')),
      onCancel: () => this.running?.abort(),
    });
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
    this.undatedPhotos = new UndatedPhotos(series.photoOf, () => this.#showActions());
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
    if (pressed.id === 'progress-compare') this.#compare({ mode: 'dates' }, pressed);
    else if (action === 'compare-order') this.#compare({ mode: 'dates', isOrderConfirmed: true }, pressed);
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

  /** @param {import('./history_store.js').Entry} entry */
  async resume(entry) {
    if (hasUnsaved() && !(await openDialog(this.root, 'replace-dialog'))) return;
    this.running?.abort();
    this.#change(() => series.resume(photosOf(entry), entry));
    isKept = true;
    this.shown = null;
    this.#chooseMore();
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
    this.last = { mode: 'dates' };
    if (!this.running) clear(this.status);
    this.#redraw();
  }

  #redraw() {
    const isEmpty = series.items.length === 0;
    this.tiles.update(series.items, series.faults);
    this.hints.update(series.items, series.isExample);
    this.input.classList.toggle('has-photos', !isEmpty);
    this.#find('#progress-examples').hidden = !isEmpty;
    this.undatedPhotos.update(series.isExample ? [] : series.items);
    this.#showActions();
  }

  #showActions() {
    const { used } = series;
    const areUndated = used.length >= this.limits.minPhotos && this.undatedPhotos.areAll(used);
    showActions(this.#view('photos'), series, { areUndated });
  }

  /** @param {HTMLElement} tile */
  #compareExample(tile) {
    this.#run(null, async (signal) => {
      const photos = (await fetchExample(tile)).map(makePhoto);
      signal.throwIfAborted();
      this.#change(() => series.add(photos, { isExample: true }));
      return this.#answered({ mode: 'dates' }, signal);
    });
  }

  /** @param {number[]} ids */
  #compareWithout(ids) {
    const { last } = this;
    this.#change(() => series.setLeftOut(ids, true));
    this.#compare(last);
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
      this.last = { mode: 'dates', isOrderConfirmed: true };
      this.#run(pressed, (signal) => this.#rendered(withChosenOrder(undated.answer, request), request, signal, undated.request.times));
    } else this.#compare({ mode }, pressed);
  }

  /**
   * @param {Confirmed} confirmed
   * @param {HTMLButtonElement | null} [pressed]
   */
  #compare(confirmed, pressed = null) {
    if (this.running) return;
    this.last = confirmed;
    if (!this.#reportProblem()) this.#run(pressed, (signal) => this.#answered(confirmed, signal));
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
   * @param {Confirmed} confirmed
   * @param {AbortSignal} signal
   * @returns {Promise<Present>}
   */
  async #answered({ mode, isOrderConfirmed = false }, signal) {
    let request = nextRequest(series.items, mode);
    let answer = await this.request.post(request, signal);
    series.items = withRecordedTimes(series.items, request, answer);
    const step = stepAfter(series.items, request);
    this.#redraw();
    if (step === 'ask' && isOrderConfirmed && series.used.every(({ takenAt }) => takenAt === null)) {
      return this.#rendered(withChosenOrder(answer, request), request, signal);
    }
    if (step === 'ask') return () => this.#askForDates(answer, request);
    if (step === 'again') {
      request = nextRequest(series.items, mode);
      answer = await this.request.post(request, signal);
    }
    return this.#rendered(mode === 'order' ? withChosenOrder(answer, request) : answer, request, signal);
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
   * @param {string[]} [sentTimes] times that were sent for this answer
   * @returns {Promise<Present>}
   */
  async #rendered(answer, request, signal, sentTimes = request.times) {
    const content = await renderFragment('progress', answer, signal);
    const photos = request.items.map(({ id }) => series.photoOf(id));
    const { requestId, path } = this.request;
    return () => {
      this.shown = request;
      isKept = false;
      this.answer.replaceChildren(content);
      const { isExample, label } = series;
      const onKept = (/** @type {string} */ name) => {
        if (this.shown === request) [isKept, series.label] = [true, name];
      };
      afterAnswer(this.answer, { task: 'progress', answer, path, photos, requestId, takenAt: sentTimes, isExample, label, onKept });
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
    const found = markRejected(error, this.request.sent, series);
    if (found.ids.length) this.#redraw();
    showError(this.status, found.error, { onRetry, actions: this.#leaveOutActions(found.ids) });
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
