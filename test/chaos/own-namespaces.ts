import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';

const mark = 'PORTCULLIS_CHAOS_APART';

export function isApart(): boolean {
  return process.env[mark] === '1';
}

/**
 * Runs a program of this folder in its own mount and network namespace, with private mounts as unshare(1)
 * leaves them: there the daemon itself has to make its folders shared mounts. Resolves with its exit code;
 * passes its output to `report`.
 */
export async function runApart(
  file: string,
  args: readonly string[],
  report: (text: string) => void,
): Promise<number> {
  const child = spawn('unshare', ['-m', '-n', '--', process.execPath, file, ...args], {
    // The child's input ends when this process does, for whatever reason.
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, [mark]: '1', NODE_TEST_CONTEXT: undefined, NODE_V8_COVERAGE: undefined },
  });
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', report);
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, forward);
  const [code] = (await once(child, 'close')) as [number | null];
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, forward);
  return code ?? 130;
}

/**
 * Unmounts, in this mount namespace alone, what other programs have mounted below the folders for temporary
 * files. When they remove their folders, the kernel takes these mounts away, and a look at the mounts would
 * find a difference that the daemon did not make.
 */
export function leaveOthersMounts(): void {
  const targets = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replaceAll(/\\([0-7]{3})/gu, (_all, code: string) =>
        String.fromCharCode(parseInt(code, 8)),
      ),
    );
  for (const folder of [tmpdir(), '/tmp', '/var/tmp'])
    for (const target of targets.filter((one) => one.startsWith(`${folder}/`)).toReversed())
      // A second one may have been below the first.
      spawnSync('umount', ['--lazy', target], { stdio: 'ignore' });
}

/**
 * Runs `leave` once, when the starting process is gone or when a signal asks to end. Called in the separate
 * process.
 */
export function onEndSignal(leave: () => void): void {
  let reported = false;
  const once = (): void => {
    if (!reported) leave();
    reported = true;
  };
  process.stdin.resume().on('end', once).on('error', once);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, once);
}
