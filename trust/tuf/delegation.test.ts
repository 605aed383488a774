import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { covers, delegatesFor } from './delegation.ts';
import type { Targets } from '../tuf-metadata/model.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

const patterns = (...list: string[]) => ({ kind: 'patterns', patterns: list }) as const;

test('a wildcard stays in its folder', () => {
  const rows: [pattern: string, path: string, expected: boolean][] = [
    ['*', 'a', true],
    ['*', 'a/b', false],
    ['a/*', 'a/b', true],
    ['a/*', 'a/b/c', false],
    ['*/*.tar', 'a/b.tar', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['a?c', 'a/c', false],
    ['v[0-9].*', 'v1.2', true],
    ['v[!0-9]', 'v1', false],
    ['v[!0-9]', 'vx', true],
    ['[', '[', true],
    ['A', 'a', false],
    ['', '', true],
    ['**', 'abc', true],
    ['*a*b*c', 'xxaxxbxxc', true],
    ['*a*b*c', 'xxaxxcxxb', false],
  ];
  for (const [pattern, path, expected] of rows)
    assert.equal(covers(patterns(pattern), path), expected, `${pattern} ${path}`);
});

test('a pattern of many wildcards is matched in bounded time', () => {
  const started = processorMs();
  assert.equal(covers(patterns('*a'.repeat(2000)), 'a'.repeat(4000).concat('b')), false);
  assert.ok(processorMs() - started < 2000);
});

test('a pattern without wildcards covers itself alone', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', 'A', '/', '.', 'é', '😀') });
  fc.assert(
    fc.property(name, name, (pattern, path) => covers(patterns(pattern), path) === (pattern === path)),
  );
});

test('hash prefixes and bins partition the paths', () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1, max: 16 }), (path, bits) => {
      const hash = createHash('sha256').update(path).digest('hex');
      assert.equal(covers({ kind: 'hash-prefixes', prefixes: [hash.slice(0, 5).toUpperCase()] }, path), true);
      const role = { keyids: [], threshold: 1, bits, namePrefix: 'bin' };
      const targets = { delegations: { keys: new Map(), roles: [], succinct: role } } as unknown as Targets;
      const digits = Math.ceil(bits / 4);
      const bin = (Number.parseInt(hash.slice(0, 8), 16) >>> (32 - bits)).toString(16).padStart(digits, '0');
      assert.deepEqual(delegatesFor(targets, path), [{ name: `bin-${bin}`, terminating: true }]);
    }),
  );
});

test('a delegation of Notary covers prefixes, and the empty prefix covers all paths', () => {
  assert.equal(covers({ kind: 'prefixes', prefixes: [''] }, 'anything'), true);
  assert.equal(covers({ kind: 'prefixes', prefixes: ['rel'] }, 'release'), true);
  assert.equal(covers({ kind: 'prefixes', prefixes: ['rel'] }, 'other'), false);
  assert.equal(covers({ kind: 'prefixes', prefixes: [] }, 'other'), false);
});
