import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { findAppArmorParser } from '../../base/process/index.ts';
import { matchesPath } from '../files/automaton.ts';
import { arbitraryPatterns } from '../files/fixtures/arbitrary-pattern.ts';
import { patternOf } from '../files/pattern-of.ts';
import { readCompiledPolicy } from './compiled-policy.ts';
import { appArmorPattern } from './file-rules.ts';

const parser = findAppArmorParser();
const skip = parser === undefined && 'apparmor_parser is not installed';
/** AA_MAY_READ of the owner's half (security/apparmor/include/file.h). */
const MAY_READ = 4;

/** Returns, by pattern, whether the kernel's automaton of a rule on it grants reading a path. */
function compiled(patterns: readonly string[]): ((path: string) => boolean)[] {
  const folder = mkdtempSync(join(tmpdir(), 'apparmor-'));
  try {
    const file = join(folder, 'all');
    writeFileSync(
      file,
      patterns
        .map(
          (pattern, at) => `profile p${String(at).padStart(6, '0')} {\n${appArmorPattern(pattern)} r,\n}\n`,
        )
        .join(''),
    );
    const base = parser?.base ?? '';
    const said = spawnSync(
      parser?.program ?? '',
      [
        ...['--skip-kernel-load', '--skip-cache', '--quiet', '--stdout', '--config-file', '/dev/null'],
        ...['--base', base, '--features-file', join(base, 'abi/3.0'), file],
      ],
      { maxBuffer: 1 << 28 },
    );
    assert.equal(said.status, 0, said.stderr.toString());
    const profiles = readCompiledPolicy(said.stdout).sort((a, b) => (a.name < b.name ? -1 : 1));
    assert.equal(profiles.length, patterns.length);
    return profiles.map(({ files }) => (path) => {
      let state = 1;
      for (const byte of Buffer.from(path)) state = files?.next(state, byte) ?? 0;
      return ((files?.accepts(state) ?? 0) & MAY_READ) !== 0;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('a path pattern in the syntax of AppArmor', { skip }, () => {
  it('matches in a class only the characters of the class', () => {
    const letters = Array.from({ length: 0x7f - 0x20 }, (_, at) => String.fromCharCode(0x20 + at));
    const classes = ['+-', '%-a', '^', '^a', '^-', '+^-', 'a-', ']-', '\\-^', ',{-', '*?-', '".-', '!-~'].map(
      (members) => Array.from(members, (member) => `\\${member}`).join(''),
    );
    const patterns = classes.flatMap((members) => [`/x[${members}]`, `/x[^${members}]`]);
    compiled(patterns).forEach((grants, at) => {
      const pattern = patterns[at] ?? '';
      for (const letter of letters) {
        const path = `/x${letter}`;
        assert.equal(grants(path), matchesPath(patternOf(pattern), path), `${pattern} and ${path}`);
      }
    });
  });

  it('matches the same paths as the pattern, for random patterns', () => {
    const alphabet = ['a', 'b', '-', '^', '+', '.', ',', '/', '/'];
    const patterns = fc.sample(arbitraryPatterns(fc), { numRuns: 150, seed: 1 });
    const paths = fc.sample(
      fc
        .array(fc.constantFrom(...alphabet), { minLength: 1, maxLength: 7 })
        .map((letters) => `/${letters.join('')}`.replaceAll(/\/{2,}/g, '/'))
        .filter((path) => !/\/\.\.?(\/|$)/.test(path)),
      { numRuns: 300, seed: 2 },
    );
    compiled(patterns).forEach((grants, at) => {
      const pattern = patterns[at] ?? '';
      for (const path of paths)
        assert.equal(grants(path), matchesPath(patternOf(pattern), path), `${pattern} and ${path}`);
    });
  });
});
