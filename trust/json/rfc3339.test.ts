import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readRfc3339 } from './rfc3339.ts';

describe('a time of RFC 3339', () => {
  for (const [text, time] of [
    ['1970-01-01T00:00:00Z', 0],
    ['1970-01-01T01:00:00+01:00', 0],
    ['2024-02-29T23:59:59.123456789Z', Date.UTC(2024, 1, 29, 23, 59, 59, 123)],
    ['0001-01-01T00:00:00Z', Date.parse('0001-01-01T00:00:00Z')],
  ] as const)
    it(`is read: ${text}`, () => {
      assert.equal(readRfc3339(text), time);
    });

  for (const value of [
    '2024-02-30T00:00:00Z',
    '2023-02-29T00:00:00Z',
    '2024-13-01T00:00:00Z',
    '2024-01-00T00:00:00Z',
    '2024-01-01T24:00:00Z',
    '2024-01-01T00:60:00Z',
    '2024-01-01T23:59:60Z',
    '2024-01-01T00:00:00',
    '2024-01-01T00:00:00+24:00',
    '2024-01-01 00:00:00Z',
    '2024-01-01t00:00:00z',
    '2024-01-01T00:00:00.Z',
    ' 2024-01-01T00:00:00Z',
    '2024-01-01T00:00:00Z\n',
    0,
    null,
    undefined,
    new Date(0),
  ])
    it(`is refused: ${JSON.stringify(value)}`, () => {
      assert.equal(readRfc3339(value), undefined);
    });
});
