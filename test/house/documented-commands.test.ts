/**
 * Runs the commands that the documents show. A fenced block `console` is a terminal session: a line `$
 * COMMAND` is run, and its output must equal the lines that follow. A line `…` matches any number of lines,
 * and `…` within a line any text. `# exit N` at the end of a command gives its exit status, otherwise 0. A
 * block `yaml NAME` or `json NAME` is a file of that name. The blocks of a document share one initially empty
 * folder, in order.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { commandFile } from '../fixtures/command.ts';

const root = join(import.meta.dirname, '../..');

interface Block {
  readonly line: number;
  readonly language: string;
  readonly name: string | undefined;
  readonly text: string;
}

function blocksOf(document: string): Block[] {
  return [...document.matchAll(/^```(\w+)(?: (\S+))?\n([^]*?)^```$/gm)].map(
    ({ index, 1: language = '', 2: name, 3: text = '' }) => ({
      line: document.slice(0, index).split('\n').length,
      language,
      name,
      text,
    }),
  );
}

interface Shown {
  readonly command: string;
  readonly status: number;
  readonly output: string;
}

function commandsOf({ text }: Block): Shown[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [first = '', ...rest] = part.split('\n');
      const [, command = '', status = '0'] = /^(.*?)(?:\s+# exit (\d+))?$/.exec(first) ?? [];
      return { command, status: Number(status), output: rest.join('\n').trimEnd() };
    });
}

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');

function patternOf(output: string): RegExp {
  const lines = output
    .split('\n')
    .map((line) => (line.trim() === '…' ? '(?:.*\n)*?' : `${line.split('…').map(escaped).join('.*')}\n`));
  return new RegExp(`^${output === '' ? '' : lines.join('')}$`);
}

const documents = execFileSync(
  'git',
  ['ls-files', '--cached', '--others', '--exclude-standard', 'README.md', 'docs/*.md'],
  {
    cwd: root,
    encoding: 'utf8',
  },
)
  .split('\n')
  .filter((file) => file !== '')
  .map((file) => ({ file, blocks: blocksOf(readFileSync(join(root, file), 'utf8')) }))
  .filter(({ blocks }) => blocks.some(({ language }) => language === 'console'));

for (const { file, blocks } of documents)
  describe(`the commands of ${file}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'documented-'));
    const bin = join(folder, '.bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'portcullis'), `#!/bin/sh\nexec ${process.execPath} ${commandFile} "$@"\n`);
    chmodSync(join(bin, 'portcullis'), 0o755);
    const environment = { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}`, LC_ALL: 'C.UTF-8' };
    for (const block of blocks) {
      if (block.language !== 'console') {
        if (block.name === undefined) continue;
        it(`line ${block.line}: ${block.name}`, () => {
          mkdirSync(dirname(join(folder, block.name ?? '')), { recursive: true });
          writeFileSync(join(folder, block.name ?? ''), block.text);
        });
        continue;
      }
      for (const { command, status, output } of commandsOf(block))
        it(`line ${block.line}: ${command}`, () => {
          const ran = spawnSync('bash', ['-c', command], { cwd: folder, env: environment, encoding: 'utf8' });
          assert.equal(ran.status, status, ran.stderr);
          if (!patternOf(output).test(ran.stdout)) assert.equal(ran.stdout, `${output}\n`);
        });
    }
    it('leave nothing behind', () => {
      rmSync(folder, { recursive: true });
    });
  });
