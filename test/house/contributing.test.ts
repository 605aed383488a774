/** Checks the commands of CONTRIBUTING.md and docs/test-suites.md, and runs the short ones. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { chooseGates } from './gates.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const { scripts } = JSON.parse(read('package.json')) as {
  readonly scripts: Readonly<Record<string, string>>;
};

/** Returns the commands of a document: code spans, and the lines of its `sh` blocks. */
function commandsOf(text: string): string[] {
  const blocks = [...text.matchAll(/^ *```sh\n([^]*?)^ *```$/gmu)].flatMap(([, block = '']) =>
    block.split('\n').map((line) => line.trim()),
  );
  const spans = [...text.replaceAll(/^ *```[^]*?^ *```$/gmu, '').matchAll(/`([^`]+)`/gu)].map(
    ([, span = '']) => span,
  );
  return [...new Set([...blocks, ...spans])].filter((command) => command !== '');
}

/** Runs a command of a document in the root of the repository. Its tests are not tests of this file. */
function run(command: string, cwd = root): { readonly status: number | null; readonly output: string } {
  const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd, env, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

/** Returns a problem of a command, or nothing. */
function problemOf(command: string): string | undefined {
  const [, script] = /^npm run ([\w:-]+)/u.exec(command) ?? [];
  if (script !== undefined && !(script in scripts)) return `package.json has no script ${script}`;
  const [, gate] = /^npm run check ([a-z]+)$/u.exec(command) ?? [];
  const chosen = chooseGates(gate === undefined ? [] : [gate]);
  if ('problem' in chosen) return chosen.problem;
  const [, path] = /\bnpm test -- ([\w./-]+)/u.exec(command) ?? [];
  if (
    path !== undefined &&
    globSync([path.endsWith('.test.ts') ? path : `${path}/**/*.test.ts`], { cwd: root }).length === 0
  )
    return `there is no test in ${path}`;
  // A path of the repository begins with the name of a folder of it.
  const files = command
    .split(/[\s=']+/u)
    .filter(
      (word) => /^[\w.-]+\/[\w./-]*\w$/u.test(word) && existsSync(join(root, word.split('/')[0] ?? '')),
    );
  const missing = files.find((file) => !existsSync(join(root, file)) && !file.startsWith('dist/'));
  return missing === undefined ? undefined : `there is no ${missing}`;
}

const documents = ['CONTRIBUTING.md', 'docs/test-suites.md'].map((file) => ({
  file,
  commands: commandsOf(read(file)),
}));
const [contributing] = documents.map(({ commands }) => commands);

describe('the commands for contributors', () => {
  for (const { file, commands } of documents)
    it(`${file}: scripts, gates, tests and files exist`, () => {
      assert.ok(commands.filter((command) => command.startsWith('npm run')).length > 10, commands.join('\n'));
      assert.deepEqual(
        commands.flatMap((command) => problemOf(command) ?? []),
        [],
      );
    });

  for (const command of [
    'npm run nothing',
    'npm run check nothing',
    'npm test -- base/nothing',
    'packaging/node --test base/nothing.test.ts',
  ])
    it(`a planted mistake is found: ${command}`, () => assert.notEqual(problemOf(command), undefined));

  it('each suite and benchmark has an entry', () => {
    const suites = Object.keys(scripts).filter(
      (name) => /^(?:test|bench)(?::|$)/u.test(name) && !['test', 'test:coverage'].includes(name),
    );
    const text = read('docs/test-suites.md');
    assert.deepEqual(
      suites.filter((name) => !new RegExp(`^### \`npm run ${name}[\` ]`, 'mu').test(text)),
      [],
    );
  });

  const patterns = contributing?.filter((command) => command.includes('--test-name-pattern')) ?? [];
  it('two commands run one test', () => assert.equal(patterns.length, 2));
  for (const command of patterns)
    it(`matches a test: ${command}`, () => {
      assert.ok(countOfTests(command) > 0, 'no test has such a name');
    });
  it('a pattern that matches no test is found, although node ends with a pass', () => {
    const command = "sh packaging/node --test --test-name-pattern='no such name' base/lists/closest.test.ts";
    assert.equal(run(command).status, 0);
    assert.equal(countOfTests(command), 0);
  });

  for (const command of [
    'sh packaging/prepare packages',
    'sh packaging/node --test base/lists/closest.test.ts',
    'packaging/bin/portcullis --version',
    'npm run check -- --list',
    'PORTCULLIS_SOURCE=1 packaging/bin/portcullis --help',
  ])
    it(`runs: ${command}`, () => {
      assert.ok(contributing?.includes(command), 'CONTRIBUTING.md does not show it');
      const { status, output } = run(command);
      assert.equal(status, 0, output);
    });

  it('the change of the first hour makes a test fail', () => {
    const [, after = '', before = ''] =
      /write `([^`]+)` instead of `([^`]+)`/u.exec(read('CONTRIBUTING.md').replaceAll(/\s+/gu, ' ')) ?? [];
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-first-hour-'));
    try {
      cpSync(join(root, 'base/lists'), join(folder, 'base/lists'), { recursive: true });
      // The test of the folder needs fast-check.
      const node = `NODE_PATH= ${join(root, 'packaging/node')}`;
      cpSync(join(root, 'package.json'), join(folder, 'package.json'));
      const command = `ln -sfn ${join(root, 'node_modules')} node_modules && ${node} --test base/lists/closest.test.ts`;
      assert.equal(run(command, folder).status, 0);
      const source = read('base/lists/closest.ts');
      assert.ok(before !== '' && source.includes(before), before);
      writeFileSync(join(folder, 'base/lists/closest.ts'), source.replace(before, after));
      const { status, output } = run(command, folder);
      assert.equal(status, 1, output);
      assert.match(output, /is found for a typing error/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** Counts the tests that a command runs, without suites and without the test that stands for the file. */
function countOfTests(command: string): number {
  const { output } = run(command.replace('--test ', '--test --test-reporter=tap '));
  const [, pattern = ''] = /--test-name-pattern='([^']+)'/u.exec(command) ?? [];
  return output
    .split('\n')
    .filter((line) => /^\s*ok \d+ - /u.test(line) && new RegExp(pattern, 'u').test(line)).length;
}
