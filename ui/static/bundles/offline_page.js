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
var RETRIABLE = /* @__PURE__ */ new Set(["unreachable", "offline", "overloaded", "rate_limited", "deadline_exceeded", "internal", "model_unavailable", "feedback_unavailable", "unexpected"]);
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
function photoForm(field2, photos, values = {}) {
  const form = new FormData();
  photos.forEach((photo, index) => form.append(field2, photo.slice(0, photo.size, "application/octet-stream"), `photo-${index}`));
  for (const [name, all] of Object.entries(values)) for (const value of all) form.append(name, value);
  return form;
}
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
var isAbort = (error) => error instanceof DOMException && error.name === "AbortError";
var sentence = (message) => `${message.slice(0, 1).toUpperCase()}${message.slice(1)}${/[.!?\u0964\u061f]$/.test(message) ? "" : "."}`;

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
function placeBoxes(root2, { width, height }) {
  for (const box of root2.querySelectorAll("[data-box]")) {
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
function connectStrength(root2) {
  root2.addEventListener("input", (event) => {
    const range = (
      /** @type {HTMLInputElement} */
      event.target
    );
    if (range.matches("[data-strength]")) range.closest(".stage")?.setAttribute("style", `--strength:${Number(range.value) / 100}`);
  });
}
function fill(root2, name, value) {
  const slot = root2.querySelector(`[data-slot="${name}"]`);
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

// ui/static/clipboard.js
var SHOWN_MS = 2e3;
function connectCopyButtons(root2) {
  for (
    const pressed of
    /** @type {NodeListOf<HTMLButtonElement>} */
    root2.querySelectorAll("[data-copy]")
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

// ui/static/feedback.js
var lastId = 0;
function connectFeedback(root2, answered) {
  const form = (
    /** @type {HTMLFormElement} */
    root2.querySelector("form")
  );
  giveOwnId(form);
  const problem = (
    /** @type {HTMLElement} */
    root2.querySelector('[data-slot="problem"]')
  );
  const send = (
    /** @type {HTMLButtonElement} */
    form.querySelector('[type="submit"]')
  );
  showIfStored(root2);
  form.addEventListener("input", () => followFinding(form));
  followFinding(form);
  const submit = async () => {
    if (send.ariaDisabled === "true") return;
    clear(problem);
    const restore = markBusy(send, text("feedback_sending"));
    try {
      showReceipt(root2, await postFeedback(fieldsOf(form, answered)));
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
function connectLaterFeedback(root2, { requestId, ...answered }) {
  if (requestId !== void 0) {
    root2.querySelector("summary").textContent = text("feedback_later");
    return connectFeedback(root2, { ...answered, requestId });
  }
  const note = Object.assign(document.createElement("p"), { className: "muted small", hidden: true, textContent: text("feedback_no_request") });
  root2.replaceWith(note);
  showIfStored(note);
}
function showIfStored(root2) {
  servedModels().then(({ feedback }) => {
    root2.hidden = !feedback;
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
function showReceipt(root2, { receipt, photo_stored: hasPhoto }) {
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
  root2.querySelector("form").replaceWith(content);
  const heading = (
    /** @type {HTMLElement} */
    card.querySelector("h3")
  );
  heading.tabIndex = -1;
  heading.focus();
}
function connectDeletion(root2, pressed, receiptOf) {
  const outcome = (
    /** @type {HTMLElement} */
    root2.querySelector('[data-slot="outcome"]')
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
      root2.querySelector("[data-kept]")?.remove();
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

// ui/static/history_store.js
var NAME = "skinserve";
var STORE = "answers";
var changes = "BroadcastChannel" in window ? new BroadcastChannel("skinserve-history") : null;
var listeners = [];
changes?.addEventListener("message", () => listeners.forEach((listener) => listener()));
var onChange = (listener) => {
  listeners.push(listener);
};
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
async function deleteEntry(id) {
  await inStore("readwrite", (store) => store.delete(id));
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

// ui/static/photo_input.js
var lastId2 = 0;
var makePhoto = (file) => ({ id: ++lastId2, file, name: file.name.replace(DIRECTION_MARKS, ""), url: URL.createObjectURL(file) });
function release(photo) {
  URL.revokeObjectURL(photo.url);
  previews.delete(photo.id);
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
var isRequestId = (id) => typeof id === "string" && id !== "unknown" && REQUEST_ID.test(id);
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
  const index = entries.map(({ id, kind, label, createdAt, requestId, answer, photos }) => ({
    ...{ id, kind, label, createdAt, requestId, answer },
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
  for (const { id, kind, label, createdAt, requestId, answer, photos: types } of index) {
    const photos = [];
    for (const type of types) photos.push(typed(await reader.next(MAX_PHOTO_BYTES), type));
    entries.push({ id, kind, label, createdAt, answer, photos, ...requestId === void 0 ? {} : { requestId } });
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
    const start = this.at + 4;
    if (start > this.file.size) throw new FileError("damaged");
    const size = await readUint32(this.file, this.at);
    if (size > maxBytes || start + size > this.file.size) throw new FileError("damaged");
    this.at = start + size;
    const content = this.file.slice(start, this.at);
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
  const frame = (
    /** @type {HTMLElement} */
    image.parentElement
  );
  const size = await showPhoto(image, shown2.photos[Number(image.dataset.photo)]);
  if (!size) {
    frame.remove();
    return;
  }
  const scale = Math.min(1, maxPx / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * image.naturalWidth);
  canvas.height = Math.round(scale * image.naturalHeight);
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.src = canvas.toDataURL("image/jpeg", 0.9);
  await image.decode();
  frame.style.setProperty("--ratio", `${size.width} / ${size.height}`);
  frame.style.setProperty("--upright", String(size.width / size.height));
  placeBoxes(frame, size);
}

// ui/static/keep.js
async function askLabel(host, kind, current, save) {
  const entries = await allEntries().catch(() => []);
  const names = [...new Set(entries.filter((entry) => entry.kind === kind).map(({ label: label2 }) => label2))];
  let label = "";
  const isDone = await openDialog(host, "keep-dialog", {
    prepare: (form) => {
      field(form, "label").value = current;
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
    const known = new Set((await allEntries()).map(({ id }) => id));
    const added = entries.filter(({ id }) => !known.has(id));
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
  const frame = stage.querySelector(".lesion-box") ? edgesOf(stage, ".lesion-box") : null;
  const inside = [...grid.keys()].filter((index) => grid[index] >= level);
  const share = shareText(inside.length / grid.length);
  if (!frame) return text("map_share", { share });
  const inFrame = inside.filter((index) => {
    const x = left + (right - left) * (index % GRID + 0.5) / GRID;
    const y = top + (bottom - top) * (Math.floor(index / GRID) + 0.5) / GRID;
    return x >= frame[0] && x <= frame[2] && y >= frame[1] && y <= frame[3];
  });
  return text("map_share_and_frame", { share, inside: shareText(inFrame.length / inside.length) });
}
var edgesOf = (stage, selector) => String(
  /** @type {HTMLElement} */
  stage.querySelector(selector).dataset.box
).split(",").map(Number);

// ui/static/lesion.js
var NARROW = matchMedia("(max-width: 760px)");
function placeFrame(frame, answer, beside) {
  const above = NARROW.matches ? answer.querySelector(".answer > .keep") ?? answer.querySelector(".answer > .verdict") : null;
  above?.after(frame);
  beside.replaceChildren(...above ? [] : [frame]);
  return above !== null;
}
async function fillFrame(frame, photo) {
  const stage = (
    /** @type {HTMLElement} */
    frame.querySelector(".stage")
  );
  const image = (
    /** @type {HTMLImageElement} */
    stage.querySelector("[data-photo]")
  );
  const missing = (
    /** @type {HTMLElement} */
    frame.querySelector(".photo-missing")
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
function connectBeforeAfter(root2, photoAt) {
  const stage = (
    /** @type {HTMLElement} */
    root2.querySelector(".before-after-stage")
  );
  const divider = (
    /** @type {HTMLInputElement} */
    root2.querySelector("[data-divider]")
  );
  const slide = () => stage.style.setProperty("--at", `${divider.value}%`);
  const selects = (
    /** @type {HTMLSelectElement[]} */
    [...root2.querySelectorAll("select")]
  );
  const excludeOther = () => selects.forEach((select, index) => {
    for (const option of select.options) option.disabled = option.value === selects[1 - index].value;
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
  root2.addEventListener("change", (event) => {
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
async function showFace(figure, option, photoAt) {
  const image = (
    /** @type {HTMLImageElement} */
    figure.querySelector("img")
  );
  const photo = photoAt(Number(option.value));
  image.alt = option.text.trim();
  figure.querySelector("figcaption").textContent = String(option.dataset.caption);
  const size = photo && await showPhoto(image, photo);
  image.hidden = !size;
  if (!size) return;
  const place2 = facePlace(option.dataset);
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
function fillPhotos(root2, photoAt) {
  for (
    const image of
    /** @type {NodeListOf<HTMLImageElement>} */
    root2.querySelectorAll("img[data-photo]")
  ) {
    placePhoto(image, photoAt(Number(image.dataset.photo)));
  }
  const beforeAfter = (
    /** @type {HTMLElement | null} */
    root2.querySelector("[data-before-after]")
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
var startHistory = (root2) => {
  new HistoryTab(root2);
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
  constructor(root2) {
    this.root = root2;
    this.status = this.#find('[data-slot="status"]');
    root2.addEventListener("click", (event) => this.#onClick(event));
    root2.addEventListener("change", (event) => {
      const input = (
        /** @type {HTMLInputElement} */
        event.target
      );
      if (input.type !== "file" || !input.files?.length) return;
      const [file] = input.files;
      this.#try(() => importHistory(root2, file));
      input.value = "";
    });
    connectStrength(root2);
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
    const entry = this.entries.find(({ id }) => id === pressed.dataset.id) ?? this.open;
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
    const frame = (
      /** @type {HTMLElement | null} */
      rendered.querySelector('[data-part="photo"]')
    );
    const place2 = this.#find(`[data-entry="${entry.kind}"]`);
    for (const kind of ["lesion", "progress"]) this.#find(`[data-entry="${kind}"]`).hidden = kind !== entry.kind;
    fill(this.root, "entry-title", text("history_title", { label: isolated2(entry.label), date: dateText(entry.createdAt, { dateStyle: "long", timeStyle: "short" }) }));
    if (frame) {
      const [beside, answer] = ["photo", "answer"].map((name) => (
        /** @type {HTMLElement} */
        place2.querySelector(`[data-slot="${name}"]`)
      ));
      answer.replaceChildren(rendered);
      beside.hidden = placeFrame(frame, answer, beside);
      fillFrame(frame, photos[0]);
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

// ui/static/offline_page.js
var root = (
  /** @type {HTMLElement} */
  document.getElementById("history")
);
root.append(template("template-history"));
startHistory(root);
document.getElementById("reload")?.addEventListener("click", () => location.reload());
