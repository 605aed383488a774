import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exportedFiles, entryPoints } from './exported-files.ts';

const root = join(import.meta.dirname, '../..');

describe('the files of the entry points', () => {
  it('are those that declare the exports of an entry point, also through other entry points and under other names', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-entry-points-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const files = {
      'index.ts':
        "export { a } from './a.ts';\nexport type { C as D } from './inner/index.ts';\nimport './e.ts';\n",
      'a.ts': 'export const a = 1;\n',
      'inner/index.ts': "export type { C } from './c.ts';\nexport { b } from './b.ts';\n",
      'inner/b.ts': 'export const b = 1;\n',
      'inner/c.ts': 'export interface C {}\n',
      'e.ts': 'export const e = 1;\n',
      'own.ts': 'export function own() {}\n',
    };
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    assert.deepEqual(exportedFiles(['index.ts', 'own.ts'], folder), ['a.ts', 'inner/c.ts', 'own.ts']);
  });

  it('exist in each room', () => {
    const files = exportedFiles();
    for (const entryPoint of entryPoints)
      assert.ok(
        files.some((file) => file.startsWith(`${dirname(entryPoint)}/`)),
        entryPoint,
      );
    assert.ok(files.length > 250, `${files.length}`);
  });

  it('export each name of trust once', () => {
    const places = new Map<string, string>();
    const twice: string[] = [];
    for (const entryPoint of entryPoints.filter((path) => path.startsWith('trust/')))
      for (const [, list = ''] of readFileSync(join(root, entryPoint), 'utf8').matchAll(
        /^export [^{]*\{([^}]*)\}/gmu,
      ))
        for (const name of list.split(',').map((part) => part.trim().replace(/^.* as /u, ''))) {
          if (name === '') continue;
          const first = places.get(name);
          if (first === undefined) places.set(name, entryPoint);
          else twice.push(`${name}: ${first} and ${entryPoint}`);
        }
    assert.deepEqual(twice, []);
    assert.ok(places.size > 200, `${places.size}`);
  });

  it('must have comments that say what a function does and what it throws', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-lint-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const config = [
      `import { documented } from ${JSON.stringify(join(root, 'oxlint.config.ts'))};`,
      `const specifier = ${JSON.stringify(fileURLToPath(import.meta.resolve('eslint-plugin-jsdoc')))};`,
      "const jsPlugins = [{ name: 'jsdoc-js', specifier }];",
      "const settings = { jsdoc: { mode: 'typescript' } };",
      "export default { jsPlugins, settings, categories: { correctness: 'off' }, rules: documented };",
    ].join('\n');
    writeFileSync(join(folder, 'oxlint.config.ts'), config);
    const source = [
      'export function a(): void {}',
      '/** @throws PortcullisError A_B */',
      'export const b = (): void => { throw new Error(); };',
      '/** Does c. */',
      'export function c(): void { throw new Error(); }',
      '/** Does d. @throws PortcullisError A_B */',
      'export function d(): void { throw new Error(); }',
      '/**',
      ' * Does e.',
      ' * @throws PortcullisError A_B',
      ' */',
      'export function e(): void { throw new Error(); }',
      'function inside(): void { throw new Error(); }',
      'inside();',
    ].join('\n');
    writeFileSync(join(folder, 'a.ts'), source);
    const oxlint = join(root, 'node_modules/.bin/oxlint');
    const { stdout } = spawnSync(
      process.execPath,
      [oxlint, '--config', join(folder, 'oxlint.config.ts'), '--format', 'json', '--no-ignore', 'a.ts'],
      { cwd: folder, encoding: 'utf8' },
    );
    const { diagnostics } = JSON.parse(stdout) as {
      diagnostics: { code: string; labels: { span: { line: number } }[] }[];
    };
    assert.deepEqual(diagnostics.map(({ code, labels }) => `${labels[0]?.span.line} ${code}`).sort(), [
      '1 jsdoc-js(require-jsdoc)',
      '2 jsdoc-js(require-description)',
      '4 jsdoc-js(require-throws)',
      '6 jsdoc-js(require-throws)',
    ]);
  });
});
