/**
 * The service worker: an offline page, and photos that other programs share with the installed page.
 *
 * The server puts VERSION and SHELL (addresses of the offline page and its files) before this text. Only these files
 * are cached: never photos, answers or the API.
 */

const CACHE = `skinserve-${VERSION}`;
const OFFLINE = 'offline';
const KEEP_MS = 60_000;
/** @type {Map<string, File[]>} Shared photos, in memory until the page takes them. */
const shared = new Map();

const scope = new URL(registration.scope);
const shell = new Set(SHELL.map((path) => new URL(path, scope).href));

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(SHELL)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const removeOld = async () => {
    for (const name of await caches.keys()) if (name.startsWith('skinserve-') && name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(removeOld());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (request.method === 'POST' && address.href === new URL('share', scope).href) return event.respondWith(receive(event));
  if (request.method !== 'GET') return;
  if (request.mode === 'navigate' && address.pathname === scope.pathname) return event.respondWith(pageOrOffline(request));
  if (shell.has(address.href)) event.respondWith(fetch(request).catch(() => cached(address.href)));
});

self.addEventListener('message', (event) => {
  const { take, search } = event.data;
  if (take !== undefined) {
    event.ports[0].postMessage(shared.get(take) ?? []);
    shared.delete(take);
  }
  if (search !== undefined) event.waitUntil(keepOffline(search).catch(() => {}));
});

/**
 * @param {Request} request
 * @returns {Promise<Response>}
 */
async function pageOrOffline(request) {
  try {
    const response = await fetch(request);
    if (response.status < 502 || response.status > 504) return response;
  } catch {
    // the server cannot be reached
  }
  return cached(new URL(OFFLINE, scope).href);
}

/**
 * @param {string} address
 * @returns {Promise<Response>}
 */
const cached = async (address) => (await caches.match(address)) ?? Response.error();

/**
 * Cache the offline page in the language of the open page.
 * @param {string} search of the page's address
 */
async function keepOffline(search) {
  const response = await fetch(`${OFFLINE}${search}`);
  if (response.ok) await (await caches.open(CACHE)).put(OFFLINE, response);
}

/**
 * Keep shared photos in memory and open the page, which takes them.
 * @param {FetchEvent} event
 * @returns {Promise<Response>}
 */
async function receive(event) {
  const form = await event.request.formData();
  const files = form.getAll('photos').filter((part) => part instanceof File && part.size > 0);
  const id = crypto.randomUUID();
  shared.set(id, files);
  event.waitUntil(new Promise((resolve) => setTimeout(() => resolve(shared.delete(id)), KEEP_MS)));
  return Response.redirect(`./?shared=${id}${files.length > 1 ? '#progress' : ''}`, 303);
}
