import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { NetConnectOpts } from 'node:net';

export interface FloodPlan {
  readonly to: NetConnectOpts;
  readonly connections: number;
  readonly sends?: Uint8Array | string;
  readonly dribble?: string;
  readonly reads?: boolean;
}

/** Something that goes on until it is ended. */
export interface Running {
  end(): Promise<void>;
}

/** Opens the connections in a process of its own, and keeps them open. Resolves when each was tried once. */
export async function flood(plan: FloodPlan): Promise<Running> {
  const { to, connections, sends = '', dribble = '', reads = true } = plan;
  const program = join(import.meta.dirname, 'flood-client.ts');
  const text = JSON.stringify({ to, connections, dribble, reads, sends: Buffer.from(sends as string).toString('base64') });
  // What is measured has the better priority: the victim's own client must not be what is slow.
  const child = spawn('nice', ['-n', '10', process.execPath, program, text], { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  return {
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

export const all = (running: readonly Running[]): Running => ({
  end: async () => void (await Promise.all(running.map((each) => each.end()))),
});
