import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { findPath, matchesPath } from './automaton.ts';
import { allPaths, arbitraryPatterns, asRegExp } from './fixtures/arbitrary-pattern.ts';
import { meetPatterns } from './meet-patterns.ts';
import { parsePathPattern } from './path-pattern.ts';
import { patternOf } from './pattern-of.ts';

const seed = 6;
const runs = Number(process.env['PORTCULLIS_LATTICE_RUNS'] ?? 1_000);
const patterns = arbitraryPatterns(fc);
const paths = allPaths(6);

/** Returns the meaning of a pattern, computed both by the automaton and by a regular expression. */
const matching = (pattern: string): Set<string> => {
  const expression = asRegExp(pattern);
  return new Set(paths.filter((path) => expression.test(path)));
};

describe('path patterns', () => {
  it('of any accepted length have a meet, or are refused as too complex', () => {
    const long = `/${'a'.repeat(4094)}`;
    assert.deepEqual(meetPatterns(`${long.slice(0, -1)}*`, '/**b'), [`${long.slice(0, -1)}*b`]);
    assert.deepEqual(meetPatterns(`/${'é'.repeat(2000)}**`, '/*/b'), [`/${'é'.repeat(2000)}*/b`]);
    for (const [a, b] of [
      [`/${'a/'.repeat(2000)}**`, '/*a*/**/b'],
      [`/${'?'.repeat(4000)}*`, `/${'*a'.repeat(40)}`],
      [`/${'*a'.repeat(2000)}`, `/${'a*'.repeat(2000)}`],
    ] as const)
      try {
        meetPatterns(a, b);
      } catch (thrown) {
        assert.ok(isPortcullisError(thrown) && thrown.code === 'ENTITLEMENTS_TOO_COMPLEX', String(thrown));
      }
  });

  for (const [text, at, message] of [
    ['app', 0, /begins with \//],
    ['', 0, /begins with \//],
    ['/a//b', 2, /empty component/],
    ['/a/../b', 2, /empty component/],
    ['/a/.', 2, /empty component/],
    ['/a{b', 2, /`{` without a `}`/],
    ['/a{b,{c,d}', 2, /`{` without a `}`/],
    ['/a}', 2, /`}` without a `{`/],
    ['/a]', 2, /`\]` without a `\[`/],
    ['/a{b}', 2, /only one alternative/],
    ['/a{}', 2, /only one alternative/],
    ['/a[', 2, /`\[` without a `\]`/],
    ['/a[]', 2, /contains no character/],
    ['/a[/]', 2, /cannot contain `\/`/],
    ['/a[ä]', 3, /only ASCII/],
    ['/a[z-a]', 4, /ends before it begins/],
    ['/a\\', 2, /nothing follows/],
    ['/a\n', 2, /control characters/],
    ['/a\0', 2, /control characters/],
    ['/\ud800', 1, /surrogates/],
    [`/${'{a,'.repeat(9)}b${'}'.repeat(9)}`, 25, /more than 8 deep/],
    [`/${'a'.repeat(5000)}`, 4096, /longer than 4096/],
  ] as const) {
    it(`${JSON.stringify(text.slice(0, 20))} is refused at ${at}`, () => {
      const found = parsePathPattern(text);
      assert.ok('problem' in found);
      assert.equal(found.problem.at, at);
      assert.match(found.problem.message, message);
      assert.notEqual(found.problem.fix, '');
    });
  }

  for (const [pattern, yes, no] of [
    ['/app/**', ['/app/', '/app/x', '/app/x/y/'], ['/app', '/apps', '/']],
    ['/app/*', ['/app/', '/app/x'], ['/app/x/', '/app/x/y']],
    ['/**', ['/', '/x'], []],
    ['/a?c', ['/abc'], ['/ac', '/a/c']],
    ['/[a-c][^x]', ['/ay', '/c-'], ['/ax', '/dy', '/a/']],
    ['/{usr/,}bin/{sh,b{a,o}sh}', ['/bin/sh', '/usr/bin/bash', '/bin/bosh'], ['/bin/bsh', '/usr/sh']],
    ['/\\*\\{x\\,\\\\', ['/*{x,\\'], ['/a{x,\\']],
    ['/ä?', ['/äx'], ['/ä', '/äxx']],
    ['/a,b', ['/a,b'], ['/a', '/b']],
  ] as const) {
    it(`${pattern} matches what it says`, () => {
      for (const path of yes) assert.ok(matchesPath(patternOf(pattern), path), path);
      for (const path of no) assert.ok(!matchesPath(patternOf(pattern), path), path);
    });
  }

  it('mean the same to the automaton as to a regular expression', () => {
    fc.assert(
      fc.property(patterns, (pattern) => {
        const parsed = patternOf(pattern);
        const expected = matching(pattern);
        const sample = paths.filter((_, at) => at % 7 === 0);
        for (const path of sample)
          assert.equal(matchesPath(parsed, path), expected.has(path), `${pattern} ${path}`);
        const first = findPath([{ pattern: parsed, tag: 0 }], (is) => is(0));
        assert.ok(first === undefined ? expected.size === 0 : asRegExp(pattern).test(first), pattern);
      }),
      { seed, numRuns: 300 },
    );
  });

  it('have an exact intersection, which is again patterns, and an exact difference', () => {
    let refused = 0;
    fc.assert(
      fc.property(patterns, patterns, (a, b) => {
        const [ours, theirs] = [matching(a), matching(b)];
        try {
          const met = meetPatterns(a, b).map(matching);
          for (const path of paths) {
            const both = ours.has(path) && theirs.has(path);
            assert.equal(
              met.some((one) => one.has(path)),
              both,
              `${a} ∩ ${b}: ${path}`,
            );
          }
          const tagged = [
            { pattern: patternOf(a), tag: 0 },
            { pattern: patternOf(b), tag: 1 },
          ];
          const beyond = findPath(tagged, (is) => is(0) && !is(1));
          if (beyond === undefined) assert.ok([...ours].every((path) => theirs.has(path)));
          else assert.ok(asRegExp(a).test(beyond) && !asRegExp(b).test(beyond), `${a} - ${b}: ${beyond}`);
        } catch (error) {
          if (!isPortcullisError(error) || error.code !== 'ENTITLEMENTS_TOO_COMPLEX') throw error;
          refused += 1;
        }
      }),
      { seed, numRuns: runs },
    );
    assert.ok(refused < runs / 20, `${refused} refused`);
  });

  it('never take long: a question that divides into too many cases is refused', () => {
    const hostile = [
      `/**a${'?'.repeat(40)}`,
      `/${'{*a,b*}'.repeat(300)}`,
      `/${'*a'.repeat(1000)}`,
      `/{${Array.from({ length: 700 }, (_, at) => `a${at}`).join(',')}}`,
      `/${'{a,b}'.repeat(800)}`,
      `/${'**x'.repeat(60)}`,
    ];
    for (const [at, a] of hostile.entries()) {
      for (const b of hostile.slice(at, at + 2)) {
        const begin = process.cpuUsage();
        try {
          meetPatterns(a, b.replace('/', '/?'));
        } catch (error) {
          assert.ok(isPortcullisError(error) && error.code === 'ENTITLEMENTS_TOO_COMPLEX', String(error));
        }
        const used = process.cpuUsage(begin);
        assert.ok(
          used.user + used.system < 2_000_000,
          `${a.slice(0, 20)} and ${b.slice(0, 20)}: ${used.user + used.system} µs`,
        );
      }
    }
  });

  it('of mutated text are read, or refused with a position', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 40 }),
        fc.array(fc.constantFrom(...Array.from('/*?[]{},\\^-a.')), { maxLength: 40 }),
        (noise, marks) => {
          for (const text of [noise, `/${noise}`, `/${marks.join('')}`]) {
            const found = parsePathPattern(text);
            if ('problem' in found) assert.ok(found.problem.at >= 0 && found.problem.at <= text.length);
            else assert.ok(text.startsWith('/'));
          }
        },
      ),
      { seed, numRuns: 3_000 },
    );
  });
});
