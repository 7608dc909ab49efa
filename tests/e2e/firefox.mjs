/**
 * Drive the page in Firefox by WebDriver BiDi: `node firefox.mjs ADDRESS FOLDER FIREFOX`.
 *
 * FOLDER holds lesion.jpg, face-1.jpg to face-3.jpg (with their times) and note.txt. Screenshots and report.pdf are
 * written into it. The last line of the output is JSON: what each flow found, the errors of the page, and
 * the dialogs that it opened.
 */

import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

const [address, folder, firefox] = process.argv.slice(2);
const TIMEOUT_MS = 120_000; // a busy machine with two cores
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 900 };

const found = {};
const errors = [];
/** @type {string[]} */
const dialogs = [];

const browser = await puppeteer.launch({ browser: 'firefox', executablePath: firefox, headless: true });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.on('dialog', (dialog) => { dialogs.push(dialog.type()); dialog.accept(); });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });
  await page.setViewport(DESK);
  await page.goto(`${address}/ui/?lang=en`);
  found.lesion = await classifyLesion(page);
  found.report = await saveReport(page);
  found.kept = await keep(page, 'left arm');
  found.series = await compareSeries(page);
  await page.reload();
  found.history = await openHistory(page);
  found.german = await switchToGerman(page);
  found.problem = await sendWrongFile(page);
  await page.setViewport(PHONE);
  await page.screenshot({ path: join(folder, 'phone.png') });
  found.phoneWidth = await page.evaluate(() => document.documentElement.scrollWidth);
} finally {
  await browser.close();
}
console.log(JSON.stringify({ found, errors, dialogs }));

/** @param {import('puppeteer-core').Page} page */
async function classifyLesion(page) {
  await choose(page, '#panel-lesion .drop input', 'lesion.jpg');
  await page.waitForSelector('#panel-lesion .answer .verdict h3', { visible: true });
  await page.screenshot({ path: join(folder, 'lesion.png') });
  return textOf(page, '#panel-lesion .answer .verdict');
}

/**
 * Print the report: the button calls window.print, which opens a dialog; here its moment counts.
 * @param {import('puppeteer-core').Page} page
 */
async function saveReport(page) {
  await page.evaluate(() => {
    window.print = () => {
      const photos = [...document.querySelectorAll('#report img')];
      document.documentElement.dataset.printed = String(photos.filter((photo) => photo.naturalWidth > 0).length);
    };
  });
  await page.click('#panel-lesion [data-action="report"]');
  await page.waitForSelector('html[data-printed]');
  await page.pdf({ path: join(folder, 'report.pdf'), format: 'A4' });
  return page.evaluate(() => {
    const report = /** @type {HTMLElement} */ (document.getElementById('report'));
    return { photos: Number(document.documentElement.dataset.printed), text: report.textContent.replace(/\s+/g, ' '), title: document.title };
  });
}

/**
 * @param {import('puppeteer-core').Page} page
 * @param {string} label
 */
async function keep(page, label) {
  await page.click('#panel-lesion [data-action="keep"]');
  await page.waitForSelector('dialog[open] [name="label"]', { visible: true });
  await page.type('dialog[open] [name="label"]', label);
  await page.click('dialog[open] .primary');
  await page.waitForSelector('#panel-lesion .keep a');
  return textOf(page, '#panel-lesion .keep a');
}

/** @param {import('puppeteer-core').Page} page */
async function compareSeries(page) {
  await openTab(page, 'progress');
  await choose(page, '#panel-progress .drop input', 'face-1.jpg', 'face-2.jpg', 'face-3.jpg');
  await page.waitForFunction(() => document.querySelectorAll('.series-tiles li').length === 3);
  await page.click('#progress-compare');
  await page.waitForSelector('#progress-answer .answer h3', { visible: true });
  await page.screenshot({ path: join(folder, 'series.png') });
  const photos = await page.$$eval('#progress-answer .photos img', (images) => images.filter((image) => image.naturalWidth > 0).length);
  return { verdict: await textOf(page, '#progress-answer .answer h3'), photos };
}

/** @param {import('puppeteer-core').Page} page */
async function openHistory(page) {
  await openTab(page, 'history');
  await page.waitForSelector('.history-group [data-action="open"]', { visible: true });
  const group = await textOf(page, '.history-group');
  await page.click('.history-group [data-action="open"]');
  await page.waitForSelector('[data-view="entry"] .answer h3', { visible: true });
  await page.screenshot({ path: join(folder, 'history.png') });
  return { group, verdict: await textOf(page, '[data-view="entry"] .answer h3') };
}

/** @param {import('puppeteer-core').Page} page */
async function switchToGerman(page) {
  await Promise.all([page.waitForNavigation(), page.select('#language', 'de')]);
  await page.waitForSelector('#panel-lesion .photo-input', { visible: false });
  return page.evaluate(() => ({ lang: document.documentElement.lang, heading: document.querySelector('#panel-lesion h2')?.textContent }));
}

/**
 * Send a file of another type, past the page's own check of the name.
 * @param {import('puppeteer-core').Page} page
 */
async function sendWrongFile(page) {
  await openTab(page, 'lesion');
  await choose(page, '#panel-lesion .drop input', 'note.jpg');
  await page.waitForSelector('#panel-lesion .error', { visible: true });
  await page.screenshot({ path: join(folder, 'problem.png') });
  return textOf(page, '#panel-lesion .error');
}

/**
 * @param {import('puppeteer-core').Page} page
 * @param {string} selector
 * @param {...string} names
 */
async function choose(page, selector, ...names) {
  const input = /** @type {import('puppeteer-core').ElementHandle<HTMLInputElement>} */ (await page.waitForSelector(selector));
  await input.uploadFile(...names.map((name) => join(folder, name)));
}

/**
 * @param {import('puppeteer-core').Page} page
 * @param {string} name
 */
async function openTab(page, name) {
  await page.evaluate((hash) => { location.hash = hash; }, name);
  await page.waitForSelector(`#panel-${name} h2`, { visible: true });
}

/**
 * @param {import('puppeteer-core').Page} page
 * @param {string} selector
 */
function textOf(page, selector) {
  return page.$eval(selector, (element) => /** @type {HTMLElement} */ (element).innerText);
}
