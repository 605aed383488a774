import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSigningConfig } from './signing-config.ts';

const now = new Date('2026-11-20T12:00:00Z');

interface Log {
  readonly url: string;
  readonly majorApiVersion: number;
  readonly operator?: string;
  readonly validFor?: unknown;
}

function logsOf(rekorTlogUrls: readonly Log[], rekorTlogConfig: object): readonly string[] {
  const mediaType = 'application/vnd.dev.sigstore.signingconfig.v0.2+json';
  const config = { mediaType, rekorTlogUrls, rekorTlogConfig };
  return parseSigningConfig(
    Buffer.from(JSON.stringify(config)),
    'signing_config.json',
    now,
  ).witnesses.logs.map(({ url }) => new URL(url).hostname);
}

const log = (name: string, majorApiVersion: number, year: number, operator = 'a.example'): Log => ({
  url: `https://${name}.example`,
  majorApiVersion,
  operator,
  validFor: { start: `${year}-01-01T00:00:00Z` },
});
const any = { selector: 'ANY' };

test('the highest supported API version wins over a newer service', () => {
  assert.deepEqual(logsOf([log('v1', 1, 2026), log('v2', 2, 2025)], any), ['v2.example']);
  assert.deepEqual(logsOf([log('v1', 1, 2026), log('v9', 9, 2025)], any), ['v1.example']);
  assert.deepEqual(logsOf([log('v1', 1, 2026), log('later', 2, 2027)], any), ['v1.example']);
});

test('ALL takes the newest service of each operator', () => {
  const logs = [log('old', 2, 2024), log('new', 2, 2025), log('other', 2, 2023, 'b.example')];
  assert.deepEqual(logsOf(logs, { selector: 'ALL' }), ['new.example', 'other.example']);
  const unnamed = logs.map((one) => ({ ...one, operator: '' }));
  assert.equal(logsOf(unnamed, { selector: 'ALL' }).length, 3);
});

test('a period without an end may say so as null, as JSON of protobuf may', () => {
  const open = (validFor: unknown): Log => ({ ...log('v2', 2, 2025), validFor });
  for (const validFor of [null, {}, { start: null, end: null }, { start: '2025-01-01T00:00:00Z', end: null }])
    assert.deepEqual(logsOf([open(validFor)], any), ['v2.example'], JSON.stringify(validFor));
  assert.throws(() => logsOf([open({ end: 7 })], any), /none is valid now/);
});
