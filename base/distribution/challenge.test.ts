import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseChallenges } from './challenge.ts';

const negotiateAndBasic = [
  { scheme: 'negotiate', params: {} },
  { scheme: 'basic', params: { realm: 'x' } },
];
const table: readonly (readonly [header: string, challenges: unknown])[] = [
  ['', []],
  ['Basic realm="a b"', [{ scheme: 'basic', params: { realm: 'a b' } }]],
  [
    'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"',
    [
      {
        scheme: 'bearer',
        params: {
          realm: 'https://auth.example/token',
          service: 'registry.example',
          scope: 'repository:a/b:pull,push',
        },
      },
    ],
  ],
  ['BEARER Realm=plain , Service = "x"', [{ scheme: 'bearer', params: { realm: 'plain', service: 'x' } }]],
  [
    'Negotiate, Basic realm="x", Bearer realm="y"',
    [
      { scheme: 'negotiate', params: {} },
      { scheme: 'basic', params: { realm: 'x' } },
      { scheme: 'bearer', params: { realm: 'y' } },
    ],
  ],
  ['Negotiate YWJj==, Basic realm="x"', negotiateAndBasic],
  [
    'Bearer realm="quote \\" and comma, inside"',
    [{ scheme: 'bearer', params: { realm: 'quote " and comma, inside' } }],
  ],
  ['Bearer realm="never closed', [{ scheme: 'bearer', params: {} }]],
  [`Bearer realm="${'x'.repeat(9000)}"`, []],
];

describe('WWW-Authenticate', () => {
  for (const [header, challenges] of table) {
    it(header.slice(0, 60) || '(empty)', () => assert.deepEqual(parseChallenges([header]), challenges));
  }

  it('may be repeated', () => {
    assert.deepEqual(parseChallenges(['Negotiate', 'Basic realm="x"']), negotiateAndBasic);
    assert.deepEqual(parseChallenges(Array.from({ length: 1000 }, () => 'Basic')), []);
  });

  it('is parsed without an exception, whatever its text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from('ab=", \t\\;/')), maxLength: 200 }),
        (header) => Array.isArray(parseChallenges([header])),
      ),
    );
  });
});
