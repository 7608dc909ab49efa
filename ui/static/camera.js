/** Take a photo with the camera of a computer, in a dialog: templates/document.html.jinja. */

import { fill } from './answer.js';
import { look } from './photo_hints.js';
import { template, text } from './texts.js';

/** Time between two looks at the picture of the camera. */
const LOOK_MS = 800;

/**
 * Return whether the browser lets this page use a camera; over plain HTTP it does on the same machine only.
 * @returns {boolean}
 */
export const canUseCamera = () => isSecureContext && typeof navigator.mediaDevices?.getUserMedia === 'function';

/**
 * Let the person take a photo.
 * @param {HTMLElement} host of the dialog, inside the page's own HTML: Gradio's styles end there. data-hint: advice for
 *   this photo. data-max-photos="1": a ring shows how large the lesion should be.
 * @returns {Promise<File | null>} null if the person cancels
 * @throws {DOMException} there is no camera, or the person denies its use
 */
export async function openCamera(host) {
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: 'environment', width: { ideal: 1920 }, height: { ideal: 1080 } },
  });
  const dialog = /** @type {HTMLDialogElement} */ (template('camera-dialog').firstElementChild);
  const video = /** @type {HTMLVideoElement} */ (dialog.querySelector('video'));
  const isLesion = host.dataset.maxPhotos === '1';
  for (const ring of /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll('[data-ring]'))) ring.hidden = !isLesion;
  fill(dialog, 'hint', host.dataset.hint ?? '');
  host.append(dialog);
  const looks = setInterval(() => lookAtVideo(dialog, video, isLesion), LOOK_MS);
  try {
    video.srcObject = stream;
    dialog.showModal();
    await video.play();
    await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
    return dialog.returnValue === 'take' ? await frame(video) : null;
  } finally {
    clearInterval(looks);
    stream.getTracks().forEach((track) => track.stop());
    dialog.remove();
  }
}

/**
 * Say what the picture lacks; screen readers hear a change only.
 * @param {HTMLElement} dialog
 * @param {HTMLVideoElement} video
 * @param {boolean} isLesion
 */
function lookAtVideo(dialog, video, isLesion) {
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
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
