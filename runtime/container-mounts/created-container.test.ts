import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { checkMadeContainer as check, mountsOf } from './created-container.ts';
import type { ContainerPlan } from './created-container.ts';

/**
 * Returns a process in its own mount namespace, in the state that `script` has set up. It waits, like a first
 * process before its start.
 */
async function processAfter(t: TestContext, script: string, opened = '/tmp'): Promise<number> {
  const inside = `${script} && echo ready && exec sleep 600`;
  const command = `exec 5<"${opened}"; exec unshare -m /bin/sh -c '${inside}'`;
  const child = spawn('/bin/sh', ['-c', command], { cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  assert.equal(String((await once(child.stdout, 'data'))[0]), 'ready\n');
  return child.pid ?? 0;
}

const checkMadeContainer = (container: string, pid: number, of: ContainerPlan): void =>
  check(container, pid, of, mountsOf(container, pid));

const plan = (more: Partial<ContainerPlan>): ContainerPlan => ({
  throughVolumes: [],
  maskedPaths: [],
  place: { cwd: '/' },
  ...more,
});

/**
 * These tests use real processes in mount namespaces. test/e2e/kernel-folders.test.ts covers what runtimes do
 * with hostile volumes.
 */
describe('a container that a runtime created', () => {
  it('is reported as not created if its first process has ended', async (t) => {
    const pid = await processAfter(t, 'true');
    process.kill(pid, 'SIGKILL');
    while (existsSync(`/proc/${pid}`)) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.throws(() => mountsOf('c', pid), {
      code: 'RUNTIME_CREATE_FAILED',
      message: /ended before it was started/,
    });
  });

  it('is accepted if mounts, masks and the working directory are correct', async (t) => {
    const pid = await processAfter(
      t,
      'mount -t tmpfs x /mnt && mount --bind /dev/null /proc/keys && cd /mnt',
    );
    checkMadeContainer(
      'c',
      pid,
      plan({ throughVolumes: ['/mnt'], maskedPaths: ['/proc/keys', '/proc/not-there', '/etc/hostname'] }),
    );
  });

  it('is refused if a mount is not at its destination', async (t) => {
    const pid = await processAfter(t, 'mount -t tmpfs x /mnt');
    assert.throws(() => checkMadeContainer('c', pid, plan({ throughVolumes: ['/mnt', '/srv'] })), {
      code: 'RUNTIME_MADE_OTHERWISE',
      message: /the mount for \/srv is missing/,
    });
  });

  it('is refused if a masked path shows procfs or sysfs, also through another file of it', async (t) => {
    const pid = await processAfter(t, 'mount --bind /proc/version /proc/keys');
    for (const path of ['/proc/keys', '/proc/interrupts', '/sys/kernel'])
      assert.throws(() => checkMadeContainer('c', pid, plan({ maskedPaths: [path] })), {
        code: 'RUNTIME_MADE_OTHERWISE',
        message: /must be masked/,
      });
  });

  it('is refused if the cover of a masked path is itself covered, by a mount on a folder above it or at the same place', async (t) => {
    for (const script of [
      'mount --bind /dev/null /proc/keys && mount -t proc x /proc',
      'mount --bind /dev/null /proc/keys && mount --bind /proc/version /proc/keys',
    ]) {
      const pid = await processAfter(t, script);
      assert.throws(() => checkMadeContainer('c', pid, plan({ maskedPaths: ['/proc/keys'] })), {
        message: /must be masked, but shows proc/,
      });
    }
    const twice = await processAfter(
      t,
      'mount --bind /proc/version /proc/keys && mount --bind /dev/null /proc/keys',
    );
    checkMadeContainer('c', twice, plan({ maskedPaths: ['/proc/keys'] }));
  });

  it('is refused if the working directory belongs to another namespace, or is in procfs', async (t) => {
    const outside = await processAfter(t, 'cd /proc/self/fd/5');
    assert.throws(() => checkMadeContainer('c', outside, plan({})), {
      code: 'RUNTIME_MADE_OTHERWISE',
      message: /outside of the container/,
    });
    const inProc = await processAfter(t, 'cd /proc/self');
    assert.throws(() => checkMadeContainer('c', inProc, plan({})), {
      code: 'RUNTIME_MADE_OTHERWISE',
      message: /lies in \/proc/,
    });
  });
});
