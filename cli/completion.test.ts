import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { commands } from './commands.ts';
import { completions } from './completion/shells.ts';
import { commandTree, withSubcommands } from './completion/tree.ts';
import type { CommandNode } from './completion/tree.ts';

const tree: readonly CommandNode[] = await commandTree(commands);
const shells = ['bash', 'zsh', 'fish'] as const;
const installed = (shell: string): boolean => spawnSync(shell, ['--version']).status === 0;
let folder = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'pc-completion-'));
  mkdirSync(join(folder, 'work/profiles'), { recursive: true });
  writeFileSync(join(folder, 'work/policy.yaml'), '');
  for (const shell of shells) writeFileSync(join(folder, shell), completions[shell](tree));
});
after(() => rmSync(folder, { recursive: true }));

/** Runs a script in an empty home, in a folder with the file policy.yaml and the folder profiles. */
function shell(program: string, args: readonly string[]): string[] {
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: join(folder, 'work'),
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: folder, LC_ALL: 'C.UTF-8', TERM: 'dumb' },
  });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  return stdout.split('\n').filter((line) => line !== '');
}

/** Completes the last word as bash does, which splits words at `=` and `:`. */
function bash(...words: readonly string[]): string[] {
  const split = words.flatMap((word) =>
    word === '' ? [''] : word.split(/([=:]+)/u).filter((piece) => piece !== ''),
  );
  const list = split.map((word) => `'${word}'`).join(' ');
  const script = `source ${join(folder, 'bash')}; COMP_LINE='${words.join(' ')}'; COMP_WORDS=(${list}); COMP_CWORD=${split.length - 1}; _portcullis; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return shell('bash', ['--norc', '-c', script]);
}

function fish(...words: readonly string[]): string[] {
  const line = words.join(' ');
  return shell('fish', ['--no-config', '-c', `source ${join(folder, 'fish')}; complete -C '${line}'`]).map(
    (found) => found.split('\t')[0] ?? '',
  );
}

/**
 * Completes in zsh's own line editor, which needs a terminal. `compadd` is the builtin by which every
 * completion adds its words.
 */
function zsh(...words: readonly string[]): string[] {
  writeFileSync(join(folder, 'zsh-found'), '');
  writeFileSync(
    join(folder, '.zshrc'),
    `autoload -Uz compinit; compinit -u -d ${folder}/zcompdump
source ${join(folder, 'zsh')}
compadd() {
  if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)\\ * ]]; then
    local -a found; builtin compadd -A found "$@"; print -l -- $found >>${folder}/zsh-found
  fi
  builtin compadd "$@"
}
zle-line-init() { LBUFFER='${words.join(' ')}'; zle complete-word; exit 0 }
zle -N zle-line-init
`,
  );
  shell('script', ['-qec', `ZDOTDIR=${folder} zsh -d -i`, '/dev/null']);
  const found = readFileSync(join(folder, 'zsh-found'), 'utf8').split('\n');
  return [...new Set(found)].filter((word) => word !== '');
}

describe('the completion script', () => {
  for (const name of shells)
    it(`of ${name} is accepted by ${name}`, (t) => {
      if (!installed(name)) return t.skip(`no ${name}: apt-get install ${name}`);
      shell(name, ['-n', join(folder, name)]);
    });

  for (const name of shells)
    it(`of ${name} names every command and every option`, () => {
      const script = completions[name](tree);
      for (const { words, options } of tree.flatMap(withSubcommands)) {
        assert.ok(script.includes(words.at(-1) ?? ''), words.join(' '));
        for (const option of options.flatMap(({ names }) => names))
          assert.ok(script.includes(option.replace(/^-+/u, '')), `${words.join(' ')} ${option}`);
      }
    });

  for (const [name, complete] of [
    ['bash', bash],
    ['zsh', zsh],
    ['fish', fish],
  ] as const)
    describe(`in ${name}`, { skip: installed(name) ? false : `no ${name}: apt-get install ${name}` }, () => {
      for (const [words, expected] of [
        [
          ['portcullis', 'ver'],
          ['verdicts', 'verify'],
        ],
        [['portcullis', 'trust', 'archive', 'c'], ['create']],
        [['portcullis', 'sign', '--pass'], ['--passphrase-file']],
        [
          ['portcullis', 'sign', '--format', 'notation'],
          ['notation-cose', 'notation-jws'],
        ],
        [['portcullis', 'sign', '--key', 'k', '--output', 'j'], ['json']],
        [['portcullis', 'verify', 'image', '--policy', 'pol'], ['policy.yaml']],
        [['portcullis', 'images', 'push', 'pol'], ['policy.yaml']],
        [['portcullis', 'completion', 'f'], ['fish']],
        [['portcullis', 'help', 'trust', 'archive', 'c'], ['create']],
        [['portcullisd', '--print'], ['--print-config']],
      ] as const)
        it(`${words.join(' ')}: ${expected.join(', ')}`, () => {
          assert.deepEqual([...complete(...words)].sort(), expected);
        });
    });

  for (const [name, complete, whole] of [
    ['bash', bash, false],
    ['zsh', zsh, false],
    // The words of fish are whole.
    ['fish', fish, true],
  ] as const)
    it(`of ${name} offers files after json=`, (t) => {
      if (!installed(name)) return t.skip(`no ${name}: apt-get install ${name}`);
      const found = whole ? 'json=policy.yaml' : 'policy.yaml';
      assert.deepEqual(complete('portcullis', 'admit', '--report', 'json=pol'), [found]);
    });

  describe('in zsh', { skip: installed('zsh') ? false : 'no zsh' }, () => {
    it('offers choices and files after =, and after a letter without a space', () => {
      assert.deepEqual(zsh('portcullis', 'ps', '--output=j'), ['json']);
      assert.deepEqual(zsh('portcullis', 'ps', '-oj'), ['json']);
      assert.deepEqual(zsh('portcullis', 'verify', '--policy=pol'), ['policy.yaml']);
    });
  });

  describe('in bash', { skip: installed('bash') ? false : 'no bash' }, () => {
    it('offers the choices of an option after =, and nothing where a name is expected', () => {
      assert.deepEqual(bash('portcullis', 'ps', '--output='), ['text', 'json', 'yaml']);
      assert.deepEqual(bash('portcullis', 'ps', '--output=t'), ['text']);
      assert.deepEqual(bash('portcullis', 'sign', ''), []);
      assert.deepEqual(bash('portcullis', 'sign', '--identity', ''), []);
    });

    it('prints no error after a command that has no arguments', () => {
      assert.deepEqual(bash('portcullis', 'ps', ''), []);
      assert.deepEqual(bash('portcullis', 'trust', 'serve', ''), []);
    });

    it('takes a name with : or = for one word, and returns only what follows them', () => {
      writeFileSync(join(folder, 'work/a:b=c.yaml'), '');
      assert.deepEqual(bash('portcullis', 'policy', 'check', 'a:'), ['b=c.yaml']);
      assert.deepEqual(bash('portcullis', 'policy', 'check', 'a:b=c'), ['c.yaml']);
      assert.deepEqual(bash('portcullis', 'verify', '--policy=a:b'), ['b=c.yaml']);
      assert.deepEqual(bash('portcullis', 'ps', '--socket', 'unix:///a:b', '--output=j'), ['json']);
      // The name of the pod is one operand: what follows belongs to the container.
      assert.deepEqual(bash('portcullis', 'exec', 'web:1', '--tim'), ['--timeout']);
    });

    it('leaves the words of exec to the container', () => {
      assert.deepEqual(bash('portcullis', 'exec', 'web', '--tim'), ['--timeout']);
      assert.deepEqual(bash('portcullis', 'exec', 'web', 'ls', '--tim'), []);
    });

    it('starts no program, whatever the line holds', () => {
      assert.deepEqual(bash('portcullis', 'sign', '$(touch', '--pass'), ['--passphrase-file']);
      assert.deepEqual(bash('portcullis', 'trust', '`touch x`', ''), bash('portcullis', 'trust', ''));
    });
  });
});
