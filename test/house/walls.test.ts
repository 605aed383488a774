import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readLayers } from './layers.ts';

const root = join(import.meta.dirname, '../..');

/** Each rule of .dependency-cruiser.cjs, with a file that violates only this rule. */
const violations: { rule: string; file: string; imports: string }[] = [
  { rule: 'base-knows-no-room', file: 'base/errors/planted.ts', imports: '../../trust/index.ts' },
  { rule: 'leaves-use-base-only', file: 'trust/planted.ts', imports: '../entitlements/index.ts' },
  { rule: 'leaves-use-base-only', file: 'entitlements/planted.ts', imports: '../cni-plugins/index.ts' },
  { rule: 'leaves-use-base-only', file: 'cni-plugins/planted.ts', imports: '../runtime/index.ts' },
  { rule: 'fleet-uses-base-and-trust', file: 'fleet/planted.ts', imports: '../entitlements/index.ts' },
  {
    rule: 'admission-uses-base-trust-and-entitlements',
    file: 'admission/planted.ts',
    imports: '../runtime/index.ts',
  },
  { rule: 'runtime-is-not-a-client', file: 'runtime/planted.ts', imports: '../cli/inner.ts' },
  { rule: 'runtime-is-not-a-client', file: 'runtime/other.ts', imports: '../node/inner.ts' },
  { rule: 'node-is-a-client', file: 'node/planted.ts', imports: '../trust/index.ts' },
  { rule: 'only-by-the-entry-point', file: 'runtime/planted.ts', imports: '../trust/inner.ts' },
  {
    rule: 'only-by-the-entry-point',
    file: 'runtime/images/planted.ts',
    imports: '../../base/errors/inner.ts',
  },
  { rule: 'only-by-the-entry-point', file: 'cli/planted.ts', imports: '../runtime/inner.ts' },
  { rule: 'only-by-the-entry-point', file: 'base/log/planted.ts', imports: '../errors/inner.ts' },
  { rule: 'only-by-the-entry-point', file: 'trust/policy/planted.ts', imports: '../../base/errors/inner.ts' },
  { rule: 'cli-is-outermost', file: 'bench/planted.ts', imports: '../cli/inner.ts' },
  { rule: 'no-test-code-in-the-product', file: 'trust/planted.ts', imports: '../test/inner.ts' },
  { rule: 'no-test-code-in-the-product', file: 'runtime/planted.ts', imports: '../trust/fixtures/inner.ts' },
  { rule: 'entry-point-on-top', file: 'trust/policy/planted.ts', imports: '../index.ts' },
  { rule: 'no-cycles', file: 'base/errors/inner.ts', imports: './index.ts' },
  { rule: 'no-unresolvable', file: 'cli/planted.ts', imports: './nowhere.ts' },
  { rule: 'koffi-in-one-place', file: 'runtime/planted.ts', imports: 'koffi' },
  { rule: 'no-dev-packages-in-the-product', file: 'cli/planted.ts', imports: 'fast-check' },
];

/** Imports that every rule allows. */
const allowed: { file: string; imports: string }[] = [
  { file: 'trust/fine.ts', imports: '../base/errors/index.ts' },
  { file: 'base/process/koffi.ts', imports: 'koffi' },
  { file: 'fleet/fine.ts', imports: '../trust/index.ts' },
  { file: 'runtime/fine.ts', imports: '../cni-plugins/index.ts' },
  { file: 'runtime/images/fine.ts', imports: './inner.ts' },
  { file: 'cli/fine.ts', imports: '../runtime/index.ts' },
  { file: 'node/fine.ts', imports: '../runtime/index.ts' },
  { file: 'base/storage/fine.ts', imports: '../errors/index.ts' },
  { file: 'trust/fine.test.ts', imports: '../test/inner.ts' },
  { file: 'trust/other.test.ts', imports: 'fast-check' },
  { file: 'trust/fixtures/fine.ts', imports: 'fast-check' },
  { file: 'cli/fixtures.test.ts', imports: '../trust/fixtures/inner.ts' },
  { file: 'bench/fine.ts', imports: '../runtime/images/inner.ts' },
];

