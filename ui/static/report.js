/**
 * Print an answer as a report of one page, which the browser saves as PDF: `<template data-report>` of the answer.
 *
 * @typedef {import('./keep.js').Shown} Shown
 */

import { fill, placeBoxes } from './answer.js';
import { dateText } from './numbers.js';
import { showPhoto } from './photo_input.js';
import { text } from './texts.js';

const LARGE_PX = 1200; // of the only photo
const SMALL_PX = 480;
const MAX_HEIGHT_MM = 248; // of Letter without its margins: 251; a printer may break lines elsewhere than the screen
const PX_PER_MM = 96 / 25.4;
const MIN_FIT = 0.5;
const FIT_STEP = 0.02;
const MAX_STYLE_WAIT_MS = 2000; // for a style sheet that still loads, or has failed to

/**
 * Open the browser's dialog to print or save the report; nothing is sent. Only the printer sees it: report.css.
 * @param {Shown} shown
 */
export async function printReport(shown) {
  document.getElementById('report')?.remove();
  if (!shown.report) return;
  const report = Object.assign(document.createElement('section'), { id: 'report', hidden: true });
  report.append(shown.report.content.cloneNode(true));
  fill(report, 'date', dateText(shown.createdAt, { dateStyle: 'long', timeStyle: 'short' }));
  fill(report, 'label', shown.label ?? '');
  if (shown.kind === 'lesion') fill(report, 'file', shown.fileName ?? '');
  document.body.append(report);
  const images = /** @type {HTMLImageElement[]} */ ([...report.querySelectorAll('img[data-photo]')]);
  await Promise.all(images.map((image) => place(image, shown, images.length > 1 ? SMALL_PX : LARGE_PX)));
  await fitToPage(report);
  const title = document.title;
  document.title = text('report_name', { date: shown.createdAt.slice(0, 10) }); // the name of the PDF
  addEventListener('afterprint', () => {
    document.title = title;
    addEventListener('pointerdown', () => report.remove(), { once: true }); // some phones still draw it now
  }, { once: true });
  print();
}

/**
 * Set the scale of a report so that it is one page of A4 or Letter; below half of its size it goes on another page.
 * @param {HTMLElement} report
 */
async function fitToPage(report) {
  await applyPrintStyle();
  report.hidden = false;
  report.classList.add('measured');
  for (let fit = 1; fit >= MIN_FIT; fit -= FIT_STEP) {
    report.style.setProperty('--fit', fit.toFixed(2));
    if (report.offsetHeight <= MAX_HEIGHT_MM * PX_PER_MM) break;
  }
  report.classList.remove('measured');
  report.hidden = true;
}

/** Let the style sheet of the report, which only printers need at first, apply to the screen. */
async function applyPrintStyle() {
  const links = /** @type {NodeListOf<HTMLLinkElement>} */ (document.querySelectorAll('link[media="print"]'));
  for (const link of links) {
    if (!link.sheet) await new Promise((resolve) => { link.addEventListener('load', resolve); setTimeout(resolve, MAX_STYLE_WAIT_MS); });
    link.media = 'all';
  }
}

/**
 * Draw a photo anew: smaller, and without the place and time that its file records.
 * @param {HTMLImageElement} image
 * @param {Shown} shown
 * @param {number} maxPx
 */
async function place(image, shown, maxPx) {
  const frame = /** @type {HTMLElement} */ (image.parentElement);
  const size = await showPhoto(image, shown.photos[Number(image.dataset.photo)]);
  if (!size) {
    frame.remove();
    return;
  }
  const scale = Math.min(1, maxPx / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(scale * image.naturalWidth);
  canvas.height = Math.round(scale * image.naturalHeight);
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.src = canvas.toDataURL('image/jpeg', 0.9);
  await image.decode();
  frame.style.setProperty('--ratio', `${size.width} / ${size.height}`);
  frame.style.setProperty('--upright', String(size.width / size.height));
  placeBoxes(frame, size);
}
