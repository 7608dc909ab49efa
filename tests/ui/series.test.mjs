import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as series from '../../ui/static/series.js';

const LIMITS = { minPhotos: 2, maxPhotos: 4, maxPhotoBytes: 1000, maxRequestBytes: 4000 };

const photo = (id, changes = {}) => ({ id, bytes: 500, isUnreadable: false, ...changes });
const item = (id, takenAt = null, changes = {}) => ({ ...series.newItem(id), takenAt, ...changes });
const ids = (items) => items.map(({ id }) => id).join('');
const reports = (...times) => times.map((taken_at, index) => ({ index, taken_at }));

test('photos that are too few, too many, unreadable or too large are found before a request', () => {
  const code = (...photos) => series.findProblem(photos, LIMITS)?.code;
  assert.equal(code(), 'too_few');
  assert.equal(code(photo('a')), 'too_few');
  assert.equal(code(photo('a'), photo('b')), undefined);
  assert.equal(code(photo('a', { bytes: 1001 }), photo('b')), 'too_large');
  assert.equal(code(...'abcd'.split('').map((id) => photo(id, { bytes: 900 }))), 'total_too_large');
  assert.deepEqual(series.findProblem('abcdef'.split('').map((id) => photo(id)), LIMITS), {
    code: 'too_many',
    ids: [],
    count: 2,
  });
});

test('all unreadable photos are named together, so that one press leaves them out', () => {
  const photos = [photo('a'), photo('b', { isUnreadable: true }), photo('c', { isUnreadable: true })];
  assert.deepEqual(series.findProblem(photos, LIMITS), { code: 'unreadable', ids: ['b', 'c'], count: 2 });
});

test('recorded times are left to the API, which knows their zones', () => {
  const items = [item('a', '2026-03-09T18:30:00'), item('b', '2026-03-01T10:00:00')];
  assert.deepEqual(series.nextRequest(items, 'dates'), { items, times: [] });
});

test('with an entered date all times are sent, oldest first', () => {
  const items = [item('a', '2026-03-09T18:30:00'), item('b', '2026-03-01T12:00:00', { isEntered: true })];
  const request = series.nextRequest(items, 'dates');
  assert.equal(ids(request.items), 'ba');
  assert.deepEqual(request.times, ['2026-03-01T12:00:00', '2026-03-09T18:30:00']);
});

test('without all dates none is sent, and photos that are left out are not sent', () => {
  const items = [item('a', '2026-03-09T12:00:00', { isEntered: true }), item('b'), item('c', null, { isLeftOut: true })];
  const request = series.nextRequest(items, 'dates');
  assert.deepEqual([ids(request.items), request.times], ['ab', []]);
});

test('a chosen order is sent as rising times and shown with the known dates', () => {
  const items = Array.from({ length: 70 }, (_, index) => item(`p${index}`, index === 3 ? '2020-01-01T00:00:00' : null));
  const request = series.nextRequest(items, 'order');
  assert.deepEqual([...request.times].sort(), request.times);
  assert.equal(new Set(request.times).size, 70);
  assert.ok(request.times.every((time) => !Number.isNaN(Date.parse(time))));
  const answer = { order: 'taken_at', photos: reports(...request.times) };
  const shown = series.withChosenOrder(answer, request);
  assert.equal(shown.order, 'upload');
  assert.deepEqual(shown.photos.slice(2, 5), [
    { index: 2, taken_at: null },
    { index: 3, taken_at: '2020-01-01T00:00:00' },
    { index: 4, taken_at: null },
  ]);
});

test('recorded times of an answer are kept without zone and sort the photos', () => {
  const items = [item('a'), item('b')];
  const request = series.nextRequest(items, 'dates');
  const answer = {
    order: 'exif',
    photos: [
      { index: 1, taken_at: '2026-03-01T10:00:00.25+02:00' },
      { index: 0, taken_at: '2026-03-09T18:30:00+02:00' },
    ],
  };
  const known = series.withRecordedTimes(items, request, answer);
  assert.equal(ids(known), 'ba');
  assert.deepEqual(known.map(({ takenAt }) => takenAt), ['2026-03-01T10:00:00', '2026-03-09T18:30:00']);
  assert.equal(series.stepAfter(known, request), 'show');
});