const folders = [
  'base/errors',
  'base/log',
  'trust/policy',
  'trust/fixtures',
  'entitlements',
  'cni-plugins',
  'fleet',
  'admission',
  'runtime/images',
  'node',
  'cli',
  'bench',
  'test',
];

describe('import rules between the rooms', () => {
  let house = '';

  before(() => {
    house = mkdtempSync(join(tmpdir(), 'portcullis-walls-'));
    for (const name of ['.dependency-cruiser.cjs', 'package.json', 'tsconfig.json', 'test/house/layers.json'])
      cpSync(join(root, name), join(house, name));
    symlinkSync(join(root, 'node_modules'), join(house, 'node_modules'));
    for (const folder of folders) plant(`${folder}/inner.ts`, 'export const inner = 1;\n');
    for (const room of [
      'base/errors',
      'base/log',
      'trust',
      'entitlements',
      'cni-plugins',
      'fleet',
      'admission',
      'runtime',
      'node',
      'test',
    ]) {
      plant(`${room}/inner.ts`, 'export const inner = 1;\n');
      plant(`${room}/index.ts`, "export { inner } from './inner.ts';\n");
    }
  });
  after(() => rmSync(house, { recursive: true }));

  function plant(file: string, text: string): void {
    mkdirSync(dirname(join(house, file)), { recursive: true });
    writeFileSync(join(house, file), text);
  }

  function rulesBroken(): string[] {
    const run = spawnSync(
      join(root, 'node_modules/.bin/node'),
      [
        join(root, 'node_modules/.bin/depcruise'),
        '--config',
        '.dependency-cruiser.cjs',
        '--output-type',
        'json',
        ...new Set(folders.map((folder) => folder.split('/')[0] ?? '')),
      ],
      { cwd: house, encoding: 'utf8', maxBuffer: 2 ** 26 },
    );
    const { summary } = JSON.parse(run.stdout) as { summary: { violations: { rule: { name: string } }[] } };
    return summary.violations.map((violation) => violation.rule.name);
  }

  it('accept allowed imports', () => {
    for (const { file, imports } of allowed) plant(file, `import '${imports}';\n`);
    assert.deepEqual(rulesBroken(), []);
    for (const { file } of allowed) rmSync(join(house, file));
  });

  for (const { rule, file, imports } of violations) {
    it(`${rule}: ${file} may not import ${imports}`, () => {
      const replaced = file.endsWith('inner.ts');
      plant(file, `import '${imports}';\nexport const inner = 1;\n`);
      assert.ok(rulesBroken().includes(rule));
      if (replaced) plant(file, 'export const inner = 1;\n');
      else rmSync(join(house, file));
    });
  }

  for (const [room, layers] of Object.entries(readLayers())) {
    const [[lowest] = [], ...above] = layers;
    const highest = above.at(-1)?.[0];
    if (lowest === undefined || highest === undefined) continue;
    const [low, high] = [lowest, highest].map((folder) =>
      join(folder.replace('/<root>', ''), 'planted.ts'),
    ) as [string, string];
    const importOf = (from: string, to: string): string =>
      relative(dirname(from), to).replace(/^(?!\.)/u, './');

    it(`layer-1-of-${room}: ${lowest} may not import ${highest}`, () => {
      plant(low, `import '${importOf(low, high)}';\n`);
      plant(high, 'export const inner = 1;\n');
      assert.ok(rulesBroken().includes(`layer-1-of-${room}`));
      rmSync(join(house, low));
      rmSync(join(house, high));
    });

    it(`layers of ${room}: ${highest} may import ${lowest}`, () => {
      plant(high, `import '${importOf(high, low)}';\n`);
      plant(low, 'export const inner = 1;\n');
      assert.deepEqual(rulesBroken(), room === 'base' ? ['only-by-the-entry-point'] : []);
      rmSync(join(house, low));
      rmSync(join(house, high));
    });
  }

  it('no-cycles: also for type imports', () => {
    plant(
      'base/errors/inner.ts',
      "import type { inner as own } from './index.ts';\nexport const inner = 1;\nexport type Inner = typeof own;\n",
    );
    assert.deepEqual([...new Set(rulesBroken())], ['no-cycles']);
    plant('base/errors/inner.ts', 'export const inner = 1;\n');
  });
});
