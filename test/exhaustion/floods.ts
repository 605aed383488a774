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

/** A background activity that continues until `end` is called. */
export interface Running {
  end(): Promise<void>;
}

/** Opens the connections in a separate process, and keeps them open. Resolves when each was tried once. */
export async function flood(plan: FloodPlan): Promise<Running> {
  const { to, connections, sends = '', dribble = '', reads = true } = plan;
  const program = join(import.meta.dirname, 'flood-client.ts');
  const text = JSON.stringify({
    to,
    connections,
    dribble,
    reads,
    sends: Buffer.from(sends as string).toString('base64'),
  });
  // The measuring process has the better priority: the victim's own client must not be the slow part.
  const child = spawn('nice', ['-n', '10', process.execPath, program, text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
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
