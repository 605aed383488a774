import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

interface Gate {
  readonly name: string;
  /** A command in node_modules/.bin, with its arguments. */
  readonly command: readonly [string, ...string[]];
}

/** The slowest gate is first. */
const gates: readonly Gate[] = [
  { name: 'lint', command: ['eslint', '.'] },
  { name: 'format', command: ['prettier', '--check', '--log-level', 'warn', '.'] },
  { name: 'types', command: ['tsc', '--project', '.'] },
  {
    name: 'walls',
    command: [
      'depcruise',
      '--config',
      '.dependency-cruiser.cjs',
      'base',
      'trust',
      'entitlements',
      'cni-plugins',
      'runtime',
      'cli',
      'bench',
      'packaging',
      'test',
    ],
  },
  { name: 'unused', command: ['knip', '--no-config-hints'] },
];

/**
 * Runs every gate, two at a time, and returns the names of the failed ones. Only a failed gate prints its
 * output.
 */
export async function runGates(out: NodeJS.WritableStream): Promise<string[]> {
  const waiting = [...gates];
  const failed: string[] = [];
  const worker = async (): Promise<void> => {
    for (let gate = waiting.shift(); gate !== undefined; gate = waiting.shift()) {
      const started = performance.now();
      const { status, output } = await run(gate.command);
      out.write(`${status === 0 ? '✔' : '✖'} ${gate.name} (${((performance.now() - started) / 1000).toFixed(1)} s)\n`);
      if (status === 0) continue;
      failed.push(gate.name);
      out.write(`${output.trimEnd()}\n`);
    }
  };
  await Promise.all([worker(), worker()]);
  return failed;
}

async function run([tool, ...args]: Gate['command']): Promise<{ status: number; output: string }> {
  const child = spawn(process.execPath, [join('node_modules/.bin', tool), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status: status ?? 1, output: Buffer.concat(chunks).toString() };
}
