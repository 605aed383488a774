import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { S_IFCHR, bindMount, mknod, mount, umount } from '../../base/kernel/index.ts';
import { createContainer, execute, namespaceOptions, removePod, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

/**
 * Covers the machine's null device in this mount namespace, so that a failure here damages no other process's
 * device.
 */
const own = mkdtempSync(join(tmpdir(), 'host-null-'));
mount('tmpfs', own, 'tmpfs', 0);
mknod(join(own, 'null'), S_IFCHR | 0o666, 1, 3);
chmodSync(join(own, 'null'), 0o666);
bindMount(join(own, 'null'), '/dev/null');

const facts = (): string => {
  const { uid, gid, mode, rdev } = statSync('/dev/null');
  return `${uid}:${gid} ${(mode & 0o7777).toString(8)} ${rdev}`;
};
const untouched = facts();
/** A command by which the user of a container tries to change the file of each standard stream. */
const grab = 'for n in 0 1 2; do chmod 0 /proc/self/fd/$n; done 2>/dev/null; true';

describe('the null device of the host', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    try {
      await stage.close();
    } finally {
      umount('/dev/null');
      umount(own);
      rmSync(own, { recursive: true });
    }
  });

  for (const runtimeHandler of ['crun', 'runc'])
    for (const tty of [false, true])
      it(`is not open in a container or in a command in one: ${runtimeHandler}${tty ? ', with a terminal' : ''}`, async () => {
        const pod: Pod = await runPod(stage, `null-${runtimeHandler}-${tty}`, {}, runtimeHandler);
        const containerId = await createContainer(stage, pod, {
          image,
          command: ['sh', '-c', `${grab}; exec sleep 600`],
          security: { runAsUser: { value: 1000 }, runAsGroup: { value: 1001 } },
          more: { tty },
        });
        const { runtime } = stage.daemon.cri;
        await runtime.startContainer({ containerId });
        assert.equal(facts(), untouched, 'started');
        assert.equal((await execute(stage, containerId, 'sh', '-c', grab)).exitCode, 0);
        assert.equal(facts(), untouched, 'ExecSync');
        for (const streams of [
          { tty: false, stdin: false, stdout: true, stderr: false },
          { tty: false, stdin: false, stdout: false, stderr: true },
          { tty: true, stdin: false, stdout: true, stderr: false },
        ]) {
          const client = await openCommand(
            (await runtime.exec({ containerId, cmd: ['sh', '-c', grab], ...streams })).url,
          );
          assert.equal((await client.status).status, 'Success');
          assert.equal(facts(), untouched, JSON.stringify(streams));
        }
        // The standard streams of a command are a null device nevertheless.
        const { stdout } = await execute(stage, containerId, 'sh', '-c', 'ls -lLn /proc/self/fd/0; wc -c');
        assert.match(stdout, /^crw-rw-rw-.* 1, +3 [^]*\n0\n$/);
        await removePod(stage, pod);
      });

  for (const tty of [false, true])
    it(`is not open in a container with a user namespace or in a command in one${tty ? ', with a terminal' : ''}`, async (t) => {
      const { runtimeHandlers } = await stage.daemon.cri.runtime.status({});
      if (!runtimeHandlers.some(({ name, features }) => name === '' && features?.userNamespaces === true))
        return t.skip('this runtime has no user namespaces');
      const ids = [{ hostId: 1_000_000, containerId: 0, length: 65_536 }];
      const security = {
        namespaceOptions: { ...namespaceOptions, usernsOptions: { mode: 0 as const, uids: ids, gids: ids } },
      };
      const pod = await runPod(stage, `null-mapped-${tty}`, { linux: { securityContext: security } });
      assert.equal(facts(), untouched, 'the pod');
      const command = ['sh', '-c', `${grab}; exec sleep 600`];
      const containerId = await createContainer(stage, pod, { image, command, security, more: { tty } });
      assert.equal(facts(), untouched, 'created');
      await stage.daemon.cri.runtime.startContainer({ containerId });
      assert.equal(facts(), untouched, 'started');
      assert.equal((await execute(stage, containerId, 'sh', '-c', grab)).exitCode, 0);
      assert.equal(facts(), untouched, 'ExecSync');
      for (const terminal of [false, true]) {
        const { url } = await stage.daemon.cri.runtime.exec({
          ...{
            containerId,
            cmd: ['sh', '-c', grab],
            tty: terminal,
            stdin: false,
            stdout: true,
            stderr: false,
          },
        });
        assert.equal((await (await openCommand(url)).status).status, 'Success');
        assert.equal(facts(), untouched, `exec${terminal ? ' with a terminal' : ''}`);
      }
      await removePod(stage, pod);
    });

  for (const runtimeHandler of ['crun', 'runc'])
    it(`is not changed by the root of a container: ${runtimeHandler}`, async () => {
      const pod = await runPod(stage, `null-root-${runtimeHandler}`, {}, runtimeHandler);
      const command = ['sh', '-c', `${grab}; exec sleep 600`];
      for (const [name, more] of Object.entries({
        terminal: { tty: true },
        input: { stdin: true },
        both: { tty: true, stdin: true },
      })) {
        const started = await createContainer(stage, pod, { name, image, command, more });
        await stage.daemon.cri.runtime.startContainer({ containerId: started });
        assert.equal((await execute(stage, started, 'true')).exitCode, 0);
        assert.equal(facts(), untouched, name);
      }
      const containerId = await createContainer(stage, pod, { image, command });
      await stage.daemon.cri.runtime.startContainer({ containerId });
      assert.equal((await execute(stage, containerId, 'sh', '-c', grab)).exitCode, 0);
      assert.equal(facts(), untouched);
      await removePod(stage, pod);
    });

  it('is not open in a process that holds the namespaces of a pod', async (t) => {
    const { runtimeHandlers } = await stage.daemon.cri.runtime.status({});
    if (!runtimeHandlers.some(({ name, features }) => name === '' && features?.userNamespaces === true))
      return t.skip('this runtime has no user namespaces');
    const ids = [{ hostId: 1_000_000, containerId: 0, length: 65_536 }];
    const shared = {
      ...namespaceOptions,
      pid: 0 as const,
      usernsOptions: { mode: 0 as const, uids: ids, gids: ids },
    };
    const security = { namespaceOptions: shared };
    const pod = await runPod(stage, 'null-shared', { linux: { securityContext: security } });
    await createContainer(stage, pod, { image, command: ['sleep', '600'], security });
    assert.equal(facts(), untouched);
    await removePod(stage, pod);
  });
});