test('missing times are asked for, and an entered one outlives the next answer', () => {
  const items = [item('a', '2026-03-05T12:00:00', { isEntered: true }), item('b')];
  const request = series.nextRequest(items, 'dates');
  const ask = series.withRecordedTimes(items, request, { order: 'upload', photos: reports(null, null) });
  assert.deepEqual([ask[0].takenAt, ask[1].takenAt, ask[1].isKnown], ['2026-03-05T12:00:00', null, true]);
  assert.equal(series.stepAfter(ask, request), 'ask');

  const dated = series.withRecordedTimes(items, request, { order: 'upload', photos: reports(null, '2026-03-07T09:00:00') });
  assert.equal(series.stepAfter(dated, request), 'again');
  const again = series.nextRequest(dated, 'dates');
  assert.deepEqual(again.times, ['2026-03-05T12:00:00', '2026-03-07T09:00:00']);
  assert.equal(series.stepAfter(dated, again), 'show');
});

test('times that were sent do not count as recorded', () => {
  const items = [item('a', '2026-03-05T12:00:00', { isEntered: true }), item('b')];
  const request = series.nextRequest(items, 'order');
  const known = series.withRecordedTimes(items, request, { order: 'taken_at', photos: reports(...request.times) });
  assert.deepEqual(known, items);
});

test('known dates against the order are found across undated photos', () => {
  assert.equal(series.isAgainstDates([item('a', '2026-04-10T00:00:00'), item('b'), item('c', '2026-01-05T00:00:00')]), true);
  assert.equal(series.isAgainstDates([item('a', '2026-01-05T00:00:00'), item('b'), item('c', '2026-01-05T00:00:00')]), false);
});

test('a moved photo changes place, and not over an end', () => {
  const items = [item('a'), item('b'), item('c')];
  assert.equal(ids(series.move(items, 2, 1)), 'acb');
  assert.equal(ids(series.move(items, 0, -1)), 'abc');
  assert.equal(ids(series.move(items, 2, 3)), 'abc');
  assert.equal(ids(items), 'abc');
});

test('the time of a day stays when its date is entered again', () => {
  const recorded = item('a', '2026-03-09T18:30:00');
  assert.equal(series.withDay(recorded, '2026-03-09'), recorded);
  assert.deepEqual(series.withDay(recorded, '2026-03-08').takenAt, '2026-03-08T12:00:00');
  const deleted = series.withDay(recorded, '');
  assert.deepEqual([deleted.takenAt, deleted.isEntered, series.dayOf(deleted)], [null, true, '']);
});

test('photos of the same time keep their order', () => {
  const same = '2026-03-09T12:00:00';
  assert.equal(ids(series.sortByTime([item('b', same), item('a', same), item('c', '2026-03-08T12:00:00')])), 'cba');
});

test('a kept answer brings its order back; dates that the photos do not record count as entered', () => {
  const photos = [{ index: 1, taken_at: '2026-03-01T10:00:00.5+02:00' }, { index: 0, taken_at: '2026-03-09T12:00:00' }];
  const recorded = series.keptItems(['a', 'b'], { order: 'exif', photos });
  assert.equal(ids(recorded), 'ba');
  assert.deepEqual(recorded.map(({ takenAt, isEntered }) => [takenAt, isEntered]), [['2026-03-01T10:00:00', false], ['2026-03-09T12:00:00', false]]);
  assert.ok(series.keptItems(['a', 'b'], { order: 'taken_at', photos }).every(({ isEntered, isKnown }) => isEntered && isKnown));
  const undated = series.keptItems(['a', 'b'], { order: 'upload', photos: reports(null, null) });
  assert.deepEqual(undated.map(({ takenAt, isEntered }) => [takenAt, isEntered]), [[null, false], [null, false]]);
});

test('new photos come last and removed ones go', () => {
  const items = [item('b', '2026-03-09T12:00:00'), item('a')];
  const changed = series.withPhotos(items, ['a', 'c', 'b']);
  assert.deepEqual(changed, [items[0], items[1], item('c')]);
  assert.equal(ids(series.withPhotos(changed, ['c'])), 'c');
});

test('the photo that the API rejects is read from the start of its message', () => {
  assert.equal(series.photoNumber('photo 12: the file is empty (0 bytes); send the file itself'), 12);
  assert.equal(series.photoNumber('Foto 3 : leer'), 3);
  assert.equal(series.photoNumber('no face was found in any of the 2 photos: send others'), null);
  assert.equal(series.photoNumber('31 photos were sent: at most 30'), null);
});
