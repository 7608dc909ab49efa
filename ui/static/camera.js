/** Take a photo with a camera of the computer or phone, in a dialog: templates/document.html.jinja. */

import { fill } from './answer.js';
import { look } from './photo_hints.js';
import { template, text } from './texts.js';

/** Time between two looks at the picture of the camera. */
const LOOK_MS = 800;
const SIZE = { width: { ideal: 1920 }, height: { ideal: 1080 } };

/**
 * Return whether the browser lets this page use a camera; over plain HTTP it does on the same machine only.
 * @returns {boolean}
 */
export const canUseCamera = () => isSecureContext && typeof navigator.mediaDevices?.getUserMedia === 'function';

/**
 * Let the person take a photo.
 * @param {HTMLElement} host of the dialog, inside the page's own HTML: the styles end there. data-hint: advice for
 *   this photo. data-facing: which camera of a phone opens first. data-max-photos="1": a ring shows how large the
 *   lesion should be.
 * @returns {Promise<File | null>} null if the person cancels
 * @throws {DOMException} there is no camera, or the person denies its use
 */
export async function openCamera(host) {
  const dialog = /** @type {HTMLDialogElement} */ (template('camera-dialog').firstElementChild);
  const video = /** @type {HTMLVideoElement} */ (dialog.querySelector('video'));
  const stream = await openStream({ facingMode: host.dataset.facing });
  if (!host.checkVisibility()) { // another tab was opened while the browser asked for permission
    for (const track of stream.getTracks()) track.stop();
    return null;
  }
  const isLesion = host.dataset.maxPhotos === '1';
  for (const ring of /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll('[data-ring]'))) ring.hidden = !isLesion;
  fill(dialog, 'hint', host.dataset.hint ?? '');
  connectSwitch(dialog, video);
  video.addEventListener('resize', () => { // of the picture, also when the phone is turned
    /** @type {HTMLElement} */ (video.parentElement).style.setProperty('--ratio', `${video.videoWidth} / ${video.videoHeight}`);
  });
  dialog.addEventListener('submit', (event) => {
    const { value } = /** @type {HTMLButtonElement} */ (/** @type {SubmitEvent} */ (event).submitter);
    if (value === 'take' && !hasPicture(video)) event.preventDefault();
  });
  const closed = new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  host.append(dialog);
  const looks = setInterval(() => lookAtVideo(dialog, video, isLesion), LOOK_MS);
  try {
    play(video, stream);
    dialog.showModal();
    await closed;
    if (dialog.returnValue === 'failed') throw new DOMException('', 'NotReadableError');
    return dialog.returnValue === 'take' ? await frame(video) : null;
  } finally {
    clearInterval(looks);
    stop(video);
    dialog.remove();
  }
}

/**
 * @param {MediaTrackConstraints} which
 * @returns {Promise<MediaStream>}
 */
const openStream = (which) => navigator.mediaDevices.getUserMedia({ video: { ...which, ...SIZE } });

/**
 * @param {HTMLVideoElement} video
 * @param {MediaStream} stream
 */
function play(video, stream) {
  video.srcObject = stream;
  video.play().catch(() => {}); // the dialog was closed before the first picture
}

/** @param {HTMLVideoElement} video */
function stop(video) {
  const stream = /** @type {MediaStream | null} */ (video.srcObject);
  stream?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

/**
 * Let the person use the next camera, if there are several.
 * @param {HTMLDialogElement} dialog
 * @param {HTMLVideoElement} video
 */
async function connectSwitch(dialog, video) {
  const button = /** @type {HTMLButtonElement} */ (dialog.querySelector('[data-switch]'));
  const ids = await cameraIds().catch(() => []);
  button.hidden = ids.length < 2;
  let isWaiting = false;
  button.addEventListener('click', async () => {
    if (isWaiting) return;
    isWaiting = true;
    const [track] = /** @type {MediaStream} */ (video.srcObject).getVideoTracks();
    const next = ids[(ids.indexOf(String(track.getSettings().deviceId)) + 1) % ids.length];
    stop(video); // many phones open one camera at a time
    try {
      play(video, await openStream({ deviceId: { exact: next } }));
      if (!dialog.open) stop(video);
    } catch {
      dialog.close('failed');
    }
    isWaiting = false;
  });
}

/**
 * Return the cameras that the browser names; it does so while one is open.
 * @returns {Promise<string[]>}
 */
async function cameraIds() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter(({ kind, deviceId }) => kind === 'videoinput' && deviceId !== '').map(({ deviceId }) => deviceId);
}

/** @param {HTMLVideoElement} video */
const hasPicture = (video) => video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;

/**
 * Say what the picture lacks; screen readers hear a change only.
 * @param {HTMLElement} dialog
 * @param {HTMLVideoElement} video
 * @param {boolean} isLesion
 */
function lookAtVideo(dialog, video, isLesion) {
  if (!hasPicture(video)) return;
  const seen = look(video, { width: video.videoWidth, height: video.videoHeight }, { isLesion });
  fill(dialog, 'look', text(`look_${seen ?? 'fine'}`));
  dialog.classList.toggle('is-fine', seen === null);
}

/**
 * @param {HTMLVideoElement} video
 * @returns {Promise<File>}
 */
async function frame(video) {
  const canvas = Object.assign(document.createElement('canvas'), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext('2d')?.drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.95));
  return new File([/** @type {Blob} */ (blob)], 'camera.jpg', { type: 'image/jpeg' });
}
