import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { matchesPath } from '../files/automaton.ts';
import { patternOf } from '../files/pattern-of.ts';
import { appArmorPathPattern } from './apparmor-variables.ts';

/** Each pattern with paths that `apparmor_parser` 3.0.8 matches, and paths that it does not match. */
const patterns: readonly (readonly [text: string, matched: readonly string[], others: readonly string[]])[] =
  [
    ['/x/*', ['/x/a'], ['/x/', '/x/a/b']],
    ['/x/***', ['/x/a', '/x/a/b'], ['/x/']],
    ['/x[^a]**', ['/x/', '/x/a', '/xb/c'], ['/xa', '/x']],
    ['/x[^/a]', ['/xb'], ['/x/', '/xa']],
    ['/x[^-9]', ['/xa', '/x/'], ['/x-', '/x9']],
    ['/x[^+-9]', ['/xa'], ['/x/', '/x5', '/x+']],
    ['/x[\\^a]', ['/xb', '/x/'], ['/xa']],
    ['/x[a\\-c]', ['/xb'], ['/x-', '/xd']],
    ['/x[-a]', ['/x-', '/xa'], ['/xb', '/x/']],
    ['/x[\\]^]', ['/x]', '/x^'], ['/xa', '/x\\']],
    ['/x\\054y\\173', ['/x,y{'], ['/x054y{']],
    ['/x{a,{b,/}}**', ['/xa', '/x/', '/x/c'], ['/xc']],
  ];

describe('a pattern of AppArmor', () => {
  for (const [text, matched, others] of patterns)
    it(`matches the same paths as a pattern of a profile: ${text}`, () => {
      const pattern = patternOf(appArmorPathPattern(text) ?? '');
      for (const path of matched) assert.ok(matchesPath(pattern, path), path);
      for (const path of others) assert.ok(!matchesPath(pattern, path), path);
    });

  it('is not known with the code of another character, or with an unknown variable', () => {
    for (const text of ['/x\\n', '/x\\x41', '/x\\d065', '/x\\303\\244', '/x[\\012a]', '@{HOME}/x'])
      assert.equal(appArmorPathPattern(text), undefined, text);
  });
});
