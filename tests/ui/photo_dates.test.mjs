import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hasNoDate } from '../../ui/static/photo_dates.js';

const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const file = (...texts) => new Blob(texts.map(bytes));
const JPEG = '\xff\xd8\xff\xe0\x00\x10JFIF';
const PNG = '\x89PNG\r\n\x1a\n';
const WEBP = 'RIFF\x10\x27\x00\x00WEBPVP8X';
const PIXELS = '\x00\x81\x8d\xff'.repeat(9000);

test('a JPEG, a PNG or a WebP without EXIF and XMP has no date', async () => {
  for (const start of [JPEG, PNG, WEBP]) assert.equal(await hasNoDate(file(start, PIXELS)), true, start);
});

test('with EXIF or XMP only the API knows whether there is a date', async () => {
  const recorded = {
    [JPEG]: ['\xff\xe1\x00\x40Exif\x00\x00', 'http://ns.adobe.com/xap/1.0/\x00'],
    [PNG]: ['\x00\x00\x00\x40eXIf', 'iTXtXML:com.adobe.xmp\x00', 'zTXtRaw profile type exif\x00'],
    [WEBP]: ['EXIF\x40\x00\x00\x00', 'XMP \x40\x00\x00\x00'],
  };
  for (const [start, all] of Object.entries(recorded)) {
    for (const metadata of all) assert.equal(await hasNoDate(file(start, PIXELS, metadata, PIXELS)), false, metadata);
  }
});

test('other files are left to the API', async () => {
  for (const start of ['II*\x00', '\x00\x00\x00\x18ftypheic', 'a text', '']) assert.equal(await hasNoDate(file(start, PIXELS)), false, start);
});

test('a file that has gone is left to the API', async () => {
  const gone = { arrayBuffer: () => Promise.reject(new DOMException('gone', 'NotFoundError')) };
  assert.equal(await hasNoDate(gone), false);
});
