import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'node:test';
import { readLayers } from './layers.ts';

const root = join(import.meta.dirname, '../..');

/** Each rule of .dependency-cruiser.cjs, with a file that violates only this rule. */
const violations: { rule: string; file: string; imports: string }[] = [
  { rule: 'base-imports-no-module', file: 'base/errors/planted.ts', imports: '../../trust/index.ts' },
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
  { rule: 'only-by-the-entry-point', file: 'admission/planted.ts', imports: '../trust/gate/admit.ts' },
  { rule: 'only-by-the-entry-point', file: 'fleet/planted.ts', imports: '../trust/json/index.ts' },
  { rule: 'only-by-the-entry-point', file: 'base/log/planted.ts', imports: '../errors/inner.ts' },
  { rule: 'only-by-the-entry-point', file: 'trust/policy/planted.ts', imports: '../../base/errors/inner.ts' },
  { rule: 'cli-is-outermost', file: 'bench/planted.ts', imports: '../cli/inner.ts' },
  { rule: 'no-test-code-in-the-product', file: 'trust/planted.ts', imports: '../test/inner.ts' },
  { rule: 'no-test-code-in-the-product', file: 'runtime/planted.ts', imports: '../trust/fixtures/inner.ts' },
  { rule: 'entry-point-on-top', file: 'trust/policy/planted.ts', imports: '../index.ts' },
  { rule: 'entry-point-on-top', file: 'trust/planted.ts', imports: './gate/index.ts' },
  { rule: 'entry-point-on-top', file: 'trust/gate/planted.ts', imports: './index.ts' },
  { rule: 'entry-point-on-top', file: 'trust/transfer/index.ts', imports: '../gate/index.ts' },
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
  { file: 'admission/fine.ts', imports: '../trust/gate/index.ts' },
  { file: 'trust/gate/index.ts', imports: './admit.ts' },
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
  'trust/gate',
  'trust/json',
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

/** Modules, and folders of base, with an entry point. */
const entered = [
  'base/errors',
  'base/log',
  'trust',
  'trust/gate',
  'trust/json',
  'entitlements',
  'cni-plugins',
  'fleet',
  'admission',
  'runtime',
  'node',
  'test',
];

/** The planted files of one house have different names: one run of the cruiser reports on all of them. */
const planted = violations.map((violation, index) => ({
  ...violation,
  path: violation.file.replace('planted.ts', `planted-${index}.ts`),
}));

/** For each module, a file in the lowest folder and one in the highest folder. */
const layered = Object.entries(readLayers()).flatMap(([module, layers]) => {
  const [[lowest] = [], ...above] = layers;
  const highest = above.at(-1)?.[0];
  if (lowest === undefined || highest === undefined) return [];
  const [low, high] = [lowest, highest].map((folder) => join(folder.replace('/<root>', ''), 'layer.ts')) as [
    string,
    string,
  ];
  return [{ module, lowest, highest, low, high }];
});

const importOf = (from: string, to: string): string =>
  `import '${relative(dirname(from), to).replace(/^(?!\.)/u, './')}';\n`;
const inner = 'export const inner = 1;\n';

interface Broken {
  readonly rule: string;
  /** The file that contains the import, or the files of a cycle. */
  readonly files: readonly string[];
}

/** Runs dependency-cruiser over a repository that contains the given files and the ones they import. */
function rulesBroken(files: Readonly<Record<string, string>>): readonly Broken[] {
  const house = mkdtempSync(join(tmpdir(), 'portcullis-walls-'));
  const plant = (file: string, text: string): void => {
    mkdirSync(dirname(join(house, file)), { recursive: true });
    writeFileSync(join(house, file), text);
  };
  try {
    for (const name of [
      ...['.dependency-cruiser.cjs', 'package.json', 'tsconfig.json'],
      ...['test/house/layers.json', 'test/house/entry-points.json'],
    ])
      cpSync(join(root, name), join(house, name));
    symlinkSync(join(root, 'node_modules'), join(house, 'node_modules'));
    for (const folder of [...folders, ...entered]) plant(`${folder}/inner.ts`, inner);
    plant('trust/gate/admit.ts', inner);
    for (const module of entered) plant(`${module}/index.ts`, "export { inner } from './inner.ts';\n");
    for (const [file, text] of Object.entries(files)) plant(file, text);
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
    const { summary } = JSON.parse(run.stdout) as {
      summary: { violations: { from: string; cycle?: { name: string }[]; rule: { name: string } }[] };
    };
    return summary.violations.map(({ from, cycle, rule }) => ({
      files: cycle?.map(({ name }) => name) ?? [from],
      rule: rule.name,
    }));
  } finally {
    rmSync(house, { recursive: true });
  }
}

describe('import rules between the modules', () => {
  // Reads all planted imports at once: a run takes seconds.
  const accepted = rulesBroken({
    ...Object.fromEntries(allowed.map(({ file, imports }) => [file, `import '${imports}';\n`])),
    ...Object.fromEntries(
      layered.flatMap(({ low, high }) => [
        [low, inner],
        [high, importOf(high, low)],
      ]),
    ),
  });
  const refused = rulesBroken({
    ...Object.fromEntries(planted.map(({ path, imports }) => [path, `import '${imports}';\n${inner}`])),
    ...Object.fromEntries(
      layered.flatMap(({ low, high }) => [
        [low, importOf(low, high)],
        [high, inner],
      ]),
    ),
    'base/log/inner.ts':
      "import type { inner as own } from './index.ts';\nexport const inner = 1;\nexport type Inner = typeof own;\n",
  });
  const rulesOf = (broken: readonly Broken[], file: string): string[] =>
    broken.filter(({ files }) => files.includes(file)).map(({ rule }) => rule);

  it('accept allowed imports', () => {
    const highest = layered.map(({ high }) => high);
    assert.deepEqual(
      accepted.filter(({ files }) => !files.some((file) => highest.includes(file))),
      [],
    );
  });

  for (const { rule, file, imports, path } of planted)
    it(`${rule}: ${file} may not import ${imports}`, () => {
      assert.ok(rulesOf(refused, path).includes(rule), rulesOf(refused, path).join());
    });

  it('find nothing in a file without a planted import', () => {
    const expected = [
      ...planted.map(({ path }) => path),
      ...layered.map(({ low }) => low),
      'base/log/inner.ts',
    ];
    assert.deepEqual(
      refused.filter(({ files }) => !files.some((file) => expected.includes(file))),
      [],
    );
  });

  for (const { module, lowest, highest, low, high } of layered) {
    it(`layer-1-of-${module}: ${lowest} may not import ${highest}`, () => {
      assert.ok(rulesOf(refused, low).includes(`layer-1-of-${module}`));
    });

    it(`layers of ${module}: ${highest} may import ${lowest}`, () => {
      assert.deepEqual(rulesOf(accepted, high), module === 'base' ? ['only-by-the-entry-point'] : []);
    });
  }

  it('no-cycles: also for type imports', () => {
    assert.deepEqual([...new Set(rulesOf(refused, 'base/log/inner.ts'))], ['no-cycles']);
  });
});
