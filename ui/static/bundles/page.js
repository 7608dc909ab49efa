// Written by make page from the modules of ui/static, c790c2fd767d63f4f14e60798c9603a0b7447717ae307f983904d59e9e3a5181

// ui/static/numbers.js
var DAY = { year: "numeric", month: "short", day: "numeric" };
var language = () => document.documentElement.lang || "en";
var dateText = (time, style = DAY) => new Intl.DateTimeFormat(language(), style).format(new Date(time));
var numberText = (value, digits) => new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
function percentText(probability, limits) {
  const format = (whole2) => percentFormat().format(whole2 / 100);
  if (probability < 0.01) return isolated(`<${format(1)}`);
  if (probability > 0.99) return isolated(`>${format(99)}`);
  let whole = Math.round(100 * probability);
  for (const limit of limits) {
    const first = Math.ceil(Number((100 * limit).toFixed(6)));
    whole = probability >= limit ? Math.max(whole, first) : Math.min(whole, first - 1);
  }
  return isolated(format(whole));
}
var shareText = (share) => isolated(percentFormat().format(share));
var percentFormat = () => new Intl.NumberFormat(language(), { style: "percent" });
var isolated = (number) => document.documentElement.dir === "rtl" ? `⁦${number}⁩` : number;

// ui/static/texts.js
var texts = () => (
  /** @type {HTMLTemplateElement} */
  document.getElementById("page-texts").content
);
function text(name, values = {}) {
  const found = element(name, values.n);
  if (!found) throw new Error(`the document has no text ${name}`);
  return (found.textContent ?? "").replace(/\{(\w+)\}/g, (place2, key) => key in values ? shown(values[key]) : place2);
}
var shown = (value) => typeof value === "number" ? numberText(value) : value;
var DIRECTION_MARKS = /[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g;
var isolated2 = (name) => `⁨${name.replace(DIRECTION_MARKS, "")}⁩`;
var hasText = (name) => element(name, void 0) !== null;
function element(name, n) {
  const all = `[data-text="${CSS.escape(name)}"]`;
  if (typeof n !== "number") return texts().querySelector(all);
  const form = new Intl.PluralRules(document.documentElement.lang || "en").select(n);
  return texts().querySelector(`${all}[data-plural="${form}"]`) ?? texts().querySelector(`${all}[data-plural="other"]`) ?? texts().querySelector(all);
}
function template(name) {
  const found = document.getElementById(name);
  if (!(found instanceof HTMLTemplateElement)) throw new Error(`the document has no template ${name}`);
  return (
    /** @type {DocumentFragment} */
    found.content.cloneNode(true)
  );
}

// ui/static/http.js
var RETRY_AFTER_S = [1, 3];
var GRACE_S = 5;
var RETRIABLE = /* @__PURE__ */ new Set(["unreachable", "offline", "overloaded", "rate_limited", "deadline_exceeded", "internal", "model_unavailable", "feedback_unavailable", "unexpected"]);
var requestIds = /* @__PURE__ */ new WeakMap();
var ApiError = class extends Error {
  /**
   * @param {string} code of the API, or `unreachable`, `offline`, `unexpected`
   * @param {string} message
   * @param {{status?: number, retryAfterS?: number | null, requestId?: string | null, photos?: RejectedPhoto[]}} [details]
   *   photos: all photos of the request that the API rejects
   */
  constructor(code, message, { status = 0, retryAfterS = null, requestId = null, photos = [] } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.requestId = requestId;
    this.photos = photos;
  }
  /** Whether the same request can succeed later. */
  get isRetriable() {
    return RETRIABLE.has(this.code);
  }
};
var settings = () => (
  /** @type {HTMLElement} */
  document.getElementById("page-texts").dataset
);
async function postPhotos(path, form, { onProgress, signal } = {}) {
  for (const waitS of RETRY_AFTER_S) {
    try {
      return await send(path, form, onProgress, signal);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 503) throw error;
    }
    await pause(waitS, signal);
  }
  return send(path, form, onProgress, signal);
}
function photoForm(field2, photos, values = {}) {
  const form = new FormData();
  photos.forEach((photo, index) => form.append(field2, photo.slice(0, photo.size, "application/octet-stream"), `photo-${index}`));
  for (const [name, all] of Object.entries(values)) for (const value of all) form.append(name, value);
  return form;
}
var requestIdOf = (answer) => requestIds.get(answer) ?? "unknown";
async function postFeedback(form) {
  return (await request(`${settings().api}feedback`, { method: "POST", body: form })).json();
}
async function deleteFeedback(receipt) {
  await request(`${settings().api}feedback/${encodeURIComponent(receipt)}`, { method: "DELETE" });
}
async function getJson(path, signal) {
  return (await request(`${settings().api}${path}`, { signal })).json();
}
async function renderFragment(name, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const response = await request(`render/${name}?lang=${document.documentElement.lang}`, { method: "POST", body: JSON.stringify(body), headers, signal });
  return fragment(await response.text());
}
var previewing = Promise.resolve();
function fetchPreview(photo) {
  const drawn = previewing.then(() => drawPreview(photo));
  previewing = drawn.then(() => {
  }, () => {
  });
  return drawn;
}
async function drawPreview(photo) {
  const headers = { "Content-Type": "application/octet-stream" };
  try {
    return await (await request("preview", { method: "POST", body: photo, headers })).json();
  } catch (error) {
    if (error instanceof ApiError && error.code === "unreadable_image") return null;
    throw error;
  }
}
async function fetchFile(address) {
  const content = await (await request(address, {})).blob();
  return new File([content], address.slice(address.lastIndexOf("/") + 1), { type: content.type });
}
function fragment(html) {
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  return parsed.content;
}
async function request(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { ...options.headers, "Accept-Language": document.documentElement.lang } });
  } catch (error) {
    throw isAbort(error) ? error : unreachable();
  }
  if (response.ok) return response;
  throw errorOf(response.status, await response.text().catch(() => ""), (name) => response.headers.get(name));
}
function send(path, form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted());
    const deadlineS = Number(settings().deadlineS);
    const xhr = new XMLHttpRequest();
    let timer;
    const abort = () => xhr.abort();
    signal?.addEventListener("abort", abort, { once: true });
    xhr.onloadend = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    xhr.upload.onprogress = (event) => onProgress?.(event.lengthComputable && event.total ? event.loaded / event.total : 0);
    xhr.upload.onload = () => {
      onProgress?.(1);
      timer = window.setTimeout(() => {
        reject(new ApiError("deadline_exceeded", text("deadline_exceeded", { seconds: deadlineS })));
        xhr.abort();
      }, (deadlineS + GRACE_S) * 1e3);
    };
    xhr.onerror = () => reject(unreachable());
    xhr.onabort = () => reject(aborted());
    xhr.onload = () => {
      if (xhr.status < 200 || xhr.status > 299) {
        return reject(errorOf(xhr.status, xhr.responseText, (name) => xhr.getResponseHeader(name)));
      }
      try {
        const answer = JSON.parse(xhr.responseText);
        requestIds.set(answer, xhr.getResponseHeader("X-Request-ID") ?? "unknown");
        resolve(answer);
      } catch {
        reject(new ApiError("unexpected", text("unexpected"), { status: xhr.status }));
      }
    };
    xhr.open("POST", `${settings().api}${path}`);
    xhr.setRequestHeader("X-Request-Timeout-Seconds", String(deadlineS));
    xhr.setRequestHeader("Accept-Language", document.documentElement.lang);
    xhr.send(form);
  });
}
function errorOf(status, body, header) {
  const seconds = Number(header("Retry-After"));
  const details = { status, retryAfterS: seconds > 0 ? seconds : null, requestId: header("X-Request-ID") };
  try {
    const { code, message, photos } = JSON.parse(body).error;
    return new ApiError(String(code), sentence(String(message)), { ...details, photos: rejectedPhotos(photos) });
  } catch {
    const name = `status_${status}`;
    if (hasText(name)) return new ApiError(CODE_OF[status] ?? "unexpected", text(name), details);
    return new ApiError("unexpected", text("status_unknown", { status }), details);
  }
}
var rejectedPhotos = (photos) => (Array.isArray(photos) ? photos : []).map(({ index, code, message }) => ({
  index: Number(index),
  code: String(code),
  message: sentence(String(message))
}));
var CODE_OF = { 408: "deadline_exceeded", 413: "too_large", 429: "rate_limited", 502: "unreachable", 503: "overloaded", 504: "deadline_exceeded" };
var unreachable = () => navigator.onLine ? new ApiError("unreachable", text("unreachable")) : new ApiError("offline", text("offline"));
var aborted = () => new DOMException("aborted", "AbortError");
var isAbort = (error) => error instanceof DOMException && error.name === "AbortError";
var sentence = (message) => `${message.slice(0, 1).toUpperCase()}${message.slice(1)}${/[.!?\u0964\u061f]$/.test(message) ? "" : "."}`;
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1e3);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(aborted());
    }, { once: true });
  });
}

