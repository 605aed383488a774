import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { portcullisCommand } from '../fixtures/command.ts';
import { runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

interface Session {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

describe('portcullis exec with input and a terminal', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-exec-terminal-'));
  let stage: Stage;
  let containerId = '';
  before(async () => {
    stage = await openStage();
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    containerId = await runContainer(stage, await runPod(stage, 'terminal'), {
      image,
      command: ['sleep', '600'],
    });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  const words = (...args: readonly string[]): readonly string[] => {
    const [flags = '', ...rest] = args;
    return [...portcullisCommand, 'exec', '--socket', stage.folders.socket, flags, containerId, ...rest];
  };

  function session(program: string, args: readonly string[], input: string): Promise<Session> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, { stdio: 'pipe', timeout: 60_000 });
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      child.on('error', reject);
      child.on('close', (code) => resolve({ code, stdout, stderr }));
      child.stdin.end(input);
    });
  }

  /** Runs in a pseudo-terminal of 100 columns. */
  function inTerminal(args: readonly string[], input: string): Promise<Session> {
    const quoted = args.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(' ');
    return session(
      'script',
      ['-qefc', `stty cols 100 rows 30; exec ${quoted}`, join(folder, 'typescript')],
      input,
    );
  }

  it('-i passes input and its end, and the exit code comes back', async () => {
    const [program = '', ...args] = words('-i', 'sh', '-c', 'cat; echo err >&2; exit 7');
    assert.deepEqual(await session(program, args, 'one\ntwo\n'), {
      code: 7,
      stdout: 'one\ntwo\n',
      stderr: 'err\n',
    });
  });

  it('-it gives the command a terminal with the size of the user’s terminal', async () => {
    const { code, stdout } = await inTerminal(
      // The size arrives soon after the start of the command.
      words(
        ...['-it', 'sh', '-c'],
        'until [ "$(stty size)" = "30 100" ]; do sleep 0.1; done; stty size; tty; exit 3',
      ),
      '',
    );
    // In Node's raw mode, the user's terminal still converts line ends, after that of the container.
    assert.match(stdout, /30 100\r+\n\/dev\/pts\/\d+\r+\n/u);
    assert.equal(code, 3, stdout);
  });

  it('-it passes keys to the shell in the container', async () => {
    const { code, stdout } = await inTerminal(words('-it', 'sh'), 'echo $((40 + 2)); exit 4\n');
    assert.match(stdout, /\r\n42\r+\n/u);
    assert.equal(code, 4, stdout);
  });

  it('-t alone gives the command a terminal without input', async () => {
    const [program = '', ...args] = words('-t', 'tty');
    const { code, stdout } = await session(program, args, '');
    assert.match(stdout, /^\/dev\/pts\/\d+\r\n$/u);
    assert.equal(code, 0);
  });

  it('-it without a terminal is a usage error, and nothing runs', async () => {
    const [program = '', ...args] = words('-it', 'tty');
    const { code, stdout, stderr } = await session(program, args, '');
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /standard input is not a terminal/u);
  });

  it('a program that does not exist is reported as an error with a code', async () => {
    const [program = '', ...args] = words('-i', '/no/such');
    const { code, stderr } = await session(program, args, '');
    assert.equal(code, 4, stderr);
    assert.match(stderr, /no\/such.*\[CRI_STREAM_FAILED\]/u);
  });
});
