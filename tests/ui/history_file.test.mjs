import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FileError, isEncrypted, readFile, writeFile } from '../../ui/static/history_file.js';

const PASSPHRASE = 'käse und brot';
const ANSWER = { model: { name: 'm', version: '1' }, verdict: 'benign', malignant_probability: 0.12, threshold: 0.35 };

const entry = (changes = {}) => ({
  id: 'ab'.repeat(16), kind: 'lesion', label: 'Left <b>arm', createdAt: '2026-03-09T18:30:00.000Z', answer: ANSWER,
  photos: [new Blob(['a photo'], { type: 'image/jpeg' })], ...changes,
});
const series = (changes = {}) => entry({
  kind: 'progress', photos: ['one', 'two'].map((name) => new Blob([name], { type: 'image/png' })),
  answer: { verdict: 'improved', improved_probability: 0.8, photos: [{ index: 1 }, { index: 0 }] }, ...changes,
});
const bytesOf = async (file) => new Uint8Array(await file.arrayBuffer());
const rejects = (promise, code) => assert.rejects(promise, (error) => error instanceof FileError && error.code === code);

for (const passphrase of [null, PASSPHRASE]) {
  test(`entries come back ${passphrase ? 'with' : 'without'} a passphrase`, async () => {
    const entries = [entry({ html: '<script>', requestId: 'case-7' }), series({ id: '01'.repeat(16) })];
    const file = await writeFile(entries, passphrase);
    assert.equal(await isEncrypted(file), passphrase !== null);
    const read = await readFile(file, passphrase);
    const texts = ({ id, label, createdAt, requestId, answer }) => ({ id, label, createdAt, requestId, answer });
    assert.deepEqual(read.map(texts), entries.map(texts));
    assert.ok(!('requestId' in read[1]), 'an entry of an earlier version has none');
    assert.deepEqual(await Promise.all(read[1].photos.map((photo) => photo.text())), ['one', 'two']);
    assert.deepEqual(read.map(({ photos }) => photos[0].type), ['image/jpeg', 'image/png']);
    assert.ok(read.every((one) => !('html' in one)), 'HTML of a file is never read');
  });
}

test('an encrypted file shows nothing and opens with its passphrase only', async () => {
  const file = await writeFile([entry()], PASSPHRASE);
  assert.doesNotMatch(Buffer.from(await bytesOf(file)).toString('latin1'), /benign|arm|photo/);
  await rejects(readFile(file, 'cheese and bread'), 'passphrase');
});

test('every changed or missing byte of an encrypted file is found', async () => {
  const bytes = await bytesOf(await writeFile([series()], PASSPHRASE));
  for (let at = bytes.length - 40; at < bytes.length; at += 7) {
    const changed = bytes.slice();
    changed[at] ^= 1;
    await assert.rejects(readFile(new Blob([changed]), PASSPHRASE), FileError);
  }
  await rejects(readFile(new Blob([bytes.slice(0, -10)]), PASSPHRASE), 'damaged');
});

test('two photos of an encrypted file cannot change places', async () => {
  const bytes = await bytesOf(await writeFile([series()], PASSPHRASE));
  const size = 4 + 12 + 3 + 16; // length, nonce, photo, tag
  const [rest, one, two] = [bytes.slice(0, -2 * size), bytes.slice(-2 * size, -size), bytes.slice(-size)];
  await rejects(readFile(new Blob([rest, two, one]), PASSPHRASE), 'damaged');
});

test('files of other programs and of newer versions are named', async () => {
  await rejects(readFile(new Blob(['PK\u0003\u0004 a zip file']), null), 'foreign');
  await rejects(readFile(new Blob(['']), null), 'foreign');
  await rejects(readFile(new Blob(['skinserve-history-2\n']), null), 'newer');
});

const WRONG = {
  'an unknown kind': entry({ kind: 'mole' }),
  'no label': entry({ label: '  ' }),
  'a long label': entry({ label: 'x'.repeat(61) }),
  'a label that is no text': entry({ label: { toString: 'x' } }),
  'an id with markup': entry({ id: '"><script>' }),
  'no date': entry({ createdAt: 'yesterday' }),
  'an impossible date': entry({ createdAt: '2026-99-99T00:00:00.000Z' }),
  'a request id with markup': entry({ requestId: '"><script>' }),
  'a request id that is no text': entry({ requestId: { toString: 'x' } }),
  'no photo': entry({ photos: [] }),
  'two photos of a lesion': entry({ photos: [new Blob(['a']), new Blob(['b'])] }),
  'no answer': entry({ answer: null }),
  'an unknown verdict': entry({ answer: { ...ANSWER, verdict: '<b>' } }),
  'an impossible probability': entry({ answer: { ...ANSWER, malignant_probability: 3 } }),
  'an answer for another number of photos': series({ photos: [new Blob(['a'])] }),
  'a position without a photo': series({ answer: { ...series().answer, photos: [{ index: 0 }, { index: 2 }] } }),
};
for (const [what, wrong] of Object.entries(WRONG)) {
  test(`a file with ${what} is rejected`, async () => rejects(readFile(await writeFile([entry(), wrong], null), null), 'damaged'));
}

test('lengths and limits of a file are checked before anything is read', async () => {
  const bytes = await bytesOf(await writeFile([entry()], null));
  const head = 20 + 4 + '{"encryption":null}'.length;
  const longer = bytes.slice();
  longer.set([0xff, 0xff, 0xff, 0xff], head);
  await rejects(readFile(new Blob([longer]), null), 'damaged');
  await rejects(readFile(new Blob([bytes, 'more']), null), 'damaged');
  await rejects(readFile(new Blob([bytes.slice(0, head + 2)]), null), 'damaged');
  await rejects(readFile(new Blob([bytes.slice(0, 22)]), null), 'damaged');
  await rejects(readFile(await writeFile(Array.from({ length: 2001 }, () => entry()), null), null), 'damaged');
});

test('a file cannot make the browser derive a key for hours', async () => {
  const head = JSON.stringify({ encryption: { salt: '00'.repeat(16), iterations: 1e12 } });
  await rejects(readFile(new Blob(['skinserve-history-1\n', new Uint8Array([0, 0, 0, head.length]), head]), 'x'), 'damaged');
});

test('a photo of a file has the type of a photo or none', async () => {
  const file = await writeFile([entry({ photos: [new Blob(['<script>'], { type: 'text/html' })] })], null);
  const [read] = await readFile(file, null);
  assert.equal(read.photos[0].type, '');
});
