/** Take a photo with the camera of a computer, in a dialog: templates/camera.html.jinja. */

import { template } from './texts.js';

/**
 * Return whether the browser lets this page use a camera; over plain HTTP it does on the same machine only.
 * @returns {boolean}
 */
export const canUseCamera = () => isSecureContext && typeof navigator.mediaDevices?.getUserMedia === 'function';

/**
 * Let the person take a photo.
 * @param {HTMLElement} host of the dialog, inside the page's own HTML: Gradio's styles end there
 * @returns {Promise<File | null>} null if the person cancels
 * @throws {DOMException} there is no camera, or the person denies its use
 */
export async function openCamera(host) {
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: 'environment', width: { ideal: 1920 }, height: { ideal: 1080 } },
  });
  const dialog = /** @type {HTMLDialogElement} */ (template('camera-dialog').firstElementChild);
  const video = /** @type {HTMLVideoElement} */ (dialog.querySelector('video'));
  host.append(dialog);
  try {
    video.srcObject = stream;
    dialog.showModal();
    await video.play();
    await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
    return dialog.returnValue === 'take' ? await frame(video) : null;
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    dialog.remove();
  }
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