// ui/static/answer.js
var TICK_MS = 1e3;
function show(place2, content) {
  place2.replaceChildren(content);
  place2.hidden = false;
  focusHeading(place2);
}
function focusHeading(place2) {
  const heading = place2.querySelector("h2, h3, h4");
  if (!(heading instanceof HTMLElement)) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  (heading.closest(".card") ?? heading).scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
}
function clear(place2) {
  place2.replaceChildren();
  place2.hidden = true;
}
function showError(place2, error, { onRetry, actions = [] } = {}) {
  if (isAbort(error)) return;
  if (!(error instanceof ApiError)) console.error(error);
  const failure = error instanceof ApiError ? error : new ApiError("unexpected", text("unexpected"));
  const content = template("error-card");
  const card = (
    /** @type {HTMLElement} */
    content.firstElementChild
  );
  card.dataset.code = failure.code;
  const title = `title_${failure.code}`;
  fill(card, "title", text(hasText(title) ? title : "title_other"));
  fill(card, "message", failure.message);
  const buttons = (
    /** @type {HTMLElement} */
    card.querySelector('[data-slot="actions"]')
  );
  if (onRetry && failure.isRetriable) buttons.append(retryButton(onRetry, failure.retryAfterS ?? 0));
  for (const { label, onClick } of actions) buttons.append(button(label, onClick));
  buttons.hidden = !buttons.childElementCount;
  show(place2, content);
}
function showWorking(place2, { title, onCancel, focus = true }) {
  const content = template("working-card");
  const card = (
    /** @type {HTMLElement} */
    content.firstElementChild
  );
  const bar = (
    /** @type {HTMLElement} */
    card.querySelector('[role="progressbar"]')
  );
  fill(card, "title", title);
  fill(card, "text", text("uploading", { percent: 0 }));
  card.querySelector("[data-cancel]")?.addEventListener("click", onCancel);
  place2.replaceChildren(content);
  place2.hidden = false;
  if (focus) focusHeading(place2);
  return {
    progress(fraction) {
      const percent = Math.round(100 * fraction);
      const isSent = fraction >= 1;
      fill(card, "text", isSent ? text("working") : text("uploading", { percent }));
      bar.style.setProperty("--done", `${percent}%`);
      bar.classList.toggle("unknown", isSent);
      if (isSent) bar.removeAttribute("aria-valuenow");
      else bar.setAttribute("aria-valuenow", String(percent));
    }
  };
}
function markBusy(pressed, label) {
  const before = pressed.textContent;
  pressed.textContent = label;
  pressed.setAttribute("aria-disabled", "true");
  pressed.setAttribute("aria-busy", "true");
  return () => {
    pressed.textContent = before;
    pressed.removeAttribute("aria-disabled");
    pressed.removeAttribute("aria-busy");
  };
}
function announce(message) {
  const region = document.getElementById("announcements");
  if (region) region.textContent = message;
}
function placeBoxes(root, { width, height }) {
  for (const box of root.querySelectorAll("[data-box]")) {
    const edges = String(
      /** @type {HTMLElement} */
      box.dataset.box
    ).split(",").map(Number);
    const [left, right] = [edges[0], edges[2]].map((x) => 100 * Math.min(Math.max(x, 0), width) / width);
    const [top, bottom] = [edges[1], edges[3]].map((y) => 100 * Math.min(Math.max(y, 0), height) / height);
    Object.assign(
      /** @type {HTMLElement} */
      box.style,
      { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` }
    );
  }
}
function connectStrength(root) {
  root.addEventListener("input", (event) => {
    const range = (
      /** @type {HTMLInputElement} */
      event.target
    );
    if (range.matches("[data-strength]")) range.closest(".stage")?.setAttribute("style", `--strength:${Number(range.value) / 100}`);
  });
}
function fill(root, name, value) {
  const slot = root.querySelector(`[data-slot="${name}"]`);
  if (slot && slot.textContent !== value) slot.textContent = value;
}
function button(label, onClick) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: label });
  made.addEventListener("click", onClick);
  return made;
}
function retryButton(onRetry, waitS) {
  const made = button(text("retry"), () => {
    if (made.ariaDisabled !== "true") onRetry();
  });
  made.className = "primary";
  made.dataset.retry = "";
  let left = Math.ceil(waitS);
  const tick = () => {
    made.ariaDisabled = String(left > 0);
    made.textContent = left > 0 ? text("retry_in", { n: left }) : text("retry");
    if (left-- > 0) setTimeout(tick, TICK_MS);
  };
  tick();
  return made;
}

// ui/static/clipboard.js
var SHOWN_MS = 2e3;
function connectCopyButtons(root) {
  for (
    const pressed of
    /** @type {NodeListOf<HTMLButtonElement>} */
    root.querySelectorAll("[data-copy]")
  ) {
    const label = pressed.textContent;
    pressed.addEventListener("click", async () => {
      const source = (
        /** @type {HTMLElement} */
        pressed.closest("[data-copy-group]")?.querySelector("[data-copied]")
      );
      const message = text(await copy(source) ? "copied" : "copy_yourself");
      announce(message);
      pressed.textContent = message;
      setTimeout(() => {
        pressed.textContent = label;
      }, SHOWN_MS);
    });
  }
}
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(source);
    return document.execCommand("copy");
  }
}

// ui/static/after_load.js
var afterLoad = new Promise((resolve) => {
  if (document.readyState === "complete") resolve(void 0);
  else addEventListener("load", resolve, { once: true });
});

// ui/static/models.js
var served = null;
function servedModels() {
  served ??= getJson("models").catch((error) => {
    served = null;
    throw error;
  });
  return (
    /** @type {Promise<Served>} */
    served
  );
}
function connectModelChoice(root, onChange2) {
  const task = String(root.dataset.modelChoice);
  const select = (
    /** @type {HTMLSelectElement} */
    root.querySelector("select")
  );
  const key = `skinserve.model.${task}`;
  select.addEventListener("change", () => {
    remember(key, select.value);
    onChange2?.();
  });
  afterLoad.then(servedModels).then(({ models }) => {
    const choices = models.filter(({ kind }) => kind === task);
    if (choices.length < 2) return;
    select.replaceChildren(...choices.map(option));
    root.querySelector("ul")?.replaceChildren(...choices.filter(({ description }) => description).map(purpose));
    const before = recall(key);
    if (choices.some((model) => valueOf(model) === before)) select.value = before;
    root.hidden = false;
  }, () => {
  });
  return () => select.value ? `model=${encodeURIComponent(select.value)}` : "";
}
var nameOf = (model) => `${model.name} ${model.version}`;
var option = (model) => new Option(nameOf(model), valueOf(model), model.default);
function purpose(model) {
  const line = Object.assign(document.createElement("li"), { dir: "ltr", lang: "en" });
  const name = Object.assign(document.createElement("bdi"), { textContent: nameOf(model) });
  const words = Object.assign(document.createElement("bdi"), { textContent: model.description });
  line.append(name, ": ", words);
  return line;
}
var valueOf = (model) => model.default ? "" : `${model.name}@${model.version}`;
function remember(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
  }
}
function recall(key) {
  try {
    return sessionStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

// ui/static/feedback.js
var lastId = 0;
function connectFeedback(root, answered) {
  const form = (
    /** @type {HTMLFormElement} */
    root.querySelector("form")
  );
  giveOwnId(form);
  const problem = (
    /** @type {HTMLElement} */
    root.querySelector('[data-slot="problem"]')
  );
  const send2 = (
    /** @type {HTMLButtonElement} */
    form.querySelector('[type="submit"]')
  );
  showIfStored(root);
  form.addEventListener("input", () => followFinding(form));
  followFinding(form);
  const submit = async () => {
    if (send2.ariaDisabled === "true") return;
    clear(problem);
    const restore = markBusy(send2, text("feedback_sending"));
    try {
      showReceipt(root, await postFeedback(fieldsOf(form, answered)));
    } catch (error) {
      showError(problem, error, { onRetry: submit });
    } finally {
      restore();
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}
function connectLaterFeedback(root, { requestId, ...answered }) {
  if (requestId !== void 0) {
    root.querySelector("summary").textContent = text("feedback_later");
    return connectFeedback(root, { ...answered, requestId });
  }
  const note = Object.assign(document.createElement("p"), { className: "muted small", hidden: true, textContent: text("feedback_no_request") });
  root.replaceWith(note);
  showIfStored(note);
}
function connectFeedbackDeletion(root) {
  const form = (
    /** @type {HTMLFormElement} */
    root.querySelector("form")
  );
  const input = (
    /** @type {HTMLInputElement} */
    form.querySelector("input")
  );
  connectDeletion(
    root,
    /** @type {HTMLButtonElement} */
    form.querySelector("button"),
    () => input.value.trim()
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  showIfStored(root);
}
function showIfStored(root) {
  servedModels().then(({ feedback }) => {
    root.hidden = !feedback;
  }, () => {
  });
}
function giveOwnId(form) {
  const label = (
    /** @type {HTMLLabelElement | null} */
    form.querySelector('label[for="finding"]')
  );
  const choice = form.querySelector("#finding");
  if (label && choice) label.htmlFor = choice.id = `finding-${++lastId}`;
}
function followFinding(form) {
  const finding = form.elements.namedItem("finding");
  const isOther = !(finding instanceof HTMLSelectElement) || finding.value === "text";
  const words = (
    /** @type {HTMLInputElement} */
    form.elements.namedItem("text")
  );
  part(form, "text").hidden = !isOther;
  words.required = finding instanceof HTMLSelectElement && isOther;
  part(form, "confirmed").hidden = finding instanceof HTMLSelectElement ? !finding.value : !words.value.trim();
}
function fieldsOf(form, { task, answer, requestId, photo }) {
  const given = new FormData(form);
  const has = (name) => given.get(name) !== null;
  const sent = has("photo_consent") && photo ? photoForm("photo", [photo.file], { photo_consent: ["true"] }) : new FormData();
  const [kind, value] = String(given.get("finding") ?? "text").split(/:(.*)/);
  const words = String(given.get("text") ?? "").replace(DIRECTION_MARKS, "").trim();
  const fields = {
    task,
    model_name: answer.model.name,
    model_version: answer.model.version,
    verdict: answer.verdict,
    malignant_probability: answer.malignant_probability,
    request_id: requestId,
    correct: given.get("correct"),
    [kind]: kind === "text" ? words : value,
    confirmed_by: part(form, "confirmed").hidden ? null : given.get("confirmed_by"),
    consent: has("consent")
  };
  for (const [name, field2] of Object.entries(fields)) if (name && field2 !== null && field2 !== void 0 && field2 !== "") sent.append(name, String(field2));
  return sent;
}
function showReceipt(root, { receipt, photo_stored: hasPhoto }) {
  const content = template("feedback-receipt");
  const card = (
    /** @type {HTMLElement} */
    content.firstElementChild
  );
  fill(card, "stored", text(hasPhoto ? "feedback_stored_with_photo" : "feedback_stored"));
  fill(card, "receipt", receipt);
  connectCopyButtons(card);
  connectDeletion(
    card,
    /** @type {HTMLButtonElement} */
    card.querySelector("[data-delete]"),
    () => receipt
  );
  root.querySelector("form").replaceWith(content);
  const heading = (
    /** @type {HTMLElement} */
    card.querySelector("h3")
  );
  heading.tabIndex = -1;
  heading.focus();
}
function connectDeletion(root, pressed, receiptOf) {
  const outcome = (
    /** @type {HTMLElement} */
    root.querySelector('[data-slot="outcome"]')
  );
  const remove = async () => {
    const receipt = receiptOf();
    if (!receipt || pressed.ariaDisabled === "true") return;
    clear(outcome);
    const restore = markBusy(pressed, text("feedback_deleting"));
    try {
      await deleteFeedback(receipt);
      outcome.textContent = text("feedback_deleted");
      outcome.hidden = false;
      announce(text("feedback_deleted"));
      root.querySelector("[data-kept]")?.remove();
    } catch (error) {
      showError(outcome, error, { onRetry: remove });
    } finally {
      restore();
    }
  };
  pressed.addEventListener("click", remove);
}
var part = (form, name) => (
  /** @type {HTMLElement} */
  form.querySelector(`[data-part="${name}"]`)
);

// ui/static/about.js
function startAbout(root) {
  const slot = (name) => (
    /** @type {HTMLElement} */
    root.querySelector(`[data-slot="${name}"]`)
  );
  const address = new URL("..", document.baseURI).href.replace(/\/$/, "");
  for (const place2 of root.querySelectorAll('[data-slot="address"]')) place2.textContent = address;
  connectFeedbackDeletion(
    /** @type {HTMLElement} */
    root.querySelector("[data-feedback-delete]")
  );
  const load = async () => {
    slot("problem").hidden = true;
    try {
      const parts = await renderFragment("models", await servedModels());
      for (const name of ["you", "engineers"]) slot(name).replaceChildren(
        /** @type {Node} */
        parts.querySelector(`[data-part="${name}"]`)
      );
    } catch (error) {
      slot("engineers").replaceChildren();
      showError(slot("problem"), error, { onRetry: load });
    }
  };
  let isLoaded = false;
  new IntersectionObserver((entries) => {
    if (isLoaded || !entries.some((entry) => entry.isIntersecting)) return;
    isLoaded = true;
    load();
  }).observe(root);
}

// ui/static/connection.js
var EVERY_MS = 5e3;
var TIMEOUT_MS = 4e3;
var ALLOWED_MISSES = 1;
var misses = 0;
function watchConnection(root) {
  const check = async () => {
    if (document.hidden) return;
    misses = await isServerThere() ? 0 : misses + 1;
    showLoss(root);
  };
  afterLoad.then(check);
  setInterval(check, EVERY_MS);
}
async function checkConnection(root) {
  const isThere = await isServerThere();
  misses = isThere ? 0 : ALLOWED_MISSES + 1;
  showLoss(root);
  return isThere;
}
async function isServerThere() {
  try {
    return (await fetch("alive", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) })).ok;
  } catch {
    return false;
  }
}
function showLoss(root) {
  root.querySelector("#connection").hidden = misses <= ALLOWED_MISSES;
}

// ui/static/dialogs.js
async function openDialog(host, name, { prepare, submit } = {}) {
  const dialog = (
    /** @type {HTMLDialogElement} */
    template(name).firstElementChild
  );
  const form = (
    /** @type {HTMLFormElement} */
    dialog.querySelector("form")
  );
  const problem = dialog.querySelector('[data-slot="problem"]');
  host.append(dialog);
  prepare?.(form);
  dialog.querySelector("[data-close]")?.addEventListener("click", () => dialog.close());
  let isWorking = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isWorking) return;
    isWorking = true;
    form.setAttribute("aria-busy", "true");
    try {
      await submit?.(form);
      dialog.close("done");
    } catch (error) {
      if (!problem) throw error;
      problem.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      isWorking = false;
      form.removeAttribute("aria-busy");
    }
  });
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  dialog.remove();
  return dialog.returnValue === "done";
}
var field = (form, name) => (
  /** @type {HTMLInputElement} */
  form.elements.namedItem(name)
);

// ui/static/history_store.js
var NAME = "skinserve";
var STORE = "answers";
var changes = "BroadcastChannel" in window ? new BroadcastChannel("skinserve-history") : null;
var listeners = [];
changes?.addEventListener("message", () => listeners.forEach((listener) => listener()));
var onChange = (listener) => {
  listeners.push(listener);
};
var newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
async function allEntries() {
  const entries = await inStore("readonly", (store) => store.getAll());
  return entries.sort((a, b) => a.createdAt < b.createdAt ? -1 : 1);
}
async function putEntries(entries) {
  await inStore("readwrite", (store) => entries.map((entry) => store.put(entry)).at(-1));
  navigator.storage?.persist?.().catch(() => {
  });
  changed();
}
async function deleteEntry(id2) {
  await inStore("readwrite", (store) => store.delete(id2));
  changed();
}
async function deleteAll() {
  await inStore("readwrite", (store) => store.clear());
  await new Promise((resolve, reject) => {
    const deletion = indexedDB.deleteDatabase(NAME);
    deletion.onsuccess = deletion.onblocked = resolve;
    deletion.onerror = () => reject(storageError(deletion.error));
  });
  changed();
}
function changed() {
  changes?.postMessage("");
  listeners.forEach((listener) => listener());
}
async function inStore(mode, work) {
  let database;
  try {
    database = await open();
    return await new Promise((resolve, reject) => {
      const transaction = (
        /** @type {IDBDatabase} */
        database.transaction(STORE, mode)
      );
      const request2 = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request2?.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request2?.error);
    });
  } catch (error) {
    throw storageError(error);
  } finally {
    database?.close();
  }
}
function open() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}
function storageError(error) {
  console.error(error);
  const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
  return new ApiError("storage", text(isFull ? "storage_full" : "storage_blocked"));
}

// ui/static/photo_hints.js
var WHOLE_PX = 128;
var MIDDLE_PX = 512;
var MAX_FILE_BYTES = 2e7;
var LIMITS = {
  /** Shorter side, pixels; the networks read squares of this size. */
  minSidePx: 160,
  /** 99th percentile of the luminance, of 255. */
  minBrightness: 90,
  /** Luminance that counts as white, and the largest share of it. */
  white: 250,
  maxWhiteShare: 0.25,
  /** Of `sharpness`. */
  minSharpness: 0.5,
  /** Share of the ring that a lesion covers, if it is small, and of the skin around it. */
  smallLesion: [5e-3, 0.2],
  maxAroundShare: 0.03
};
var WINDOW_PX = 11;
async function lookAtFile(file, options) {
  if (file.size > MAX_FILE_BYTES) return null;
  try {
    const bitmap = await createImageBitmap(file);
    const hint = look(bitmap, bitmap, options);
    bitmap.close();
    return hint;
  } catch {
    return null;
  }
}
function look(picture, { width, height }, { isLesion }) {
  if (Math.min(width, height) < LIMITS.minSidePx) return "too_small";
  const whole = pixels(picture, { x: 0, y: 0, width, height }, WHOLE_PX);
  const light = Array.from(luminance(whole)).sort((a, b) => a - b);
  if (light[Math.floor(0.99 * (light.length - 1))] < LIMITS.minBrightness) return "too_dark";
  if (light.filter((value) => value >= LIMITS.white).length > LIMITS.maxWhiteShare * light.length) return "overexposed";
  const middle = pixels(picture, { x: width / 4, y: height / 4, width: width / 2, height: height / 2 }, MIDDLE_PX);
  if (sharpness(middle) < LIMITS.minSharpness) return "blurred";
  return isLesion && isLesionSmall(whole) ? "lesion_too_small" : null;
}
function pixels(picture, part2, maxPx) {
  const scale = Math.min(1, maxPx / Math.max(part2.width, part2.height));
  const size = { width: Math.max(1, Math.round(scale * part2.width)), height: Math.max(1, Math.round(scale * part2.height)) };
  const context = (
    /** @type {CanvasRenderingContext2D} */
    Object.assign(document.createElement("canvas"), size).getContext("2d", { willReadFrequently: true })
  );
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, part2.x, part2.y, part2.width, part2.height, 0, 0, size.width, size.height);
  return context.getImageData(0, 0, size.width, size.height);
}
var luminance = ({ data, width, height }) => Int16Array.from({ length: width * height }, (_, index) => Math.round(0.299 * data[4 * index] + 0.587 * data[4 * index + 1] + 0.114 * data[4 * index + 2]));
function sharpness(picture) {
  const { width, height } = picture;
  const grey = luminance(picture);
  return Math.min(sharpnessAlong(grey, width, height, 1, width), sharpnessAlong(grey, height, width, width, 1));
}
function sharpnessAlong(grey, length, numLines, step, lineStep) {
  const half = (WINDOW_PX - 1) / 2;
  let [removed, total] = [0, 0];
  for (let line = 0; line < numLines; line += 1) {
    for (let at = 0; at < length - WINDOW_PX; at += 1) {
      const first = line * lineStep + at * step;
      const variation = WINDOW_PX * Math.abs(grey[first + (half + 1) * step] - grey[first + half * step]);
      const blurred = Math.abs(grey[first + WINDOW_PX * step] - grey[first]);
      total += variation;
      removed += Math.max(variation - blurred, 0);
    }
  }
  return total ? removed / total : 1;
}
function isLesionSmall({ data, width, height }) {
  const side = Math.min(width, height);
  const inside = [];
  const around = [];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const radius = Math.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2) / side;
      const at = 4 * (y * width + x);
      if (radius < 0.25) inside.push([...data.subarray(at, at + 3)]);
      else if (radius >= 0.3 && radius < 0.5) around.push([...data.subarray(at, at + 3)]);
    }
  }
  const skin = [0, 1, 2].map((channel) => median(around.map((colour) => colour[channel])));
  const distance = (colour) => colour.reduce((sum, value, channel) => sum + Math.abs(value - skin[channel]), 0);
  const spread = median(around.map(distance));
  if (spread >= 25) return false;
  const isOther = (colour) => distance(colour) > Math.max(45, 3 * spread);
  const share = inside.filter(isOther).length / inside.length;
  const [least, most] = LIMITS.smallLesion;
  return share > least && share < most && around.filter(isOther).length < LIMITS.maxAroundShare * around.length;
}
var median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

// ui/static/camera.js
var LOOK_MS = 800;
var SIZE = { width: { ideal: 1920 }, height: { ideal: 1080 } };
var canUseCamera = () => isSecureContext && typeof navigator.mediaDevices?.getUserMedia === "function";
async function openCamera(host) {
  const dialog = (
    /** @type {HTMLDialogElement} */
    template("camera-dialog").firstElementChild
  );
  const video = (
    /** @type {HTMLVideoElement} */
    dialog.querySelector("video")
  );
  const stream = await openStream({ facingMode: host.dataset.facing });
  if (!host.checkVisibility()) {
    for (const track of stream.getTracks()) track.stop();
    return null;
  }
  const isLesion = host.dataset.maxPhotos === "1";
  for (
    const ring of
    /** @type {NodeListOf<HTMLElement>} */
    dialog.querySelectorAll("[data-ring]")
  ) ring.hidden = !isLesion;
  fill(dialog, "hint", host.dataset.hint ?? "");
  connectSwitch(dialog, video);
  video.addEventListener("resize", () => {
    video.parentElement.style.setProperty("--ratio", `${video.videoWidth} / ${video.videoHeight}`);
  });
  dialog.addEventListener("submit", (event) => {
    const { value } = (
      /** @type {HTMLButtonElement} */
      /** @type {SubmitEvent} */
      event.submitter
    );
    if (value === "take" && !hasPicture(video)) event.preventDefault();
  });
  const closed = new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  host.append(dialog);
  const looks = setInterval(() => lookAtVideo(dialog, video, isLesion), LOOK_MS);
  try {
    play(video, stream);
    dialog.showModal();
    await closed;
    if (dialog.returnValue === "failed") throw new DOMException("", "NotReadableError");
    return dialog.returnValue === "take" ? await frame(video) : null;
  } finally {
    clearInterval(looks);
    stop(video);
    dialog.remove();
  }
}
var openStream = (which) => navigator.mediaDevices.getUserMedia({ video: { ...which, ...SIZE } });
function play(video, stream) {
  video.srcObject = stream;
  video.play().catch(() => {
  });
}
function stop(video) {
  const stream = (
    /** @type {MediaStream | null} */
    video.srcObject
  );
  stream?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}
async function connectSwitch(dialog, video) {
  const button2 = (
    /** @type {HTMLButtonElement} */
    dialog.querySelector("[data-switch]")
  );
  const ids = await cameraIds().catch(() => []);
  button2.hidden = ids.length < 2;
  let isWaiting = false;
  button2.addEventListener("click", async () => {
    if (isWaiting) return;
    isWaiting = true;
    const [track] = (
      /** @type {MediaStream} */
      video.srcObject.getVideoTracks()
    );
    const next = ids[(ids.indexOf(String(track.getSettings().deviceId)) + 1) % ids.length];
    stop(video);
    try {
      play(video, await openStream({ deviceId: { exact: next } }));
      if (!dialog.open) stop(video);
    } catch {
      dialog.close("failed");
    }
    isWaiting = false;
  });
}
async function cameraIds() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId !== "").map(({ deviceId }) => deviceId);
}
var hasPicture = (video) => video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
function lookAtVideo(dialog, video, isLesion) {
  if (!hasPicture(video)) return;
  const seen = look(video, { width: video.videoWidth, height: video.videoHeight }, { isLesion });
  fill(dialog, "look", text(`look_${seen ?? "fine"}`));
  dialog.classList.toggle("is-fine", seen === null);
}
async function frame(video) {
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([
    /** @type {Blob} */
    blob
  ], "camera.jpg", { type: "image/jpeg" });
}

// ui/static/photo_input.js
var lastId2 = 0;
var makePhoto = (file) => ({ id: ++lastId2, file, name: file.name.replace(DIRECTION_MARKS, ""), url: URL.createObjectURL(file) });
function release(photo) {
  URL.revokeObjectURL(photo.url);
  previews.delete(photo.id);
}
function connectPhotoInput(root, { onPhotos, dropTarget = root, count = () => 0 }) {
  const maxPhotos = Number(root.dataset.maxPhotos);
  const maxBytes = Number(root.dataset.maxBytes);
  const place2 = (
    /** @type {HTMLElement} */
    root.querySelector('[data-slot="problem"]')
  );
  const problem = (message) => {
    place2.textContent = message;
    place2.hidden = !message;
  };
  const add = (files) => {
    if (!files.length) return;
    problem("");
    if (maxPhotos === 1 && files.length > 1) return problem(text("only_one", { n: files.length }));
    if (maxPhotos > 1 && count() + files.length > maxPhotos) {
      return problem(text("too_many", { n: count() + files.length, most: maxPhotos }));
    }
    const wrong = files.map((file) => fault(file, maxBytes, root)).filter((found) => found !== "");
    const right = files.filter((file) => fault(file, maxBytes, root) === "");
    if (wrong.length) problem(wrong.join(" "));
    if (right.length) onPhotos(right.map(makePhoto));
  };
  root.addEventListener("change", (event) => {
    const input = (
      /** @type {HTMLInputElement} */
      event.target
    );
    if (input.type !== "file") return;
    add([...input.files ?? []]);
    input.value = "";
  });
  root.addEventListener("photos", (event) => {
    const files = (
      /** @type {CustomEvent<File[]>} */
      event.detail
    );
    if (files.length) add(files);
    else problem(text("shared_nothing"));
  });
  dropTarget.addEventListener("dragover", (event) => {
    event.preventDefault();
    dropTarget.classList.add("over");
  });
  dropTarget.addEventListener("dragleave", (event) => {
    if (!dropTarget.contains(
      /** @type {Node | null} */
      event.relatedTarget
    )) dropTarget.classList.remove("over");
  });
  dropTarget.addEventListener("drop", (event) => {
    event.preventDefault();
    dropTarget.classList.remove("over");
    const files = [...event.dataTransfer?.files ?? []];
    if (files.length) add(files);
    else problem(text("dropped_no_file"));
  });
  document.addEventListener("paste", (event) => {
    const isTyping = event.target instanceof Element && event.target.closest("input, textarea, [contenteditable]");
    if (!dropTarget.offsetParent || isTyping && !isTyping.matches("[type=file]")) return;
    const files = [...event.clipboardData?.files ?? []];
    if (files.length) add(files);
    else problem(text("pasted_no_photo"));
  });
  connectCamera(root, add, problem);
  return { problem };
}
function connectCamera(root, add, problem) {
  const open3 = (
    /** @type {HTMLElement | null} */
    root.querySelector("[data-camera]")
  );
  const capture = (
    /** @type {HTMLElement | null} */
    root.querySelector("[data-capture]")
  );
  const isTouch = matchMedia("(pointer: coarse)").matches;
  if (capture) capture.hidden = !isTouch;
  if (!open3) return;
  open3.hidden = !canUseCamera();
  let isOpening = false;
  open3.addEventListener("click", async () => {
    if (isOpening) return;
    isOpening = true;
    problem("");
    try {
      const file = await openCamera(root);
      if (file) add([file]);
    } catch {
      problem(text("no_camera"));
      if (capture) capture.hidden = !isTouch;
    }
    isOpening = false;
    open3.focus();
  });
}
function fault(file, maxBytes, root) {
  const name = isolated2(file.name);
  if (file.size > maxBytes) return text("file_too_large", { name, mb: numberText(file.size / 1e6, 1), most: Math.round(maxBytes / 1e6) });
  if (file.size === 0) return text("file_empty", { name });
  const isKnownOther = file.type !== "" && !file.type.startsWith("image/") && file.type !== "application/octet-stream";
  const suffix = file.name.slice(file.name.lastIndexOf(".")).toLowerCase();
  if (isKnownOther && !String(root.dataset.suffixes).split(" ").includes(suffix)) return text("file_no_photo", { name });
  return "";
}
var previews = /* @__PURE__ */ new Map();
async function showPhoto(image, photo) {
  image.style.visibility = "hidden";
  try {
    return await draw(image, photo);
  } finally {
    image.style.visibility = "";
  }
}
async function draw(image, photo) {
  if (await loads(image, photo.url)) return { width: image.naturalWidth, height: image.naturalHeight };
  try {
    const drawing = previews.get(photo.id) ?? fetchPreview(photo.file);
    previews.set(photo.id, drawing);
    const preview = await drawing;
    if (!preview || !await loads(image, preview.data_uri)) return null;
    return { width: preview.width_px, height: preview.height_px };
  } catch {
    previews.delete(photo.id);
    return void 0;
  }
}
var fetchExample = (tile) => Promise.all(String(tile.dataset.example).split(" ").map(fetchFile));
function loads(image, url) {
  return new Promise((resolve) => {
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = url;
  });
}

// ui/static/history_groups.js
function groupsOf(entries) {
  const groups = /* @__PURE__ */ new Map();
  for (const entry of entries) {
    const key = `${entry.kind} ${entry.label}`;
    groups.set(key, [...groups.get(key) ?? [], entry]);
  }
  return [...groups.values()].sort((a, b) => newest(a) < newest(b) ? 1 : -1).map((all) => ({
    label: all[0].label,
    entries: all,
    hasSeveralModels: new Set(all.map(({ answer }) => `${answer.model?.name} ${answer.model?.version}`)).size > 1
  }));
}
var newest = (entries) => entries[entries.length - 1].createdAt;
function summaryOf({ kind, answer }) {
  const isDoubtful = kind === "lesion" && answer.verdict === "benign" && answer.reasons.some(({ code }) => code === "blurred");
  const verdict = text(isDoubtful ? "lesion_doubtful" : `${kind}_${answer.verdict}`);
  const [probability, limits] = kind === "lesion" ? [answer.malignant_probability, [answer.benign_threshold, answer.threshold]] : [answer.improved_probability, [answer.improved_threshold]];
  if (kind === "progress" && answer.verdict === "inconclusive") return { verdict, probability: "", tone: "inconclusive" };
  const percent = percentText(probability, limits.filter((limit) => typeof limit === "number"));
  const isPlain = isDoubtful || ["inconclusive", "no_clear_change"].includes(answer.verdict);
  return { verdict, probability: text(`${kind}_probability`, { percent }), tone: isPlain ? "inconclusive" : answer.verdict };
}
var photosOf = ({ photos }) => photos.map((photo, index) => makePhoto(new File([photo], `photo-${index + 1}`, { type: photo.type })));

// ui/static/history_file.js
var MAGIC = "skinserve-history-1\n";
var ITERATIONS = 6e5;
var MAX_ITERATIONS = 1e7;
var NONCE_BYTES = 12;
var MAX_HEAD_BYTES = 1e3;
var MAX_INDEX_BYTES = 2e8;
var MAX_ENTRIES = 2e3;
var MAX_ANSWER_CHARACTERS = 4e6;
var MAX_PHOTOS = 30;
var MAX_PHOTO_BYTES = 1e8;
var MAX_LABEL_CHARACTERS = 60;
var REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;
var isRequestId = (id2) => typeof id2 === "string" && id2 !== "unknown" && REQUEST_ID.test(id2);
var PHOTO_TYPES = /* @__PURE__ */ new Set(["image/jpeg", "image/png", "image/webp", "image/heic", "image/heif", "image/avif", "image/tiff", "image/bmp", "image/gif", "image/mpo", "image/jp2"]);
var VERDICTS = { lesion: ["benign", "malignant", "inconclusive"], progress: ["improved", "worsened", "no_clear_change", "inconclusive"] };
var FileError = class extends Error {
  /** @param {'foreign' | 'newer' | 'damaged' | 'passphrase' | 'insecure'} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
};
async function writeFile(entries, passphrase) {
  const index = entries.map(({ id: id2, kind, label, createdAt, requestId, answer, photos }) => ({
    ...{ id: id2, kind, label, createdAt, requestId, answer },
    photos: photos.map(({ type }) => type)
  }));
  const parts = [new Blob([JSON.stringify(index)]), ...entries.flatMap(({ photos }) => photos)];
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const encryption = passphrase === null ? null : { salt: toHex(salt), iterations: ITERATIONS };
  const key = passphrase === null ? null : await keyOf(passphrase, salt, ITERATIONS);
  const head = new TextEncoder().encode(JSON.stringify({ encryption }));
  const file = [MAGIC, uint32(head.length), head];
  for (const [number, part2] of parts.entries()) {
    const content = key ? await encrypt(key, part2, number) : part2;
    file.push(uint32(content.size), content);
  }
  return new Blob(file, { type: "application/octet-stream" });
}
async function isEncrypted(file) {
  return (await readHead(file)).head.encryption !== null;
}
async function readFile(file, passphrase) {
  const { head, end } = await readHead(file);
  const key = head.encryption && await keyOf(passphrase ?? "", fromHex(head.encryption.salt), head.encryption.iterations);
  const reader = new PartReader(file, end, key);
  const index = parse(await (await reader.next(MAX_INDEX_BYTES)).text());
  if (!Array.isArray(index) || index.length > MAX_ENTRIES || !index.every(isEntry)) throw new FileError("damaged");
  const entries = [];
  for (const { id: id2, kind, label, createdAt, requestId, answer, photos: types } of index) {
    const photos = [];
    for (const type of types) photos.push(typed(await reader.next(MAX_PHOTO_BYTES), type));
    entries.push({ id: id2, kind, label, createdAt, answer, photos, ...requestId === void 0 ? {} : { requestId } });
  }
  if (!reader.isAtEnd) throw new FileError("damaged");
  return entries;
}
var PartReader = class {
  number = 0;
  /**
   * @param {Blob} file
   * @param {number} at start of the first part
   * @param {CryptoKey | null} key
   */
  constructor(file, at, key) {
    this.file = file;
    this.at = at;
    this.key = key;
  }
  get isAtEnd() {
    return this.at === this.file.size;
  }
  /**
   * @param {number} maxBytes
   * @returns {Promise<Blob>}
   */
  async next(maxBytes) {
    const start3 = this.at + 4;
    if (start3 > this.file.size) throw new FileError("damaged");
    const size = await readUint32(this.file, this.at);
    if (size > maxBytes || start3 + size > this.file.size) throw new FileError("damaged");
    this.at = start3 + size;
    const content = this.file.slice(start3, this.at);
    return this.key ? decrypt(this.key, content, this.number++) : content;
  }
};
async function readHead(file) {
  const magic = await file.slice(0, MAGIC.length).text();
  if (magic !== MAGIC) throw new FileError(magic.startsWith("skinserve-history-") ? "newer" : "foreign");
  const size = file.size >= MAGIC.length + 4 ? await readUint32(file, MAGIC.length) : MAX_HEAD_BYTES + 1;
  if (size > MAX_HEAD_BYTES) throw new FileError("damaged");
  const end = MAGIC.length + 4 + size;
  const head = parse(await file.slice(MAGIC.length + 4, end).text());
  const encryption = head?.encryption;
  const isValid = encryption === null || /^[0-9a-f]{32}$/.test(encryption?.salt) && Number.isInteger(encryption.iterations) && encryption.iterations > 0 && encryption.iterations <= MAX_ITERATIONS;
  if (!isValid) throw new FileError("damaged");
  return { head, end };
}
function isEntry(entry) {
  return typeof entry === "object" && entry !== null && /^[0-9a-f]{32}$/.test(entry.id) && (entry.kind === "lesion" || entry.kind === "progress") && typeof entry.label === "string" && entry.label.trim() !== "" && entry.label.length <= MAX_LABEL_CHARACTERS && typeof entry.createdAt === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(entry.createdAt) && !Number.isNaN(Date.parse(entry.createdAt)) && (entry.requestId === void 0 || isRequestId(entry.requestId)) && Array.isArray(entry.photos) && entry.photos.length > 0 && entry.photos.length <= (entry.kind === "lesion" ? 1 : MAX_PHOTOS) && entry.photos.every((type) => typeof type === "string") && isAnswer(entry.answer, entry.kind, entry.photos.length);
}
function isAnswer(answer, kind, numPhotos) {
  if (typeof answer !== "object" || answer === null || !VERDICTS[kind].includes(answer.verdict)) return false;
  if (JSON.stringify(answer).length > MAX_ANSWER_CHARACTERS) return false;
  const probability = kind === "lesion" ? answer.malignant_probability : answer.improved_probability;
  if (typeof probability !== "number" || !(probability >= 0 && probability <= 1)) return false;
  const isPosition = (photo) => Number.isInteger(photo?.index) && photo.index >= 0 && photo.index < numPhotos;
  return kind === "lesion" || Array.isArray(answer.photos) && answer.photos.length === numPhotos && answer.photos.every(isPosition);
}
var typed = (photo, type) => photo.slice(0, photo.size, PHOTO_TYPES.has(type) ? type : "");
async function keyOf(passphrase, salt, iterations) {
  if (!crypto.subtle) throw new FileError("insecure");
  const material = await crypto.subtle.importKey("raw", new TextEncoder().encode(passphrase.normalize("NFC")), "PBKDF2", false, ["deriveKey"]);
  return crypto.subtle.deriveKey({ name: "PBKDF2", hash: "SHA-256", salt, iterations }, material, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}
async function encrypt(key, content, number) {
  const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const encrypted = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: uint32(number) }, key, await content.arrayBuffer());
  return new Blob([iv, encrypted]);
}
async function decrypt(key, content, number) {
  const iv = new Uint8Array(await content.slice(0, NONCE_BYTES).arrayBuffer());
  const encrypted = await content.slice(NONCE_BYTES).arrayBuffer();
  try {
    return new Blob([await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: uint32(number) }, key, encrypted)]);
  } catch {
    throw new FileError(number === 0 ? "passphrase" : "damaged");
  }
}
function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    throw new FileError("damaged");
  }
}
function uint32(value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
var readUint32 = async (file, at) => new DataView(await file.slice(at, at + 4).arrayBuffer()).getUint32(0);
var toHex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
var fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));

// ui/static/report.js
var LARGE_PX = 1200;
var SMALL_PX = 480;
var MAX_HEIGHT_MM = 248;
var PX_PER_MM = 96 / 25.4;
var MIN_FIT = 0.5;
var FIT_STEP = 0.02;
var MAX_STYLE_WAIT_MS = 2e3;
async function printReport(shown2) {
  document.getElementById("report")?.remove();
  if (!shown2.report) return;
  const report = Object.assign(document.createElement("section"), { id: "report", hidden: true });
  report.append(shown2.report.content.cloneNode(true));
  fill(report, "date", dateText(shown2.createdAt, { dateStyle: "long", timeStyle: "short" }));
  fill(report, "label", shown2.label ?? "");
  if (shown2.kind === "lesion") fill(report, "file", shown2.fileName ?? "");
  document.body.append(report);
  const images = (
    /** @type {HTMLImageElement[]} */
    [...report.querySelectorAll("img[data-photo]")]
  );
  await Promise.all(images.map((image) => place(image, shown2, images.length > 1 ? SMALL_PX : LARGE_PX)));
  await fitToPage(report);
  const title = document.title;
  document.title = text("report_name", { date: shown2.createdAt.slice(0, 10) });
  addEventListener("afterprint", () => {
    document.title = title;
    addEventListener("pointerdown", () => report.remove(), { once: true });
  }, { once: true });
  print();
}
async function fitToPage(report) {
  await applyPrintStyle();
  report.hidden = false;
  report.classList.add("measured");
  for (let fit = 1; fit >= MIN_FIT; fit -= FIT_STEP) {
    report.style.setProperty("--fit", fit.toFixed(2));
    if (report.offsetHeight <= MAX_HEIGHT_MM * PX_PER_MM) break;
  }
  report.classList.remove("measured");
  report.hidden = true;
}
async function applyPrintStyle() {
  const links = (
    /** @type {NodeListOf<HTMLLinkElement>} */
    document.querySelectorAll('link[media="print"]')
  );
  for (const link of links) {
    if (!link.sheet) await new Promise((resolve) => {
      link.addEventListener("load", resolve);
      setTimeout(resolve, MAX_STYLE_WAIT_MS);
    });
    link.media = "all";
  }
}
async function place(image, shown2, maxPx) {
  const frame2 = (
    /** @type {HTMLElement} */
    image.parentElement
  );
  const size = await showPhoto(image, shown2.photos[Number(image.dataset.photo)]);
  if (!size) {
    frame2.remove();
    return;
  }
  const scale = Math.min(1, maxPx / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * image.naturalWidth);
  canvas.height = Math.round(scale * image.naturalHeight);
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.src = canvas.toDataURL("image/jpeg", 0.9);
  await image.decode();
  frame2.style.setProperty("--ratio", `${size.width} / ${size.height}`);
  frame2.style.setProperty("--upright", String(size.width / size.height));
  placeBoxes(frame2, size);
}

// ui/static/keep.js
function offerKeeping(root, shown2, onKept) {
  const report = (
    /** @type {HTMLTemplateElement | null} */
    root.querySelector("template[data-report]")
  );
  const row = (
    /** @type {HTMLElement} */
    template("keep-actions").firstElementChild
  );
  root.querySelector(".answer > .verdict, .answer > .answer-columns")?.after(row);
  const [print2, json, keep2] = ["report", "json", "keep"].map((name) => (
    /** @type {HTMLButtonElement} */
    row.querySelector(`[data-action="${name}"]`)
  ));
  json.addEventListener("click", () => saveJson(shown2));
  print2.addEventListener("click", () => printReport({ ...shown2, report }));
  if (!report) print2.remove();
  if (!report || !onKept) return keep2.remove();
  keep2.addEventListener("click", async () => {
    const host = (
      /** @type {HTMLElement} */
      row.closest(".skin")
    );
    const label = await askLabel(host, shown2.kind, shown2.label ?? "", async (chosen) => putEntries([await entryOf(shown2, chosen)]));
    if (label === null) return;
    shown2.label = label;
    onKept(label);
    const link = Object.assign(document.createElement("a"), { href: "#history", className: "button", textContent: text("kept", { label: isolated2(label) }) });
    keep2.replaceWith(link);
    link.focus();
    announce(text("kept", { label: isolated2(label) }));
  });
}
async function askLabel(host, kind, current2, save) {
  const entries = await allEntries().catch(() => []);
  const names = [...new Set(entries.filter((entry) => entry.kind === kind).map(({ label: label2 }) => label2))];
  let label = "";
  const isDone = await openDialog(host, "keep-dialog", {
    prepare: (form) => {
      field(form, "label").value = current2;
      field(form, "label").placeholder = text(`label_${kind}`);
      form.querySelector("datalist")?.append(...names.map((value) => Object.assign(document.createElement("option"), { value })));
    },
    submit: async (form) => {
      label = field(form, "label").value.trim();
      if (!label) throw new Error(text("label_missing"));
      await save(label);
    }
  });
  return isDone ? label : null;
}
function saveJson({ kind, answer, createdAt }) {
  const json = new Blob([`${JSON.stringify(answer, null, 2)}
`], { type: "application/json" });
  download(json, `skinserve-${kind}-${createdAt.slice(0, 10)}.json`);
}
function download(content, name) {
  const url = URL.createObjectURL(content);
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 6e4);
}
function htmlOf(rendered) {
  const copy2 = document.createElement("div");
  copy2.append(rendered.cloneNode(true));
  return copy2.innerHTML;
}
async function entryOf({ kind, answer, photos, createdAt, requestId }, label) {
  const html = await renderFragment(kind, answer).then(htmlOf, () => void 0);
  return {
    ...{ id: newId(), kind, label, createdAt, answer, html },
    ...isRequestId(requestId) ? { requestId } : {},
    // a proxy can remove or double it
    photos: photos.map(({ file }) => file.slice(0, file.size, file.type))
    // without its name, which can identify a person
  };
}

// ui/static/history_transfer.js
async function exportHistory(host, entries) {
  const canEncrypt = isSecureContext && Boolean(crypto.subtle);
  await openDialog(host, canEncrypt ? "export-dialog" : "export-plain-dialog", {
    submit: async (form) => {
      const passphrase = canEncrypt ? field(form, "passphrase").value : null;
      if (canEncrypt && passphrase !== field(form, "again").value) throw new Error(text("passphrases_differ"));
      download(await writeFile(entries, passphrase), `skinserve-history-${(/* @__PURE__ */ new Date()).toISOString().slice(0, 10)}.skinserve`);
    }
  });
}
async function importHistory(host, file) {
  try {
    let entries = [];
    if (await isEncrypted(file)) {
      if (!crypto.subtle) throw new FileError("insecure");
      const isDone = await openDialog(host, "import-dialog", {
        submit: async (form) => {
          entries = await readOrAskAgain(file, field(form, "passphrase").value);
        }
      });
      if (!isDone) return;
    } else entries = await readFile(file, null);
    const known = new Set((await allEntries()).map(({ id: id2 }) => id2));
    const added = entries.filter(({ id: id2 }) => !known.has(id2));
    if (added.length) await putEntries(added);
    announceImport(host, added.length, entries.length - added.length);
  } catch (error) {
    throw error instanceof FileError ? new ApiError("import", text(`import_${error.code}`)) : error;
  }
}
async function readOrAskAgain(file, passphrase) {
  try {
    return await readFile(file, passphrase);
  } catch (error) {
    throw error instanceof FileError ? new Error(text(`import_${error.code}`)) : error;
  }
}
function announceImport(host, numAdded, numKnown) {
  const message = [text("imported", { n: numAdded }), numKnown ? text("imported_known", { n: numKnown }) : ""].join(" ").trim();
  const place2 = (
    /** @type {HTMLElement} */
    host.querySelector('[data-slot="done"]')
  );
  place2.textContent = message;
  place2.hidden = false;
  announce(message);
}

// ui/static/programs.js
function programsCard({ path, field: field2, numPhotos, takenAt = [] }) {
  const content = template("programs-card");
  const files = field2 === "file" ? ["lesion.jpg"] : Array.from({ length: numPhotos }, (_, index) => `photo-${index + 1}.jpg`);
  const values = {
    url: new URL(`../v1/${path}`, document.baseURI).href,
    field: field2,
    files: list(files),
    times: list(takenAt),
    parts: [...files.map((file) => `-F ${field2}=@${file}`), ...takenAt.map((time) => `-F taken_at=${time}`)].join(" \\\n  "),
    seconds: String(Number(settings().deadlineS))
  };
  if (!takenAt.length) content.querySelectorAll("[data-of-times]").forEach((line) => line.remove());
  for (const code of content.querySelectorAll("[data-code]")) {
    code.textContent = (code.textContent ?? "").replace(/\{(\w+)\}/g, (place2, name) => values[name] ?? place2);
  }
  connectCopyButtons(
    /** @type {HTMLElement} */
    content.firstElementChild
  );
  return content;
}
var list = (values) => `[${values.map((value) => JSON.stringify(value)).join(", ")}]`;

// ui/static/after_answer.js
function afterAnswer(place2, { task, answer, path, photos, requestId, takenAt, isExample, label, onKept = () => {
} }) {
  const after = (
    /** @type {HTMLElement} */
    place2.querySelector('[data-slot="after"]')
  );
  const form = (
    /** @type {HTMLElement} */
    after.querySelector("[data-feedback]")
  );
  const fileName = isExample ? "" : photos[0].name;
  offerKeeping(place2, { kind: task, answer, photos, requestId, createdAt: (/* @__PURE__ */ new Date()).toISOString(), fileName, label }, isExample ? null : onKept);
  if (isExample) {
    form.remove();
    addDrawingNote(place2, task);
  } else connectFeedback(form, { task, answer, requestId, photo: task === "lesion" ? photos[0] : void 0 });
  after.append(programsCard({ path, field: task === "lesion" ? "file" : "files", numPhotos: photos.length, takenAt }));
}
function addDrawingNote(place2, task) {
  const note = `drawing-note-${task}`;
  place2.querySelector(".verdict-head")?.after(template(note));
  place2.querySelector("template[data-report]")?.content.querySelector("header")?.append(template(note));
}

// ui/static/contours.js
var GRID = 56;
var LEVELS = [0.5, 0.8];
var SVG = "http://www.w3.org/2000/svg";
async function drawContours(stage) {
  const svg = stage.querySelector(".contours");
  const image = (
    /** @type {HTMLImageElement | null} */
    stage.querySelector(".grad-cam")
  );
  if (!svg || !image) return;
  const grid = await readMap(image).catch(() => null);
  if (!grid) return;
  const peak = Math.max(...grid);
  svg.setAttribute("viewBox", `-0.5 -0.5 ${GRID} ${GRID}`);
  svg.replaceChildren(...peak > 0 ? LEVELS.flatMap((level) => strokes(outline(grid, level * peak), level)) : []);
  stage.querySelector('[data-slot="map-text"]').textContent = peak > 0 ? inWords(grid, LEVELS[1] * peak, stage) : text("map_empty");
}
async function readMap(image) {
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: GRID, height: GRID });
  const context = (
    /** @type {CanvasRenderingContext2D} */
    canvas.getContext("2d")
  );
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, GRID, GRID);
  const { data } = context.getImageData(0, 0, GRID, GRID);
  return Float32Array.from({ length: GRID * GRID }, (_, index) => data[4 * index + 3]);
}
function outline(grid, level) {
  const steps = /* @__PURE__ */ new Map();
  for (let y = -1; y < GRID; y += 1) {
    for (let x = -1; x < GRID; x += 1) {
      for (const [from, to] of linesIn([[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]], grid, level)) {
        steps.set(from.edge, { point: from.point, next: to.edge });
      }
    }
  }
  let path = "";
  while (steps.size) {
    const points = [];
    let [edge] = steps.keys();
    for (let step = steps.get(edge); step; step = steps.get(edge)) {
      points.push(step.point);
      steps.delete(edge);
      edge = step.next;
    }
    path += `M${points.join("L")}Z`;
  }
  return path;
}
function linesIn(corners, grid, level) {
  const values = corners.map(([x, y]) => x < 0 || y < 0 || x >= GRID || y >= GRID ? 0 : grid[y * GRID + x]);
  const crossings = corners.flatMap(([x, y], index) => {
    const next = (index + 1) % 4;
    if (values[index] >= level === values[next] >= level) return [];
    const share = (level - values[index]) / (values[next] - values[index]);
    const [toX, toY] = corners[next];
    const point = `${(x + share * (toX - x)).toFixed(2)} ${(y + share * (toY - y)).toFixed(2)}`;
    return [{ edge: `${x + toX},${y + toY}`, point, isExit: values[index] >= level }];
  });
  const isMiddleIn = (values[0] + values[1] + values[2] + values[3]) / 4 >= level;
  return crossings.flatMap((exit, index) => {
    if (!exit.isExit) return [];
    const step = crossings.length === 4 && !isMiddleIn ? 3 : 1;
    return [
      /** @type {[Crossing, Crossing]} */
      [exit, crossings[(index + step) % crossings.length]]
    ];
  });
}
var strokes = (path, level) => ["under", "over"].map((kind) => {
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  line.setAttribute("class", `${kind} from-${Math.round(100 * level)}`);
  return line;
});
function inWords(grid, level, stage) {
  const [left, top, right, bottom] = edgesOf(stage, ".contours");
  const frame2 = stage.querySelector(".lesion-box") ? edgesOf(stage, ".lesion-box") : null;
  const inside = [...grid.keys()].filter((index) => grid[index] >= level);
  const share = shareText(inside.length / grid.length);
  if (!frame2) return text("map_share", { share });
  const inFrame = inside.filter((index) => {
    const x = left + (right - left) * (index % GRID + 0.5) / GRID;
    const y = top + (bottom - top) * (Math.floor(index / GRID) + 0.5) / GRID;
    return x >= frame2[0] && x <= frame2[2] && y >= frame2[1] && y <= frame2[3];
  });
  return text("map_share_and_frame", { share, inside: shareText(inFrame.length / inside.length) });
}
var edgesOf = (stage, selector) => String(
  /** @type {HTMLElement} */
  stage.querySelector(selector).dataset.box
).split(",").map(Number);

// ui/static/crop.js
var VIEW_SIDE = 2;
var MIN_SIDE_PX = 24;
async function chooseBox(host, { src, size, start: start3 }) {
  const dialog = (
    /** @type {HTMLDialogElement} */
    template("crop-dialog").firstElementChild
  );
  const view = (
    /** @type {HTMLElement} */
    dialog.querySelector(".cropper")
  );
  const image = (
    /** @type {HTMLImageElement} */
    view.querySelector("img")
  );
  const ranges = (
    /** @type {HTMLInputElement[]} */
    [...dialog.querySelectorAll("[data-set]")]
  );
  let frame2 = within(start3 ? frameOf(start3) : { x: size.width / 2, y: size.height / 2, side: Math.min(size.width, size.height) / 2 }, size);
  const draw2 = () => {
    const seen = VIEW_SIDE * frame2.side;
    Object.assign(image.style, {
      width: `${100 * size.width / seen}%`,
      height: `${100 * size.height / seen}%`,
      left: `${50 - 100 * frame2.x / seen}%`,
      top: `${50 - 100 * frame2.y / seen}%`
    });
    for (const range of ranges) range.value = String(positionOf(frame2, size)[
      /** @type {'zoom'} */
      range.dataset.set
    ]);
  };
  const change = (wished) => {
    frame2 = within({ ...frame2, ...wished }, size);
    draw2();
  };
  for (const range of ranges) range.addEventListener("input", () => change(wishOf(range, size)));
  connectPointers(view, () => frame2, change);
  image.src = src;
  host.append(dialog);
  draw2();
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  dialog.remove();
  return dialog.returnValue === "take" ? boxOf(frame2, size) : null;
}
var frameOf = ([left, top, right, bottom]) => ({ x: (left + right) / 2, y: (top + bottom) / 2, side: Math.max(right - left, bottom - top) });
function boxOf({ x, y, side }, { width, height }) {
  const [left, top] = [Math.max(0, Math.round(x - side / 2)), Math.max(0, Math.round(y - side / 2))];
  return [left, top, Math.min(width, Math.round(x + side / 2)), Math.min(height, Math.round(y + side / 2))];
}
function within({ x, y, side }, size) {
  const kept = clamp(side, ...sidesOf(size));
  return { x: clamp(x, kept / 2, size.width - kept / 2), y: clamp(y, kept / 2, size.height - kept / 2), side: kept };
}
function sidesOf({ width, height }) {
  const most = Math.min(width, height);
  return [Math.min(MIN_SIDE_PX, most), most];
}
function positionOf({ x, y, side }, size) {
  const [least, most] = sidesOf(size);
  const zoom = least === most ? 0 : 100 * Math.log(most / side) / Math.log(most / least);
  return { zoom, x: 100 * x / size.width, y: 100 * y / size.height };
}
function wishOf({ dataset, value }, size) {
  const share = Number(value) / 100;
  const [least, most] = sidesOf(size);
  if (dataset.set === "zoom") return { side: most * (least / most) ** share };
  return dataset.set === "x" ? { x: share * size.width } : { y: share * size.height };
}
function connectPointers(view, frameNow, change) {
  const down = /* @__PURE__ */ new Map();
  const spread = () => {
    const [one, other] = [...down.values()];
    return Math.hypot(one.x - other.x, one.y - other.y);
  };
  view.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    view.setPointerCapture(event.pointerId);
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  view.addEventListener("pointermove", (event) => {
    const from = down.get(event.pointerId);
    if (!from) return;
    const before = down.size === 2 ? spread() : 0;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const { x, y, side } = frameNow();
    if (down.size === 2) return change({ side: side * before / Math.max(spread(), 1) });
    const scale = VIEW_SIDE * side / view.clientWidth;
    change({ x: x - scale * (event.clientX - from.x), y: y - scale * (event.clientY - from.y) });
  });
  for (
    const kind of
    /** @type {const} */
    ["pointerup", "pointercancel"]
  ) view.addEventListener(kind, (event) => down.delete(event.pointerId));
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    change({ side: frameNow().side * 1.1 ** Math.sign(event.deltaY) });
  }, { passive: false });
}
var clamp = (value, least, most) => Math.min(Math.max(value, least), most);

// ui/static/earlier.js
var EarlierAnswers = class {
  /** @type {Entry[]} */
  entries = [];
  /**
   * @param {HTMLElement} root `[data-slot="earlier"]`: templates/lesion_tab.html.jinja
   * @param {{onOpen: (entry: Entry) => void, onClear: (entries: Entry[]) => void}} options onOpen: the entry is no
   *   longer in the list. onClear: gets the entries that were in it.
   */
  constructor(root, { onOpen, onClear }) {
    this.root = root;
    this.onOpen = onOpen;
    root.querySelector("[data-clear]")?.addEventListener("click", () => onClear(this.#clear()));
  }
  /** @param {Entry} entry */
  add(entry) {
    this.entries.unshift(entry);
    const item = (
      /** @type {HTMLTemplateElement} */
      this.root.querySelector("template").content.cloneNode(true)
    );
    const fragment2 = (
      /** @type {DocumentFragment} */
      item
    );
    const fill2 = (name, value) => {
      fragment2.querySelector(`[data-slot="${name}"]`).textContent = value;
    };
    fill2("title", textOf(entry.card, ".verdict h3"));
    fill2("text", textOf(entry.card, ".verdict-head p"));
    fill2("name", entry.photo.name);
    showPhoto(
      /** @type {HTMLImageElement} */
      fragment2.querySelector("img"),
      entry.photo
    );
    fragment2.querySelector("button")?.addEventListener("click", () => {
      this.#remove(entry);
      this.onOpen(entry);
    });
    this.#list().prepend(fragment2);
    this.root.hidden = false;
  }
  /** @param {Entry} entry */
  #remove(entry) {
    const index = this.entries.indexOf(entry);
    this.entries.splice(index, 1);
    this.#list().children[index].remove();
    this.root.hidden = this.entries.length === 0;
  }
  /** @returns {Entry[]} the entries that were in the list */
  #clear() {
    const removed = this.entries;
    this.entries = [];
    this.#list().replaceChildren();
    this.root.hidden = true;
    return removed;
  }
  /** @returns {HTMLElement} */
  #list() {
    return (
      /** @type {HTMLElement} */
      this.root.querySelector("ol")
    );
  }
};
var textOf = (card, selector) => (card.querySelector(selector)?.textContent ?? "").trim().replace(/\s+/g, " ");

// ui/static/lesion.js
var QUERY = "explain=true&top_k=27";
var NARROW = matchMedia("(max-width: 760px)");
var current = null;
var earlier = null;
var hasUnsaved = () => [current, ...earlier?.entries ?? []].some((one) => one && !one.isExample && !("isKept" in one && one.isKept));
function startLesion(root) {
  const slot = (name) => (
    /** @type {HTMLElement} */
    root.querySelector(`[data-slot="${name}"]`)
  );
  const [again, inputs, picture, place2, guide, hint] = ["again", "inputs", "photo", "answer", "guide", "hint"].map(slot);
  const chooser = (
    /** @type {HTMLElement} */
    inputs.querySelector(".photo-input")
  );
  const modelQuery = connectModelChoice(
    /** @type {HTMLElement} */
    root.querySelector("[data-model-choice]"),
    () => {
      if (current) classify({ ...wishOf2(current), box: current.box });
    }
  );
  const list2 = earlier = new EarlierAnswers(slot("earlier"), {
    onOpen: (entry) => {
      forget();
      present(entry);
    },
    onClear: (entries) => {
      entries.forEach(({ photo }) => releaseUnused(photo));
      announce(text("earlier_cleared"));
      focusChooser();
    }
  });
  let running = new AbortController();
  let shown2 = null;
  const releaseUnused = (photo) => {
    if (![current, ...list2.entries].some((one) => one?.photo === photo)) release(photo);
  };
  const forget = () => {
    running.abort();
    stash();
    const photo = current?.photo;
    current = null;
    if (photo) releaseUnused(photo);
    clear(picture);
    clear(place2);
    again.hidden = true;
    inputs.hidden = guide.hidden = false;
  };
  const stash = () => {
    if (shown2) list2.add(shown2);
    shown2 = null;
  };
  const focusChooser = () => (
    /** @type {HTMLElement | null} */
    root.querySelector(again.hidden ? "input[type=file]" : "[data-again]")?.focus()
  );
  const startOver = () => {
    forget();
    focusChooser();
  };
  const classify = async (wish) => {
    running.abort();
    stash();
    current = wish;
    running = new AbortController();
    const { signal } = running;
    inputs.hidden = guide.hidden = true;
    again.hidden = false;
    const working = showWorking(place2, { title: text("lesion_working"), onCancel: startOver });
    const box = wish.box ? `box=${wish.box}` : "";
    const path = `lesion?${[QUERY, modelQuery(), box].filter(Boolean).join("&")}`;
    try {
      const answer = await postPhotos(path, photoForm("file", [wish.photo.file]), { onProgress: working.progress, signal });
      const parts = await renderFragment("lesion", answer, signal);
      const [frame2, card] = ["photo", "answer"].map((name) => (
        /** @type {HTMLElement} */
        parts.querySelector(`[data-part="${name}"]`)
      ));
      const entry = { ...wish, answer, frame: frame2, card, size: null, isKept: false };
      const onKept = () => {
        entry.isKept = true;
      };
      afterAnswer(card, { task: "lesion", answer, path, photos: [wish.photo], requestId: requestIdOf(answer), isExample: wish.isExample, onKept });
      card.append(template("next-photo"));
      if (wish.box) fill(frame2, "found", text("frame_chosen"));
      adviseNext(answer, await wish.look);
      present(entry);
    } catch (error) {
      if (signal.aborted) return;
      const isPhotoRejected = error instanceof ApiError && !error.isRetriable;
      if (isPhotoRejected) forget();
      showError(place2, error, { onRetry: () => classify(wish) });
    }
  };
  const present = async (entry) => {
    shown2 = current = entry;
    inputs.hidden = guide.hidden = true;
    again.hidden = false;
    picture.hidden = placeFrame(entry.frame, entry.card, picture);
    show(place2, entry.card);
    entry.size ??= await fillFrame(entry.frame, entry.photo);
  };
  const adviseNext = ({ reasons }, seen) => {
    const names = [...reasons.map(({ code }) => code), seen].map((code) => `hint_${code}`).filter(hasText);
    chooser.dataset.hint = hint.textContent = names.length ? text(names[0]) : "";
    hint.hidden = !names.length;
  };
  const frameLesion = async () => {
    if (!shown2?.size) return;
    const { answer, size, frame: frame2 } = shown2;
    const wish = wishOf2(shown2);
    const { src } = (
      /** @type {HTMLImageElement} */
      frame2.querySelector("[data-photo]")
    );
    const box = await chooseBox(root, { src, size, start: answer.lesion_box });
    if (box) classify({ ...wish, box });
    else frame2.querySelector("[data-crop]")?.focus();
  };
  const add = ([photo], isExample = false) => {
    forget();
    const preview = document.createElement("img");
    preview.alt = photo.name;
    preview.className = "preview";
    picture.replaceChildren(preview);
    preview.onerror = () => preview.remove();
    preview.src = photo.url;
    picture.hidden = false;
    const look2 = isExample ? Promise.resolve(null) : lookAtFile(photo.file, { isLesion: true });
    look2.then((seen) => {
      if (seen && preview.isConnected) hintAbove(preview, text(`look_${seen}`));
    });
    classify({ photo, isExample, look: look2 });
  };
  const input = connectPhotoInput(chooser, { onPhotos: add, dropTarget: root });
  root.addEventListener("click", async (event) => {
    const target2 = (
      /** @type {HTMLElement} */
      event.target
    );
    if (target2.closest("[data-again], [data-next]")) return startOver();
    if (target2.closest("[data-crop]")) return frameLesion();
    const tile = (
      /** @type {HTMLElement | null} */
      target2.closest("[data-example]")
    );
    if (!tile) return;
    input.problem("");
    try {
      add((await fetchExample(tile)).map(makePhoto), true);
    } catch (error) {
      showError(place2, error, { onRetry: () => tile.click() });
    }
  });
  connectStrength(root);
  NARROW.addEventListener("change", () => {
    if (shown2) picture.hidden = placeFrame(shown2.frame, shown2.card, picture);
  });
}
function placeFrame(frame2, answer, beside) {
  const above = NARROW.matches ? answer.querySelector(".answer > .keep") ?? answer.querySelector(".answer > .verdict") : null;
  above?.after(frame2);
  beside.replaceChildren(...above ? [] : [frame2]);
  return above !== null;
}
var wishOf2 = ({ photo, isExample, look: look2 }) => ({ photo, isExample, look: look2 });
function hintAbove(preview, hint) {
  preview.before(Object.assign(document.createElement("p"), { className: "hint", textContent: hint }));
  announce(hint);
}
async function fillFrame(frame2, photo) {
  const stage = (
    /** @type {HTMLElement} */
    frame2.querySelector(".stage")
  );
  const image = (
    /** @type {HTMLImageElement} */
    stage.querySelector("[data-photo]")
  );
  const missing = (
    /** @type {HTMLElement} */
    frame2.querySelector(".photo-missing")
  );
  let size;
  for (; ; ) {
    size = await showPhoto(image, photo);
    stage.hidden = !size;
    missing.hidden = Boolean(size);
    if (size !== void 0) break;
    await retryPressed(missing);
  }
  if (!size) return null;
  const box = (
    /** @type {HTMLElement} */
    stage.querySelector(".photo")
  );
  box.style.setProperty("--width", String(size.width));
  box.style.setProperty("--height", String(size.height));
  const seen = (
    /** @type {HTMLElement | null} */
    box.querySelector(".seen")
  );
  if (seen?.dataset.box === `0,0,${size.width},${size.height}`) {
    seen.remove();
    stage.querySelector("[data-margins]")?.remove();
  }
  placeBoxes(box, size);
  drawContours(stage);
  const crop = (
    /** @type {HTMLElement | null} */
    stage.querySelector("[data-crop]")
  );
  if (crop) crop.hidden = false;
  return size;
}
function retryPressed(place2) {
  place2.querySelector("button")?.remove();
  return new Promise((resolve) => {
    const retry = button(text("retry"), () => {
      retry.remove();
      resolve();
    });
    retry.className = "button";
    place2.append(" ", retry);
  });
}

// ui/static/before_after.js
var FACE_SHARE = 0.7;
var FACE_SIDE = 2.7;
var FACE_CENTRE = 0.4;
function connectBeforeAfter(root, photoAt) {
  const stage = (
    /** @type {HTMLElement} */
    root.querySelector(".before-after-stage")
  );
  const divider = (
    /** @type {HTMLInputElement} */
    root.querySelector("[data-divider]")
  );
  const slide = () => stage.style.setProperty("--at", `${divider.value}%`);
  const selects = (
    /** @type {HTMLSelectElement[]} */
    [...root.querySelectorAll("select")]
  );
  const excludeOther = () => selects.forEach((select, index) => {
    for (const option2 of select.options) option2.disabled = option2.value === selects[1 - index].value;
  });
  for (const select of selects) {
    const figure = (
      /** @type {HTMLElement} */
      stage.querySelector(`.${select.dataset.side}`)
    );
    const show2 = () => showFace(figure, select.selectedOptions[0], photoAt);
    select.addEventListener("change", () => {
      excludeOther();
      show2();
    });
    show2();
  }
  excludeOther();
  root.addEventListener("change", (event) => {
    const { type, value } = (
      /** @type {HTMLInputElement} */
      event.target
    );
    if (type !== "radio") return;
    stage.dataset.view = value;
    divider.closest("label").hidden = value !== "slider";
  });
  divider.addEventListener("input", slide);
  slide();
  connectDrag(stage, divider);
}
function connectDrag(stage, divider) {
  const follow = (event) => {
    const { left, width } = stage.getBoundingClientRect();
    divider.value = String(100 * (event.clientX - left) / width);
    divider.dispatchEvent(new Event("input"));
  };
  stage.addEventListener("pointerdown", (event) => {
    if (stage.dataset.view !== "slider" || event.button !== 0) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
}
function facePlace({ face, eyes }) {
  if (eyes) {
    const [leftX, leftY, rightX, rightY] = eyes.split(",").map(Number);
    const [acrossX, acrossY] = [rightX - leftX, rightY - leftY];
    return {
      x: (leftX + rightX) / 2 - FACE_CENTRE * acrossY,
      y: (leftY + rightY) / 2 + FACE_CENTRE * acrossX,
      side: FACE_SIDE * Math.hypot(acrossX, acrossY),
      angle: Math.atan2(acrossY, acrossX)
    };
  }
  const [left, top, right, bottom] = String(face).split(",").map(Number);
  return { x: (left + right) / 2, y: (top + bottom) / 2, side: Math.max(right - left, bottom - top), angle: 0 };
}
async function showFace(figure, option2, photoAt) {
  const image = (
    /** @type {HTMLImageElement} */
    figure.querySelector("img")
  );
  const photo = photoAt(Number(option2.value));
  image.alt = option2.text.trim();
  figure.querySelector("figcaption").textContent = String(option2.dataset.caption);
  const size = photo && await showPhoto(image, photo);
  image.hidden = !size;
  if (!size) return;
  const place2 = facePlace(option2.dataset);
  const shown2 = place2.side / FACE_SHARE;
  const percent = (length, whole) => `${100 * length / whole}%`;
  Object.assign(image.style, {
    width: percent(size.width, shown2),
    height: percent(size.height, shown2),
    left: percent(shown2 / 2 - place2.x, shown2),
    top: percent(shown2 / 2 - place2.y, shown2),
    transformOrigin: `${percent(place2.x, size.width)} ${percent(place2.y, size.height)}`,
    transform: `rotate(${-place2.angle}rad)`
  });
}

// ui/static/series_answer.js
function fillPhotos(root, photoAt) {
  for (
    const image of
    /** @type {NodeListOf<HTMLImageElement>} */
    root.querySelectorAll("img[data-photo]")
  ) {
    placePhoto(image, photoAt(Number(image.dataset.photo)));
  }
  const beforeAfter = (
    /** @type {HTMLElement | null} */
    root.querySelector("[data-before-after]")
  );
  if (beforeAfter) connectBeforeAfter(beforeAfter, photoAt);
}
async function placePhoto(image, photo) {
  const size = photo && await showPhoto(image, photo);
  const fit = (
    /** @type {HTMLElement} */
    image.parentElement
  );
  fit.hidden = !size;
  if (!size) return;
  fit.style.aspectRatio = `${size.width} / ${size.height}`;
  fit.style[size.width >= size.height ? "width" : "height"] = "100%";
  placeBoxes(fit, size);
}

// ui/static/history.js
var startHistory = (root) => {
  new HistoryTab(root);
};
var canResume = ({ kind }) => kind === "progress" && document.getElementById("panel-progress") !== null;
var HistoryTab = class {
  /** @type {Entry[]} */
  entries = [];
  /** @type {import('./keep.js').Shown | null} */
  shown = null;
  /** @type {Entry | null} */
  open = null;
  /** @type {Photo[]} In the list. */
  photos = [];
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.status = this.#find('[data-slot="status"]');
    root.addEventListener("click", (event) => this.#onClick(event));
    root.addEventListener("change", (event) => {
      const input = (
        /** @type {HTMLInputElement} */
        event.target
      );
      if (input.type !== "file" || !input.files?.length) return;
      const [file] = input.files;
      this.#try(() => importHistory(root, file));
      input.value = "";
    });
    connectStrength(root);
    onChange(() => this.#refresh());
    this.#refresh();
  }
  /** @param {Event} event */
  #onClick(event) {
    const pressed = (
      /** @type {Element} */
      event.target.closest("button")
    );
    if (!pressed || pressed.closest("dialog")) return;
    const { action } = pressed.dataset;
    const entry = this.entries.find(({ id: id2 }) => id2 === pressed.dataset.id) ?? this.open;
    if (action === "open" && entry) this.#try(() => this.#show(entry));
    else if (action === "delete" && entry) this.#try(() => this.#delete(entry));
    else if (action === "delete-all") this.#try(() => this.#deleteAll());
    else if (action === "export") this.#try(() => exportHistory(this.root, this.entries));
    else if (action === "back") this.#close();
    else if (action === "resume" && entry) this.root.dispatchEvent(new CustomEvent("resume-series", { bubbles: true, detail: entry }));
    else if (action === "rename" && entry) this.#try(() => this.#rename(entry));
    else if (action === "report" && this.shown) printReport(this.shown);
    else if (action === "json" && this.shown) saveJson(this.shown);
  }
  /**
   * @param {() => Promise<void>} work
   */
  async #try(work) {
    clear(this.status);
    try {
      await work();
    } catch (error) {
      showError(this.status, error);
    }
  }
  async #refresh() {
    try {
      this.entries = await allEntries();
    } catch (error) {
      this.entries = [];
      if (this.root.offsetParent) showError(this.status, error);
    }
    this.photos.forEach(release);
    this.photos = [];
    this.#find('[data-slot="groups"]').replaceChildren(...groupsOf(this.entries).map((group) => this.#group(group)));
    this.#find('[data-slot="empty"]').hidden = this.entries.length > 0;
    for (const action of ["export", "delete-all"]) this.#find(`[data-action="${action}"]`).hidden = this.entries.length === 0;
  }
  /**
   * @param {import('./history_groups.js').Group} group
   * @returns {HTMLElement}
   */
  #group({ label, entries, hasSeveralModels }) {
    const card = (
      /** @type {HTMLElement} */
      template("history-group").firstElementChild
    );
    fill(card, "label", label);
    fill(card, "count", text("history_count", { n: entries.length }));
    card.querySelector("[data-several]").hidden = entries.length < 2;
    card.querySelector("[data-models]").hidden = !hasSeveralModels;
    card.querySelector("ol")?.append(...entries.map((entry) => this.#tile(entry)));
    const newest2 = entries[entries.length - 1];
    const resume = (
      /** @type {HTMLElement} */
      card.querySelector('[data-action="resume"]')
    );
    resume.dataset.id = newest2.id;
    resume.hidden = !canResume(newest2);
    return card;
  }
  /**
   * @param {Entry} entry
   * @returns {HTMLElement}
   */
  #tile(entry) {
    const tile = (
      /** @type {HTMLElement} */
      template("history-entry").firstElementChild
    );
    const date = dateText(entry.createdAt);
    const { verdict, probability, tone } = summaryOf(entry);
    for (const button2 of tile.querySelectorAll("button")) button2.dataset.id = entry.id;
    tile.classList.add(tone);
    fill(tile, "date", date);
    fill(tile, "verdict", verdict);
    fill(tile, "probability", probability);
    tile.querySelector('[data-action="delete"]').ariaLabel = text("history_delete", { label: entry.label, date });
    const [photo] = photosOf({ ...entry, photos: entry.photos.slice(-1) });
    this.photos.push(photo);
    showPhoto(
      /** @type {HTMLImageElement} */
      tile.querySelector("img"),
      photo
    );
    return tile;
  }
  /** @param {Entry} entry */
  async #show(entry) {
    this.#forget();
    const photos = photosOf(entry);
    const rendered = await this.#rendered(entry);
    this.open = entry;
    const report = (
      /** @type {HTMLTemplateElement | null} */
      rendered.querySelector("template[data-report]")
    );
    this.shown = { ...entry, photos, report };
    for (const part2 of rendered.querySelectorAll("[data-leave-out], [data-crop]")) part2.remove();
    const form = (
      /** @type {HTMLElement | null} */
      rendered.querySelector("[data-feedback]")
    );
    if (form) connectLaterFeedback(form, { task: entry.kind, answer: entry.answer, requestId: entry.requestId, photo: entry.kind === "lesion" ? photos[0] : void 0 });
    const frame2 = (
      /** @type {HTMLElement | null} */
      rendered.querySelector('[data-part="photo"]')
    );
    const place2 = this.#find(`[data-entry="${entry.kind}"]`);
    for (const kind of ["lesion", "progress"]) this.#find(`[data-entry="${kind}"]`).hidden = kind !== entry.kind;
    fill(this.root, "entry-title", text("history_title", { label: isolated2(entry.label), date: dateText(entry.createdAt, { dateStyle: "long", timeStyle: "short" }) }));
    if (frame2) {
      const [beside, answer] = ["photo", "answer"].map((name) => (
        /** @type {HTMLElement} */
        place2.querySelector(`[data-slot="${name}"]`)
      ));
      answer.replaceChildren(rendered);
      beside.hidden = placeFrame(frame2, answer, beside);
      fillFrame(frame2, photos[0]);
    } else {
      place2.replaceChildren(rendered);
      fillPhotos(place2, (index) => photos[index]);
    }
    this.#find('[data-view="entry"] [data-action="resume"]').hidden = !canResume(entry);
    this.#view("entry");
  }
  /**
   * Return the answer in the language of the page; without the server as it was rendered before.
   * @param {Entry} entry
   * @returns {Promise<DocumentFragment>}
   */
  async #rendered(entry) {
    try {
      const rendered = await renderFragment(entry.kind, entry.answer);
      const isFirst = entry.html === void 0;
      entry.html = htmlOf(rendered);
      if (isFirst) await putEntries([entry]).catch(() => {
      });
      return rendered;
    } catch (error) {
      if (entry.html === void 0) throw error;
      return fragment(entry.html);
    }
  }
  /** @param {Entry} entry */
  async #delete(entry) {
    const isSure = await openDialog(this.root, "delete-dialog", {
      prepare: (form) => fill(form, "what", text("history_title", { label: isolated2(entry.label), date: dateText(entry.createdAt) }))
    });
    if (!isSure) return;
    await deleteEntry(entry.id);
    announce(text("history_deleted"));
    this.#close();
  }
  async #deleteAll() {
    const isSure = await openDialog(this.root, "delete-dialog", {
      prepare: (form) => fill(form, "what", text("history_all", { n: this.entries.length }))
    });
    if (!isSure) return;
    await deleteAll();
    announce(text("history_deleted"));
    this.#close();
  }
  /** @param {Entry} entry */
  async #rename(entry) {
    const label = await askLabel(this.root, entry.kind, entry.label, (chosen) => putEntries([{ ...entry, label: chosen }]));
    if (label !== null) await this.#show({ ...entry, label });
  }
  #close() {
    this.#forget();
    this.#view("list");
  }
  #forget() {
    this.shown?.photos.forEach(release);
    this.shown = this.open = null;
  }
  /** @param {'list' | 'entry'} name */
  #view(name) {
    for (const one of ["list", "entry"]) this.#find(`[data-view="${one}"]`).hidden = one !== name;
    focusHeading(name === "list" ? this.root : this.#find('[data-view="entry"]'));
  }
  /**
   * @param {string} selector
   * @returns {HTMLElement}
   */
  #find(selector) {
    return (
      /** @type {HTMLElement} */
      this.root.querySelector(selector)
    );
  }
};

// ui/static/install.js
async function registerWorker() {
  if (!("serviceWorker" in navigator)) return;
  await afterLoad;
  try {
    await navigator.serviceWorker.register("sw.js");
    const { active } = await navigator.serviceWorker.ready;
    active?.postMessage({ search: location.search });
  } catch (error) {
    console.info(error);
  }
}

// ui/static/languages.js
var KEY = "language";
function openKeptLanguage() {
  const kept = readKept();
  if (new URLSearchParams(location.search).has("lang") || !kept || kept === document.documentElement.lang) return false;
  location.replace(addressIn(kept));
  return true;
}
function connectLanguages(root) {
  const select = (
    /** @type {HTMLSelectElement} */
    root.querySelector("#language")
  );
  select.addEventListener("change", async () => {
    const chosen = select.value;
    select.value = document.documentElement.lang;
    if (!await checkConnection(root)) return;
    keep(chosen);
    location.assign(addressIn(chosen));
  });
}
function addressIn(language2) {
  const address = new URL(location.href);
  address.searchParams.set("lang", language2);
  return address.href;
}
function readKept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
function keep(language2) {
  try {
    localStorage.setItem(KEY, language2);
  } catch {
  }
}

// ui/static/drag_order.js
var EDGE_PX = 70;
var SCROLL_PX_PER_FRAME = 12;
function connectDragOrder(list2, { handle, canMove, onMove }) {
  let drag = null;
  const follow = () => {
    if (!drag) return;
    const { row, rows, middles, from } = drag;
    const down = drag.clientY + scrollY - drag.startY;
    const middle = middles[from] + down;
    drag.to = middles.filter((other, index) => index < from ? other < middle : index > from && other <= middle).length;
    const step = rows.length > 1 ? Math.abs(middles[1] - middles[0]) : 0;
    rows.forEach((other, index) => {
      const isPassed = drag && (index < from ? index >= drag.to : index <= drag.to);
      other.style.translate = other === row ? `0 ${down}px` : isPassed ? `0 ${index < from ? step : -step}px` : "";
    });
  };
  const scroll = () => {
    if (!drag) return;
    const above = EDGE_PX - drag.clientY;
    const below = drag.clientY - (innerHeight - EDGE_PX);
    if (above > 0) scrollBy(0, -SCROLL_PX_PER_FRAME);
    else if (below > 0) scrollBy(0, SCROLL_PX_PER_FRAME);
    if (above > 0 || below > 0) follow();
    requestAnimationFrame(scroll);
  };
  const end = (isDropped) => {
    if (!drag) return;
    const { row, rows, from, to } = drag;
    drag = null;
    list2.classList.remove("dragging");
    row.classList.remove("dragged");
    for (const other of rows) other.style.translate = "";
    if (isDropped && from !== to) onMove(from, to);
  };
  list2.addEventListener("pointerdown", (event) => {
    const target2 = (
      /** @type {Element} */
      event.target
    );
    const held = target2.closest(handle);
    const row = (
      /** @type {HTMLElement | null} */
      held?.closest("li") ?? null
    );
    if (drag || event.button !== 0 || !held || !row || !canMove(row)) return;
    if (event.pointerType === "touch" && getComputedStyle(held).touchAction !== "none") return;
    event.preventDefault();
    list2.setPointerCapture(event.pointerId);
    const rows = (
      /** @type {HTMLElement[]} */
      [...list2.children].filter(canMove)
    );
    const middles = rows.map((one) => one.getBoundingClientRect()).map(({ top, bottom }) => (top + bottom) / 2 + scrollY);
    const from = rows.indexOf(row);
    drag = { pointerId: event.pointerId, row, rows, middles, startY: event.clientY + scrollY, clientY: event.clientY, from, to: from };
    list2.classList.add("dragging");
    row.classList.add("dragged");
    requestAnimationFrame(scroll);
  });
  list2.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drag?.pointerId) return;
    drag.clientY = event.clientY;
    follow();
  });
  list2.addEventListener("pointerup", (event) => {
    if (event.pointerId === drag?.pointerId) end(true);
  });
  list2.addEventListener("pointercancel", (event) => {
    if (event.pointerId === drag?.pointerId) end(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") end(false);
  });
}

// ui/static/series.js
var MULTIPART_BYTES = 300;
var newItem = (id2) => ({ id: id2, takenAt: null, isKnown: false, isEntered: false, isLeftOut: false });
function withPhotos(items, ids) {
  const there = new Set(ids);
  const kept = items.filter(({ id: id2 }) => there.has(id2));
  const known = new Set(kept.map(({ id: id2 }) => id2));
  return [...kept, ...ids.filter((id2) => !known.has(id2)).map(newItem)];
}
var keptItems = (ids, { photos, order }) => photos.map(({ index, taken_at }) => ({
  ...newItem(ids[index]),
  takenAt: taken_at && localTime(taken_at),
  isKnown: true,
  isEntered: order !== "exif" && taken_at !== null
}));
function findProblem(photos, limits) {
  const all = photos.length;
  const unreadable = photos.filter(({ isUnreadable }) => isUnreadable);
  const tooLarge = photos.filter(({ bytes }) => bytes > limits.maxPhotoBytes);
  const ids = (some) => some.map(({ id: id2 }) => id2);
  if (all === 0) return { code: "too_few", ids: [], count: 0 };
  if (unreadable.length) return { code: "unreadable", ids: ids(unreadable), count: unreadable.length };
  if (tooLarge.length) return { code: "too_large", ids: ids(tooLarge), count: tooLarge.length };
  if (all < limits.minPhotos) return { code: "too_few", ids: [], count: all };
  if (all > limits.maxPhotos) return { code: "too_many", ids: [], count: all - limits.maxPhotos };
  const total = photos.reduce((sum, { bytes }) => sum + bytes + MULTIPART_BYTES, 0);
  return total > limits.maxRequestBytes ? { code: "total_too_large", ids: [], count: all } : null;
}
function nextRequest(items, mode) {
  const used = items.filter(({ isLeftOut }) => !isLeftOut);
  if (mode === "order") return { items: used, times: used.map((_, index) => stepTime(index)) };
  if (!areDated(used) || !used.some(({ isEntered }) => isEntered)) return { items: used, times: [] };
  const sorted = sortByTime(used);
  return { items: sorted, times: sorted.map(({ takenAt }) => (
    /** @type {string} */
    takenAt
  )) };
}
function withRecordedTimes(items, request2, answer) {
  const recorded = new Map(
    request2.times.length ? [] : answer.photos.map(({ index, taken_at }) => [request2.items[index].id, taken_at])
  );
  const known = items.map((item) => {
    const taken = recorded.get(item.id);
    if (taken === void 0) return item;
    return { ...item, isKnown: true, takenAt: item.isEntered ? item.takenAt : taken && localTime(taken) };
  });
  if (answer.order === "upload" || request2.times.length) return known;
  const rank = new Map(answer.photos.map(({ index }, position) => [request2.items[index].id, position]));
  const last = items.length;
  return [...known].sort((a, b) => (rank.get(a.id) ?? last) - (rank.get(b.id) ?? last));
}
function stepAfter(items, request2) {
  if (request2.times.length) return "show";
  const used = items.filter(({ isLeftOut }) => !isLeftOut);
  if (!areDated(used)) return "ask";
  return used.some(({ isEntered }) => isEntered) ? "again" : "show";
}
function withChosenOrder(answer, request2) {
  const photos = answer.photos.map((photo) => ({ ...photo, taken_at: request2.items[photo.index].takenAt }));
  return { ...answer, order: "upload", photos };
}
var areDated = (items) => items.every(({ takenAt }) => takenAt !== null);
var sameIds = (some, others) => some.length === others.length && some.every(({ id: id2 }, index) => id2 === others[index].id);
var sortByTime = (items) => [...items].sort((a, b) => compareText(a.takenAt ?? "", b.takenAt ?? ""));
function isAgainstDates(items) {
  const times = items.map(({ takenAt }) => takenAt).filter((time) => time !== null);
  return times.some((time, index) => index > 0 && time < times[index - 1]);
}
function move(items, from, to) {
  if (to < 0 || to >= items.length) return items;
  const moved = [...items];
  moved.splice(to, 0, ...moved.splice(from, 1));
  return moved;
}
function withDay(item, day) {
  if (day === dayOf(item)) return item;
  return { ...item, takenAt: day ? `${day}T12:00:00` : null, isEntered: true };
}
var dayOf = ({ takenAt }) => (takenAt ?? "").slice(0, 10);
function photoNumber(message) {
  const found = /^[^\d:]{1,30}(\d+)\s*:/.exec(message);
  return found ? Number(found[1]) : null;
}
var localTime = (time) => time.slice(0, 19);
var stepTime = (index) => localTime(new Date(Date.UTC(2e3, 0, 1, 0, index)).toISOString());
var compareText = (a, b) => a < b ? -1 : Number(a > b);

// ui/static/arrange.js
var ArrangeForm = class {
  /**
   * @param {HTMLElement} root `[data-view="arrange"]`
   * @param {{photoOf: (id: number) => Photo, onDates: (pressed: HTMLButtonElement) => void, onOrder: (pressed: HTMLButtonElement) => void, onBack: () => void}} options
   *   onDates, onOrder: the person wants a comparison by the dates, or in the order of the list.
   */
  constructor(root, { photoOf, onDates, onOrder, onBack }) {
    this.root = root;
    this.photoOf = photoOf;
    this.items = [];
    this.rows = /* @__PURE__ */ new Map();
    this.list = /** @type {HTMLElement} */
    root.querySelector(".arrange-list");
    this.keepOrder = /** @type {HTMLButtonElement} */
    root.querySelector('[data-action="keep-order"]');
    root.querySelector("form")?.addEventListener("submit", (event) => {
      event.preventDefault();
      onDates(
        /** @type {HTMLButtonElement} */
        root.querySelector('[type="submit"]')
      );
    });
    this.keepOrder.addEventListener("click", () => onOrder(this.keepOrder));
    root.querySelector('[data-action="back"]')?.addEventListener("click", onBack);
    this.list.addEventListener("click", (event) => this.#onClick(event));
    this.list.addEventListener("change", (event) => this.#onChange(event));
    connectDragOrder(this.list, {
      handle: "[data-drag]",
      canMove: (row) => !row.classList.contains("left-out"),
      onMove: (from, to) => this.#move(from, to)
    });
  }
  /**
   * Fill the form.
   * @param {Item[]} items
   */
  fill(items) {
    this.rows.clear();
    this.list.replaceChildren();
    this.#set(items);
  }
  /**
   * Show the items; those that are left out come last.
   * @param {Item[]} items
   */
  #set(items) {
    const used = items.filter(({ isLeftOut }) => !isLeftOut);
    this.items = [...used, ...items.filter(({ isLeftOut }) => isLeftOut)];
    const rows = this.items.map((item, index) => this.#updated(item, index, used.length));
    if (rows.some((row, index) => row !== this.list.children[index])) this.list.replaceChildren(...rows);
    const n = used.filter(({ takenAt }) => takenAt === null).length;
    const isWrong = isAgainstDates(used);
    fill(this.root, "arrange-text", n ? text("arrange_missing", { n, total: used.length }) : text("arrange_known"));
    this.root.querySelector("[data-contradiction]").hidden = !isWrong;
    this.keepOrder.hidden = n === 0 && !isWrong;
  }
  /**
   * @param {number} id
   * @returns {HTMLElement}
   */
  #row(id2) {
    const known = this.rows.get(id2);
    if (known) return known;
    const row = (
      /** @type {HTMLElement} */
      template("arrange-photo").firstElementChild
    );
    row.dataset.id = String(id2);
    row.querySelector('[type="date"]').max = today();
    this.rows.set(id2, row);
    const image = (
      /** @type {HTMLImageElement} */
      row.querySelector("img")
    );
    showPhoto(image, this.photoOf(id2)).then((size) => {
      image.hidden = !size;
    });
    return row;
  }
  /**
   * @param {Item} item
   * @param {number} index
   * @param {number} numUsed
   * @returns {HTMLElement} its row
   */
  #updated(item, index, numUsed) {
    const row = this.#row(item.id);
    const number = item.isLeftOut ? this.photoOf(item.id).name : index + 1;
    const date = (
      /** @type {HTMLInputElement} */
      row.querySelector('[type="date"]')
    );
    const leaveOut = (
      /** @type {HTMLInputElement} */
      row.querySelector("[data-leave-out]")
    );
    fill(row, "name", item.isLeftOut ? String(number) : text("photo_number", { number }));
    fill(row, "state", item.isLeftOut ? text("left_out") : item.takenAt === null ? text("date_missing") : "");
    row.classList.toggle("left-out", item.isLeftOut);
    date.hidden = item.isLeftOut;
    date.required = !item.isLeftOut;
    date.ariaLabel = text("date_of_photo", { number });
    if (date.value !== dayOf(item)) date.value = dayOf(item);
    leaveOut.checked = item.isLeftOut;
    leaveOut.ariaLabel = text("leave_out_photo", { number });
    for (
      const [step, label, isPossible] of
      /** @type {[string, string, boolean][]} */
      [
        ["-1", "move_earlier", index > 0],
        ["1", "move_later", index < numUsed - 1]
      ]
    ) {
      const button2 = (
        /** @type {HTMLElement} */
        row.querySelector(`[data-move="${step}"]`)
      );
      button2.ariaLabel = text(label, { number });
      button2.hidden = item.isLeftOut;
      button2.setAttribute("aria-disabled", String(!isPossible));
    }
    row.querySelector(".drag-handle").hidden = item.isLeftOut || numUsed < 2;
    return row;
  }
  /** @param {Event} event */
  #onClick(event) {
    const button2 = (
      /** @type {Element} */
      event.target.closest("[data-move]")
    );
    if (!(button2 instanceof HTMLElement) || button2.ariaDisabled === "true") return;
    const from = this.#indexOf(button2);
    this.#move(from, from + Number(button2.dataset.move));
    button2.focus();
  }
  /**
   * @param {number} from
   * @param {number} to
   */
  #move(from, to) {
    this.#set(move(this.items, from, to));
    announce(text("moved", { number: to + 1, total: this.items.filter(({ isLeftOut }) => !isLeftOut).length }));
  }
  /** @param {Event} event */
  #onChange(event) {
    const input = (
      /** @type {HTMLInputElement} */
      event.target
    );
    const at = this.#indexOf(input);
    if (input.type === "date" && input.validity.badInput) return;
    const changed2 = (item) => input.type === "date" ? withDay(item, input.value) : { ...item, isLeftOut: input.checked };
    this.#set(this.items.map((item, index) => index === at ? changed2(item) : item));
    if (document.activeElement !== input) input.focus({ preventScroll: true });
  }
  /**
   * @param {Element} element
   * @returns {number}
   */
  #indexOf(element2) {
    const id2 = Number(
      /** @type {HTMLElement} */
      element2.closest("li").dataset.id
    );
    return this.items.findIndex((item) => item.id === id2);
  }
};
function today() {
  const now = /* @__PURE__ */ new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 6e4).toISOString().slice(0, 10);
}

// ui/static/photo_dates.js
var START = /^(?:\xff\xd8\xff|.PNG\r\n|RIFF[^]{4}WEBP)/;
var METADATA = /Exif\0|eXIf|EXIF|XMP |ns\.adobe\.com|com\.adobe\.xmp|adobe:ns|Raw profile/;
async function hasNoDate(file) {
  try {
    const content = new TextDecoder("latin1").decode(await file.arrayBuffer());
    return START.test(content) && !METADATA.test(content);
  } catch {
    return false;
  }
}
var UndatedPhotos = class {
  /**
   * @param {(id: number) => Photo} photoOf
   * @param {() => void} onFound called after each photo without a date
   */
  constructor(photoOf, onFound) {
    this.photoOf = photoOf;
    this.onFound = onFound;
    this.known = /* @__PURE__ */ new Map();
    this.items = [];
    this.isLooking = false;
  }
  /**
   * Return whether photos certainly record no date and have none that a person entered.
   * @param {Item[]} items
   * @returns {boolean}
   */
  areAll(items) {
    return items.every(({ id: id2, takenAt }) => takenAt === null && this.known.get(id2));
  }
  /**
   * Look at photos that are new.
   * @param {Item[]} items
   */
  async update(items) {
    this.items = items;
    for (const id2 of this.known.keys()) if (!items.some((item) => item.id === id2)) this.known.delete(id2);
    if (this.isLooking) return;
    this.isLooking = true;
    for (let next = this.#nextId(); next !== void 0; next = this.#nextId()) {
      this.known.set(next, false);
      const isUndated = await hasNoDate(this.photoOf(next).file);
      if (!isUndated || !this.known.has(next)) continue;
      this.known.set(next, true);
      this.onFound();
    }
    this.isLooking = false;
  }
  /** @returns {number | undefined} */
  #nextId() {
    return this.items.find(({ id: id2 }) => !this.known.has(id2))?.id;
  }
};

// ui/static/series_actions.js
function showActions(view, { items, used }, { areUndated }) {
  const show2 = (selector, isShown) => {
    view.querySelector(selector).hidden = !isShown;
  };
  const n = used.length;
  fill(view, "undated", areUndated ? text("arrange_missing", { n, total: n }) : "");
  show2('[data-slot="undated"]', areUndated);
  show2("#progress-compare", !areUndated);
  show2('[data-action="compare-order"]', areUndated);
  show2('[data-action="arrange"]', areUndated || items.some(({ isKnown }) => isKnown));
  show2('[data-action="remove-all"]', items.length > 0);
}

// ui/static/series_hints.js
var SeriesHints = class {
  /**
   * @param {HTMLElement} list
   * @param {(id: number) => Photo} photoOf
   */
  constructor(list2, photoOf) {
    this.list = list2;
    this.photoOf = photoOf;
    this.hints = /* @__PURE__ */ new Map();
    this.items = [];
    this.isLooking = false;
  }
  /**
   * Show the hints of the photos that are used.
   * @param {Item[]} items
   * @param {boolean} isExample such photos get no hint
   */
  update(items, isExample) {
    this.items = isExample ? [] : items;
    for (const id2 of this.hints.keys()) if (!items.some((item) => item.id === id2)) this.hints.delete(id2);
    this.#show();
    this.#look();
  }
  async #look() {
    if (this.isLooking) return;
    this.isLooking = true;
    for (let next = this.#nextId(); next !== void 0; next = this.#nextId()) {
      this.hints.set(next, null);
      const hint = await lookAtFile(this.photoOf(next).file, { isLesion: false });
      if (this.hints.has(next)) this.hints.set(next, hint);
      this.#show();
    }
    this.isLooking = false;
  }
  /** @returns {number | undefined} */
  #nextId() {
    return this.items.find(({ id: id2 }) => !this.hints.has(id2))?.id;
  }
  /** One line for each kind, with the numbers of the tiles. */
  #show() {
    const numbers = /* @__PURE__ */ new Map();
    this.items.filter(({ isLeftOut }) => !isLeftOut).forEach(({ id: id2 }, index) => {
      const hint = this.hints.get(id2);
      if (hint) numbers.set(hint, [...numbers.get(hint) ?? [], index + 1]);
    });
    const lines = [...numbers].map(([hint, of]) => {
      const line = document.createElement("li");
      const photos = of.map((number) => text("photo_number", { number })).join(", ");
      line.append(Object.assign(document.createElement("b"), { textContent: `${photos}: ` }), text(`look_${hint}`));
      return line;
    });
    this.list.replaceChildren(...lines);
    this.list.hidden = !lines.length;
  }
};

// ui/static/series_photos.js
var SeriesPhotos = class {
  constructor() {
    this.photos = /* @__PURE__ */ new Map();
    this.items = [];
    this.faults = /* @__PURE__ */ new Map();
    this.isExample = false;
    this.label = "";
  }
  /** Items that are not left out. */
  get used() {
    return this.items.filter(({ isLeftOut }) => !isLeftOut);
  }
  /**
   * @param {number} id
   * @returns {Photo}
   */
  photoOf = (id2) => (
    /** @type {Photo} */
    this.photos.get(id2)
  );
  /**
   * Add photos at the end; own photos take the place of an example, and an example that of all photos.
   * @param {Photo[]} photos
   * @param {{isExample?: boolean}} [options]
   */
  add(photos, { isExample = false } = {}) {
    if (this.isExample || isExample) this.removeAll();
    this.isExample = isExample;
    photos.forEach((photo) => this.photos.set(photo.id, photo));
    this.#update();
  }
  /**
   * Let the photos of a kept answer, with its dates and order, take the place of all photos.
   * @param {Photo[]} photos in the order of the request
   * @param {{answer: any, label: string}} entry of the history
   */
  resume(photos, { answer, label }) {
    this.removeAll();
    photos.forEach((photo) => this.photos.set(photo.id, photo));
    this.items = keptItems(photos.map(({ id: id2 }) => id2), answer);
    this.label = label;
  }
  /** @param {number} id */
  remove(id2) {
    release(this.photoOf(id2));
    this.photos.delete(id2);
    this.faults.delete(id2);
    this.#update();
  }
  removeAll() {
    [...this.photos.keys()].forEach((id2) => this.remove(id2));
    this.isExample = false;
  }
  #update() {
    this.items = withPhotos(this.items, [...this.photos.keys()]);
    if (!this.items.length) this.label = "";
  }
  /**
   * @param {number[]} ids
   * @param {boolean} isLeftOut
   */
  setLeftOut(ids, isLeftOut) {
    this.items = this.items.map((item) => ids.includes(item.id) ? { ...item, isLeftOut } : item);
  }
  /**
   * Return why the API would reject the photos, or null.
   * @param {Limits} limits
   * @returns {Problem | null}
   */
  problem(limits) {
    return findProblem(
      this.used.map(({ id: id2 }) => ({ id: id2, bytes: this.photoOf(id2).file.size, isUnreadable: this.faults.has(id2) })),
      limits
    );
  }
  /** Size of all used photos in bytes. */
  get bytes() {
    return this.used.reduce((sum, { id: id2 }) => sum + this.photoOf(id2).file.size, 0);
  }
};

// ui/static/series_problem.js
var CODES = { too_few: "too_few_photos", too_many: "too_many_photos", unreadable: "unreadable_image", too_large: "too_large", total_too_large: "too_large" };
function problemError({ code, count: n, ids }, series2, limits) {
  const used = series2.used.map(({ id: id2 }) => id2);
  const values = {
    n,
    least: limits.minPhotos,
    most: code === "total_too_large" ? megabytes(limits.maxRequestBytes) : limits.maxPhotos,
    mb: megabytes(limits.maxPhotoBytes),
    found: megabytes(series2.bytes),
    numbers: ids.map((id2) => text("photo_number", { number: used.indexOf(id2) + 1 })).join(", ")
  };
  return new ApiError(CODES[code], text(code === "too_few" && n === 0 ? "series_empty" : `series_${code}`, values));
}
var OF_ONE_PHOTO = /* @__PURE__ */ new Set(["unreadable_image", "unsupported_type", "too_large", "too_many_pixels"]);
function markRejected(error, sent, series2) {
  const rejected = rejectedBy(error).filter(({ index }) => sent?.items[index]);
  if (!(error instanceof ApiError) || !sent || !rejected.length) return { error, ids: [] };
  for (const { index, code } of rejected) {
    series2.faults.set(sent.items[index].id, text(code.startsWith("too_") ? "tile_too_large" : "tile_unreadable"));
  }
  const used = series2.used.map(({ id: id2 }) => id2);
  const ids = used.filter((id2) => series2.faults.has(id2));
  const numbers = rejected.map(({ index }) => used.indexOf(sent.items[index].id) + 1).sort((a, b) => a - b);
  const names = numbers.map((number) => text("photo_number", { number }));
  const message = rejected.length === 1 ? `${names[0]}: ${rejected[0].message}` : text("series_rejected", { n: names.length, numbers: names.join(", ") });
  return { error: new ApiError(error.code, message, error), ids };
}
function rejectedBy(error) {
  if (!(error instanceof ApiError) || !OF_ONE_PHOTO.has(error.code)) return [];
  if (error.photos.length) return error.photos;
  const number = photoNumber(error.message);
  return number ? [{ index: number - 1, code: error.code, message: error.message.replace(/^[^:]*:\s*/, "") }] : [];
}
var megabytes = (bytes) => Math.round(bytes / 1e6);

// ui/static/series_request.js
var SeriesRequest = class {
  /** @type {Request | null} Sent last. */
  sent = null;
  /** Request ID of the answer to `sent`. */
  requestId = "unknown";
  /** Path of the request below /v1/, with its query. */
  path = "progress";
  /**
   * @param {HTMLElement} status shows the progress of the upload
   * @param {{fileOf: (id: number) => File, modelQuery: () => string, onCancel: () => void}} options
   */
  constructor(status, { fileOf, modelQuery, onCancel }) {
    this.status = status;
    this.fileOf = fileOf;
    this.modelQuery = modelQuery;
    this.onCancel = onCancel;
  }
  /**
   * @param {Request} request
   * @param {AbortSignal} signal
   * @returns {Promise<any>} answer of the API
   * @throws {import('./http.js').ApiError}
   */
  async post(request2, signal) {
    this.sent = request2;
    this.path = ["progress", this.modelQuery()].filter(Boolean).join("?");
    const card = showWorking(this.status, { title: text("comparing_title"), onCancel: this.onCancel });
    const form = photoForm("files", request2.items.map(({ id: id2 }) => this.fileOf(id2)), { taken_at: request2.times });
    const answer = await postPhotos(this.path, form, { onProgress: card.progress, signal });
    this.requestId = requestIdOf(answer);
    return answer;
  }
};

// ui/static/series_tiles.js
var SeriesTiles = class {
  /**
   * @param {HTMLElement} list `.series-tiles`
   * @param {{photoOf: (id: number) => Photo, onRemove: (id: number) => void, onUse: (id: number) => void, onUnreadable: (id: number) => void}} options
   *   onUse: a photo that was left out is used again. onUnreadable: neither browser nor server can decode the file.
   */
  constructor(list2, { photoOf, onRemove, onUse, onUnreadable }) {
    this.list = list2;
    this.photoOf = photoOf;
    this.onUnreadable = onUnreadable;
    this.tiles = /* @__PURE__ */ new Map();
    list2.addEventListener("click", (event) => {
      const button2 = (
        /** @type {Element} */
        event.target.closest("button")
      );
      if (!button2) return;
      const id2 = Number(
        /** @type {HTMLElement} */
        button2.closest("li").dataset.id
      );
      if ("use" in button2.dataset) onUse(id2);
      else onRemove(id2);
    });
  }
  /**
   * Show the photos in their order.
   * @param {Item[]} items
   * @param {Map<number, string>} faults what is wrong with a photo, by its id
   */
  update(items, faults) {
    for (const id2 of this.tiles.keys()) if (!items.some((item) => item.id === id2)) this.tiles.delete(id2);
    let number = 0;
    const tiles = items.map((item) => {
      const tile = this.#tile(item.id);
      if (!item.isLeftOut) number += 1;
      this.#update(tile, item, number, faults.get(item.id) ?? "");
      return tile;
    });
    if (tiles.length !== this.list.childElementCount || tiles.some((tile, index) => tile !== this.list.children[index])) {
      this.list.replaceChildren(...tiles);
    }
    this.list.hidden = tiles.length === 0;
  }
  /**
   * Focus the Remove button of a tile, or that of the last one.
   * @param {number} index
   */
  focus(index) {
    const tile = this.list.children[Math.min(index, this.list.childElementCount - 1)];
    tile?.querySelector("[data-remove]")?.focus();
  }
  /**
   * @param {number} id
   * @returns {HTMLElement}
   */
  #tile(id2) {
    const known = this.tiles.get(id2);
    if (known) return known;
    const tile = (
      /** @type {HTMLElement} */
      template("series-tile").firstElementChild
    );
    tile.dataset.id = String(id2);
    tile.classList.add("loading");
    this.tiles.set(id2, tile);
    const image = (
      /** @type {HTMLImageElement} */
      tile.querySelector("img")
    );
    showPhoto(image, this.photoOf(id2)).then((size) => {
      tile.classList.remove("loading");
      tile.classList.toggle("not-shown", !size);
      image.hidden = !size;
      if (size === null) this.onUnreadable(id2);
      else if (size === void 0 && this.tiles.has(id2)) this.#note(tile, text("tile_not_shown"));
    });
    return tile;
  }
  /**
   * @param {HTMLElement} tile
   * @param {Item} item
   * @param {number} number
   * @param {string} fault
   */
  #update(tile, item, number, fault2) {
    const called = item.isLeftOut ? this.photoOf(item.id).name : number;
    tile.querySelector("img").alt = text("photo_number", { number: called });
    tile.classList.toggle("left-out", item.isLeftOut);
    tile.classList.toggle("faulty", fault2 !== "");
    if (item.isLeftOut) this.#note(tile, [text("left_out"), fault2].filter(Boolean).join(". "));
    else if (fault2 || !tile.classList.contains("not-shown")) this.#note(tile, fault2);
    const use = (
      /** @type {HTMLElement} */
      tile.querySelector("[data-use]")
    );
    use.hidden = !item.isLeftOut || fault2 !== "";
    use.ariaLabel = text("use_photo", { number: called });
    tile.querySelector("[data-remove]").ariaLabel = text("remove_photo", { number: called });
  }
  /**
   * @param {HTMLElement} tile
   * @param {string} note
   */
  #note(tile, note) {
    fill(tile, "note", note);
    tile.querySelector('[data-slot="note"]').hidden = !note;
  }
};

// ui/static/progress.js
var series = new SeriesPhotos();
var isKept = false;
var hasUnsaved2 = () => series.items.length > 0 && !series.isExample && !isKept;
var startProgress = (root) => {
  tab = new ProgressTab(root);
};
var tab = null;
var resumeSeries = (entry) => tab?.resume(entry);
var ProgressTab = class {
  /** @type {AbortController | null} */
  running = null;
  /** @type {Request | null} Of the answer that is shown. */
  shown = null;
  /** @type {{answer: any, request: Request} | null} Of photos without all dates. */
  undated = null;
  /** @type {Confirmed} How the photos were compared last; leaving some out repeats it. */
  last = { mode: "dates" };
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.status = this.#find("#progress-status");
    this.answer = this.#find("#progress-answer");
    this.request = new SeriesRequest(this.status, {
      fileOf: (id2) => series.photoOf(id2).file,
      modelQuery: connectModelChoice(this.#find("[data-model-choice]")),
      onCancel: () => this.running?.abort()
    });
    this.input = this.#find(".photo-input");
    this.views = ["photos", "arrange", "answer"].map((name) => this.#view(name));
    const settings2 = this.#view("photos").dataset;
    this.limits = {
      minPhotos: Number(settings2.minPhotos),
      maxPhotos: Number(settings2.maxPhotos),
      maxPhotoBytes: Number(settings2.maxBytes),
      maxRequestBytes: Number(settings2.maxRequestBytes)
    };
    this.tiles = new SeriesTiles(this.#find(".series-tiles"), {
      photoOf: series.photoOf,
      onRemove: (id2) => this.#remove(id2),
      onUse: (id2) => this.#change(() => series.setLeftOut([id2], false)),
      onUnreadable: (id2) => {
        if (series.photos.has(id2)) this.#change(() => series.faults.set(id2, text("tile_unreadable")));
      }
    });
    this.undatedPhotos = new UndatedPhotos(series.photoOf, () => this.#showActions());
    this.hints = new SeriesHints(this.#find(".series-hints"), series.photoOf);
    this.form = new ArrangeForm(this.#view("arrange"), {
      photoOf: series.photoOf,
      onDates: (button2) => this.#compareArranged("dates", button2),
      onOrder: (button2) => this.#compareArranged("order", button2),
      onBack: () => this.#leaveForm()
    });
    connectPhotoInput(this.input, {
      onPhotos: (photos) => this.#add(photos),
      dropTarget: root,
      count: () => series.isExample ? 0 : series.used.length
    });
    root.addEventListener("click", (event) => this.#onClick(event));
  }
  /** @param {Event} event */
  #onClick(event) {
    const pressed = (
      /** @type {Element} */
      event.target.closest("button")
    );
    if (!pressed || this.running) return;
    const { action, example, leaveOut } = pressed.dataset;
    if (pressed.id === "progress-compare") this.#compare({ mode: "dates" }, pressed);
    else if (action === "compare-order") this.#compare({ mode: "dates", isOrderConfirmed: true }, pressed);
    else if (example !== void 0) this.#compareExample(pressed);
    else if (leaveOut !== void 0) this.#compareWithout(this.#idsAt(leaveOut));
    else if (action === "change") this.#show("photos");
    else if (action === "add") this.#chooseMore();
    else if (action === "arrange") this.#arrange();
    else if (action === "remove-all") this.#removeAll();
  }
  /** @param {Photo[]} photos */
  #add(photos) {
    this.#change(() => series.add(photos));
    this.#show("photos", { focus: false });
    announce(text("photos_now", { n: series.items.length }));
  }
  /** @param {number} id */
  #remove(id2) {
    const index = series.items.findIndex((item) => item.id === id2);
    this.#change(() => series.remove(id2));
    if (series.items.length) this.tiles.focus(index);
    else this.#fileChooser().focus();
    announce(text("photos_now", { n: series.items.length }));
  }
  #removeAll() {
    this.#change(() => series.removeAll());
    this.shown = null;
    this.#fileChooser().focus();
    announce(text("photos_now", { n: 0 }));
  }
  /** @param {import('./history_store.js').Entry} entry */
  async resume(entry) {
    if (hasUnsaved2() && !await openDialog(this.root, "replace-dialog")) return;
    this.running?.abort();
    this.#change(() => series.resume(photosOf(entry), entry));
    isKept = true;
    this.shown = null;
    this.#chooseMore();
  }
  #chooseMore() {
    this.#show("photos");
    this.#fileChooser().click();
  }
  #arrange() {
    this.form.fill(series.items);
    this.#show("arrange");
  }
  #leaveForm() {
    this.#change(() => {
      series.items = this.form.items;
    });
    this.#show(this.shown ? "answer" : "photos");
  }
  /**
   * Change the photos and draw them again; an error about them is out of date.
   * @param {() => void} change
   */
  #change(change) {
    change();
    isKept = false;
    this.undated = null;
    this.last = { mode: "dates" };
    if (!this.running) clear(this.status);
    this.#redraw();
  }
  #redraw() {
    const isEmpty = series.items.length === 0;
    this.tiles.update(series.items, series.faults);
    this.hints.update(series.items, series.isExample);
    this.input.classList.toggle("has-photos", !isEmpty);
    this.#find("#progress-examples").hidden = !isEmpty;
    this.undatedPhotos.update(series.isExample ? [] : series.items);
    this.#showActions();
  }
  #showActions() {
    const { used } = series;
    const areUndated = used.length >= this.limits.minPhotos && this.undatedPhotos.areAll(used);
    showActions(this.#view("photos"), series, { areUndated });
  }
  /** @param {HTMLElement} tile */
  #compareExample(tile) {
    this.#run(null, async (signal) => {
      const photos = (await fetchExample(tile)).map(makePhoto);
      signal.throwIfAborted();
      this.#change(() => series.add(photos, { isExample: true }));
      return this.#answered({ mode: "dates" }, signal);
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
    this.#change(() => {
      series.items = this.form.items;
    });
    const request2 = nextRequest(series.items, "order");
    if (mode === "order" && undated && sameIds(undated.request.items, request2.items)) {
      this.last = { mode: "dates", isOrderConfirmed: true };
      this.#run(pressed, (signal) => this.#rendered(withChosenOrder(undated.answer, request2), request2, signal, undated.request.times));
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
    const running = this.running = new AbortController();
    const restore = pressed && markBusy(pressed, text("comparing"));
    this.views.forEach((view) => {
      view.inert = true;
    });
    let present;
    try {
      present = await work(running.signal);
    } catch (error) {
      present = () => this.#reportError(error, () => this.#run(pressed, work), pressed);
    }
    this.running = null;
    this.views.forEach((view) => {
      view.inert = false;
    });
    restore?.();
    present();
  }
  /**
   * @param {Confirmed} confirmed
   * @param {AbortSignal} signal
   * @returns {Promise<Present>}
   */
  async #answered({ mode, isOrderConfirmed = false }, signal) {
    let request2 = nextRequest(series.items, mode);
    let answer = await this.request.post(request2, signal);
    series.items = withRecordedTimes(series.items, request2, answer);
    const step = stepAfter(series.items, request2);
    this.#redraw();
    if (step === "ask" && isOrderConfirmed && series.used.every(({ takenAt }) => takenAt === null)) {
      return this.#rendered(withChosenOrder(answer, request2), request2, signal);
    }
    if (step === "ask") return () => this.#askForDates(answer, request2);
    if (step === "again") {
      request2 = nextRequest(series.items, mode);
      answer = await this.request.post(request2, signal);
    }
    return this.#rendered(mode === "order" ? withChosenOrder(answer, request2) : answer, request2, signal);
  }
  /**
   * @param {any} answer
   * @param {Request} request
   */
  #askForDates(answer, request2) {
    clear(this.status);
    this.undated = { answer, request: request2 };
    this.#arrange();
  }
  /**
   * @param {any} answer
   * @param {Request} request
   * @param {AbortSignal} signal
   * @param {string[]} [sentTimes] times that were sent for this answer
   * @returns {Promise<Present>}
   */
  async #rendered(answer, request2, signal, sentTimes = request2.times) {
    const content = await renderFragment("progress", answer, signal);
    const photos = request2.items.map(({ id: id2 }) => series.photoOf(id2));
    const { requestId, path } = this.request;
    return () => {
      this.shown = request2;
      isKept = false;
      this.answer.replaceChildren(content);
      const { isExample, label } = series;
      const onKept = (name) => {
        if (this.shown === request2) [isKept, series.label] = [true, name];
      };
      afterAnswer(this.answer, { task: "progress", answer, path, photos, requestId, takenAt: sentTimes, isExample, label, onKept });
      fillPhotos(this.answer, (index) => series.photos.get(request2.items[index].id));
      clear(this.status);
      this.#show("answer", { focus: false });
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
    return ids.length ? [{ label: text("leave_out", { n: ids.length }), onClick: () => this.#compareWithout(ids) }] : [];
  }
  /**
   * @param {string} indices positions in the request of the answer, such as "1 3"
   * @returns {number[]}
   */
  #idsAt(indices) {
    const items = this.shown?.items ?? [];
    return indices.split(" ").map((index) => items[Number(index)].id);
  }
  /** @returns {HTMLElement} */
  #fileChooser() {
    return (
      /** @type {HTMLElement} */
      this.input.querySelector('[type="file"]')
    );
  }
  /**
   * @param {'photos' | 'arrange' | 'answer'} name
   * @param {{focus?: boolean}} [options]
   */
  #show(name, { focus = true } = {}) {
    const shown2 = this.#view(name);
    this.views.forEach((view) => {
      view.hidden = view !== shown2;
    });
    if (focus) focusHeading(shown2);
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
    return (
      /** @type {HTMLElement} */
      this.root.querySelector(selector)
    );
  }
};

// ui/static/shared.js
var TIMEOUT_MS2 = 5e3;
var start = new URL(location.href);
var id = start.searchParams.get("shared");
var target = start.hash.slice(1) || "lesion";
async function receiveShared(name, root) {
  if (!id || name !== target) return;
  const address = new URL(location.href);
  address.searchParams.delete("shared");
  history.replaceState(null, "", address);
  const detail = await takeFiles(id);
  root.querySelector(".photo-input")?.dispatchEvent(new CustomEvent("photos", { detail }));
}
async function takeFiles(id2) {
  if (!("serviceWorker" in navigator)) return [];
  const late = new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS2, []));
  const taken = navigator.serviceWorker.ready.then(({ active }) => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => resolve(data);
    active?.postMessage({ take: id2 }, [port2]);
  }));
  return (
    /** @type {File[]} */
    await Promise.race([taken, late])
  );
}

// ui/static/tabs.js
var PREFIX = "panel-";
var tabs = () => [...document.querySelectorAll('#tabs [role="tab"]')].map((tab2) => (
  /** @type {HTMLElement} */
  tab2
));
var panelOf = (tab2) => (
  /** @type {HTMLElement} */
  document.getElementById(String(tab2.getAttribute("aria-controls")))
);
var nameOf2 = (tab2) => panelOf(tab2).id.slice(PREFIX.length);
function connectTabs(onOpen) {
  const list2 = (
    /** @type {HTMLElement} */
    document.getElementById("tabs")
  );
  list2.addEventListener("click", (event) => {
    const tab2 = (
      /** @type {HTMLElement} */
      event.target.closest('[role="tab"]')
    );
    if (tab2) open2(
      /** @type {HTMLElement} */
      tab2,
      onOpen
    );
  });
  list2.addEventListener("keydown", moveFocus);
  const openAddressed = () => {
    const all = tabs();
    const name = location.hash.slice(1) || nameOf2(all[0]);
    const tab2 = all.find((one) => nameOf2(one) === name) ?? all.find((one) => one.ariaSelected === "true");
    if (tab2) open2(tab2, onOpen);
  };
  window.addEventListener("popstate", openAddressed);
  openAddressed();
}
function open2(tab2, onOpen) {
  const all = tabs();
  for (const one of all) {
    one.ariaSelected = String(one === tab2);
    one.tabIndex = one === tab2 ? 0 : -1;
    panelOf(one).hidden = one !== tab2;
  }
  const name = nameOf2(tab2);
  document.title = text("tab_title", { tab: (tab2.textContent ?? "").trim() });
  onOpen(name, panelOf(tab2));
  if (location.hash.slice(1) === name || tab2 === all[0] && !location.hash) return;
  history.pushState(null, "", `#${name}`);
}
function moveFocus(event) {
  const all = tabs();
  const current2 = all.indexOf(
    /** @type {HTMLElement} */
    event.target
  );
  if (current2 < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  const forward = getComputedStyle(all[current2]).direction === "rtl" ? -1 : 1;
  const next = { ArrowRight: current2 + forward, ArrowLeft: current2 - forward, Home: 0, End: all.length - 1 };
  if (!(event.key in next)) return;
  event.preventDefault();
  const tab2 = all[(next[event.key] + all.length) % all.length];
  tab2.click();
  tab2.focus();
}

// ui/static/page.js
var PANELS = { lesion: startLesion, progress: startProgress, history: startHistory, about: startAbout };
function start2() {
  const page = (
    /** @type {HTMLElement} */
    document.getElementById("page")
  );
  watchConnection(page);
  connectLanguages(page);
  const started = /* @__PURE__ */ new Set();
  connectTabs((name, panel) => {
    if (started.has(name)) return;
    started.add(name);
    PANELS[name](panel);
    receiveShared(name, panel);
  });
  document.getElementById("late")?.remove();
  page.inert = false;
  registerWorker();
}
if (!openKeptLanguage()) start2();
document.addEventListener("resume-series", (event) => {
  document.getElementById("tab-progress")?.click();
  resumeSeries(
    /** @type {CustomEvent<import('./history_store.js').Entry>} */
    event.detail
  );
});
window.addEventListener("beforeunload", (event) => {
  if (hasUnsaved() || hasUnsaved2()) event.preventDefault();
});
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
