import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { peers, repository } from '../conformance/endpoint.ts';

/** Ends this process with a message when a peer is not built. */
export function requirePeers(names: readonly string[]): void {
  const missing = names.filter((name) => !existsSync(join(peers, 'bin', name)));
  if (missing.length > 0) {
    console.error(
      `bench: ${missing.join(', ')} missing; build with: test/peers/get crictl critest images containerd runc crio`,
    );
    process.exit(4);
  }
  if (existsSync('/usr/lib/cni/bridge')) return;
  console.error(
    'bench: the peers need the CNI plugins: apt-get install --no-install-recommends containernetworking-plugins',
  );
  process.exit(4);
}

/** Starts a peer, runs a program in its namespaces, and ends the peer. Returns the program's output. */
export function runPeer(
  peer: 'containerd' | 'crio',
  folder: string,
  program: (socket: string) => readonly string[],
): string {
  const script = join(repository, `test/peers/run-${peer}`);
  const state = join(folder, `${peer}-state`);
  const environment = { ...process.env, PEERS: peers, D: state };
  run('bash', [script, 'start'], environment);
  try {
    return run('bash', [script, 'exec', ...program(join(state, `${peer}.sock`))], environment);
  } finally {
    run('bash', [script, 'stop'], environment);
  }
}

/** Runs a command to its end and returns its output. Lines that begin with :: are printed here as well. */
export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  const result = spawnSync(command, args, {
    cwd: repository,
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (result.status === 0) {
    for (const line of result.stdout.split('\n').filter((one) => one.startsWith('::  ')))
      console.log(line.slice(2));
    return result.stdout;
  }
  console.error(
    `${result.stdout.slice(-4_000)}${result.stderr.slice(-4_000)}\nbench: ${command} ${args.slice(0, 3).join(' ')} … failed (${String(result.status ?? result.signal)})`,
  );
  return '';
}
