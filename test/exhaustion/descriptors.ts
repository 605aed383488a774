import { execFileSync } from 'node:child_process';
import { createCriClient } from '../../runtime/client.ts';
import { flood } from './floods.ts';
import type { Scene } from './scene.ts';

/**
 * Leaves the daemon a few descriptors and floods its sockets: existing connections must be answered
 * meanwhile, and the daemon must stay alive and serve as before once the limit is lifted. @returns the
 * failures
 */
export async function outOfDescriptors({ stage, victim }: Scene): Promise<readonly string[]> {
  const { daemon } = stage;
  const failures: string[] = [];
  const limit = (soft: number): void =>
    void execFileSync('prlimit', ['--pid', String(daemon.pid), `--nofile=${soft}:`]);
  const before = Number(
    execFileSync('prlimit', ['--pid', String(daemon.pid), '--nofile', '--output', 'SOFT', '--noheadings'], {
      encoding: 'utf8',
    }),
  );
  limit(daemon.usage().descriptors + 20);
  const running = await flood({ to: { path: stage.folders.socket }, connections: 200 });
  try {
    for (let count = 0; count < 20; count += 1)
      await daemon.cri.runtime.containerStatus({ containerId: victim.containerId }, { timeoutMs: 5_000 });
  } catch (thrown) {
    failures.push(`without a descriptor left: ${String(thrown)}`);
  } finally {
    await running.end();
    limit(before);
  }
  if (!daemon.isAlive()) return [...failures, 'the daemon has ended without a descriptor left'];
  const client = createCriClient(stage.folders.socket);
  try {
    await client.runtime.version({}, { timeoutMs: 10_000 });
    const { exitCode } = await daemon.cri.runtime.execSync({
      containerId: victim.containerId,
      cmd: ['true'],
      timeout: 20,
    });
    if (exitCode !== 0) failures.push(`a command afterwards: exit code ${exitCode}`);
  } catch (thrown) {
    failures.push(`once there are descriptors again: ${String(thrown)}`);
  } finally {
    client.close();
  }
  return failures;
}
