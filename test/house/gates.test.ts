import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { chooseGates, gates, runGates } from './gates.ts';
import type { Gate } from './gates.ts';

function check(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(import.meta.dirname, 'check.ts'), ...args], {
    cwd: '/',
    encoding: 'utf8',
  });
}

describe('npm run check', () => {
  it('lists every gate', () => {
    const { status, stdout } = check('--list');
    assert.equal(status, 0);
    assert.deepEqual(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.split(' ')[0]),
      gates.map(({ name }) => name),
    );
  });

  it('suggests the nearest gate for an unknown one, and runs nothing', () => {
    const { status, stdout, stderr } = check('lint', 'fromat');
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /no gate "fromat": did you mean format\?/);
  });

  it('lists all gates if none is similar, and refuses an unknown option', () => {
    assert.match(check('x').stderr, /write one of lint, format, layers, prose, unused, house/);
    assert.equal(check('--fast').status, 2);
  });

  it('runs one gate, which passes on this repository', () => {
    // The cheapest gate: npm test runs all of them.
    const { status, stdout } = check('format');
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^✔ format ok \(\d+\.\d s\)\n$/);
  });

  it('prints a line for each gate, and the output of a failed one only', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-gates-'));
    try {
      const gate = (name: string, program: string): Gate => {
        writeFileSync(join(folder, `${name}.mjs`), program);
        return { name, checks: '', command: () => [join(folder, `${name}.mjs`)] };
      };
      const planted = [
        gate('fine', "process.stdout.write('quiet\\n')"),
        gate('bad', "process.stderr.write('loud\\n'); process.exit(3)"),
      ];
      const out = new PassThrough();
      const failed = await runGates(out, planted);
      out.end();
      const lines = (await text(out)).replaceAll(/\d+\.\d s/g, 'N s').split('\n');
      assert.deepEqual(failed, ['bad']);
      assert.deepEqual(lines.sort(), ['', 'loud', '✔ fine ok (N s)', '✖ bad failed (N s)']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('fails a gate that hangs, and ends it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-gates-'));
    try {
      const file = join(folder, 'hangs.mjs');
      writeFileSync(file, "process.on('SIGTERM', () => process.exit(0));\nsetInterval(() => {}, 1000);\n");
      const gate = { name: 'hangs', checks: '', command: () => [file] };
      const out = new PassThrough();
      const failed = await runGates(out, [gate], 0, 500);
      out.end();
      assert.deepEqual(failed, ['hangs']);
      assert.match(await text(out), /it did not end within 0\.5 s/u);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('can give priority to other work', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-gates-'));
    try {
      const file = join(folder, 'niceness.mjs');
      writeFileSync(
        file,
        `import { getPriority } from 'node:os';\nprocess.exit(getPriority() === ${Math.min(19, getPriority() + 3)} ? 0 : 1);\n`,
      );
      const gate = { name: 'niceness', checks: '', command: () => [file] };
      const out = new PassThrough().resume();
      assert.deepEqual(await runGates(out, [gate], 3), []);
      if (getPriority() < 19) assert.deepEqual(await runGates(out, [gate]), ['niceness']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('exits with 1 if a gate fails: test files count as a gate', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-gates-'));
    try {
      const file = join(folder, 'planted.test.mjs');
      writeFileSync(
        file,
        "import { test } from 'node:test';\ntest('fails', () => { throw new Error('planted'); });\n",
      );
      const out = new PassThrough().resume();
      assert.deepEqual(
        await runGates(out, [{ name: 'planted', checks: '', command: () => ['--test', file] }]),
        ['planted'],
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('lint finds wrong types, broken rules and disabled rules that find nothing', () => {
    const mistakes: Readonly<Record<string, readonly [text: string, found: string]>> = {
      'wrong-type.ts': ["export const one: number = 'one';\n", 'typescript(TS2322)'],
      // A rule that needs types.
      'not-awaited.ts': [
        'async function later(): Promise<void> {}\nlater();\n',
        'typescript(no-floating-promises)',
      ],
      'default-export.ts': ['export default 1;\n', 'eslint-js(no-restricted-syntax)'],
      'long-line.ts': [`// ${'word '.repeat(30)}\n`, 'eslint-js(max-len)'],
      'json-parse.ts': ["JSON.parse('1');\n", 'eslint(no-restricted-properties)'],
    };
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-lint-'));
    try {
      writeFileSync(join(folder, 'tsconfig.json'), '{ "compilerOptions": { "strict": true, "types": [] } }');
      for (const [name, [text]] of Object.entries(mistakes)) writeFileSync(join(folder, name), text);
      writeFileSync(
        join(folder, 'disabled.ts'),
        '// oxlint-disable-next-line eqeqeq\nexport const one = 1;\n',
      );
      const lint = gates.find(({ name }) => name === 'lint');
      const { status, stdout } = spawnSync(
        process.execPath,
        [...(lint?.command() ?? []), '--config', 'oxlint.config.ts', '--format', 'json', folder],
        { cwd: join(import.meta.dirname, '../..'), encoding: 'utf8' },
      );
      assert.equal(status, 1, stdout);
      const { diagnostics } = JSON.parse(stdout) as {
        diagnostics: { filename: string; code?: string; message: string }[];
      };
      const found = diagnostics.map(({ filename, code = '', message }) =>
        code === '' ? `${basename(filename)} ${message}` : `${basename(filename)} ${code}`,
      );
      const expected = Object.entries(mistakes).map(([name, [, code]]) => `${name} ${code}`);
      expected.push('disabled.ts Unused oxlint-disable directive (no problems were reported).');
      assert.deepEqual(found.sort(), expected.sort());
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('chooses all gates if none is named', () => {
    assert.deepEqual(chooseGates(['lint']), [gates[0]]);
    assert.deepEqual(chooseGates([]), gates);
  });
});
