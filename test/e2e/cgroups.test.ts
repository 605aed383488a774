import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { namespaceOptions, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Version 2 at /sys/fs/cgroup, or each controller of version 1 below it. */
const isV2 = existsSync('/sys/fs/cgroup/cgroup.controllers');
const roots = isV2
  ? ['/sys/fs/cgroup']
  : readdirSync('/sys/fs/cgroup', { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'unified')
      .map((entry) => join('/sys/fs/cgroup', entry.name));
const stand = (path: string): boolean => roots.some((root) => existsSync(root + path));

/**
 * A kubelet retries too, because the kernel may keep a cgroup a moment longer than its processes and child
 * cgroups.
 */
async function removeEmptied(path: string): Promise<void> {
  for (const end = performance.now() + 60_000; ;)
    try {
      rmdirSync(path);
      return;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'EBUSY' || performance.now() > end) throw thrown;
      await pause(50);
    }
}

/**
 * The driver cgroupfs, with the cgroup version of the machine. test/vm/systemd.ts tests the driver systemd.
 */
describe('cgroups of pods', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());
  it(
    'on hybrid cgroups, the daemon moves into its own mount namespace without executing itself again',
    { skip: !existsSync('/sys/fs/cgroup/unified') && 'no hybrid cgroups here: the daemon does not move' },
    () => {
      const { pid } = stage.daemon;
      assert.notEqual(readlinkSync(`/proc/${pid}/ns/mnt`), readlinkSync('/proc/self/ns/mnt'));
      assert.doesNotMatch(readFileSync(`/proc/${pid}/environ`, 'utf8'), /PORTCULLIS_OUTER_MOUNTS/u);
    },
  );
  const podBelow = (name: string, cgroupParent: string): Promise<Pod> =>
    runPod(stage, name, { linux: { cgroupParent } });
  const sleeper = (pod: Pod): Promise<string> =>
    runContainer(stage, pod, { image, command: ['sleep', '600'] });
  /** Returns its paths in every hierarchy, each once. */
  const pathsOf = async (containerId: string): Promise<string[]> => {
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
    const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
    const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
    const counted = lines.filter((line) => isV2 || !line.startsWith('0::'));
    return [...new Set(counted.map((line) => line.split(':').slice(2).join(':')))];
  };

  it('RuntimeConfig reports the driver to a kubelet', async () => {
    assert.equal((await stage.daemon.cri.runtime.runtimeConfig({})).linux?.cgroupDriver, 1);
  });

  it('a container is in the cgroup of its pod in every hierarchy, and cgroups of the kubelet stay when the pod is removed', async () => {
    const parent = `${stage.cgroupParent}/kubepods/burstable/pod1`;
    for (const root of roots) mkdirSync(root + parent, { recursive: true });
    try {
      const pod = await podBelow('qos', parent);
      const id = await sleeper(pod);
      assert.deepEqual(await pathsOf(id), [`${parent}/${id}`]);
      await removePod(stage, pod);
      for (const root of roots) {
        assert.ok(existsSync(root + parent), `${root}${parent} is the kubelet’s`);
        assert.equal(existsSync(`${root}${parent}/${id}`), false);
      }
    } finally {
      const made = ['/kubepods/burstable/pod1', '/kubepods/burstable', '/kubepods', ''];
      for (const root of roots)
        for (const path of made) await removeEmptied(root + stage.cgroupParent + path);
    }
  });

  it('a parent cgroup that a pod created is removed with the last pod that uses it', async () => {
    const parent = `${stage.cgroupParent}/new/deep`;
    const [first, second] = [
      await podBelow('first', `${parent}/`),
      await podBelow('second', parent.slice(1)),
    ];
    const ids = [await sleeper(first), await sleeper(second)];
    assert.deepEqual(await pathsOf(ids[0] ?? ''), [`${parent}/${ids[0] ?? ''}`]);
    assert.deepEqual(await pathsOf(ids[1] ?? ''), [`${parent}/${ids[1] ?? ''}`]);
    const cpuset = isV2 ? 'cpuset.cpus.effective' : 'cpuset.cpus';
    const root = isV2 ? roots[0] : roots.find((one) => one.endsWith('/cpuset'));
    if (root !== undefined)
      assert.notEqual(readFileSync(`${root}${parent}/${ids[0] ?? ''}/${cpuset}`, 'utf8').trim(), '');
    await removePod(stage, first);
    assert.ok(stand(parent));
    await removePod(stage, second);
    assert.equal(stand(`${stage.cgroupParent}/new`), false);
  });

  it('a parent cgroup stays while a pod that has no container yet may use it', async () => {
    const parent = `${stage.cgroupParent}/shared`;
    const [first, second] = [await podBelow('busy', parent), await podBelow('waiting', parent)];
    await sleeper(first);
    await removePod(stage, first);
    assert.ok(roots.every((root) => existsSync(root + parent)));
    const id = await sleeper(second);
    assert.deepEqual(await pathsOf(id), [`${parent}/${id}`]);
    await removePod(stage, second);
    assert.equal(stand(parent), false);
  });

  it('a systemd slice is refused, and the error says which option to set', async () => {
    const failure = await failureOf(podBelow('slice', 'kubepods-burstable-pod1.slice'));
    assert.deepEqual([failure.code, failure.kind], ['RUNTIME_BAD_CGROUP_PARENT', 'invalid']);
    assert.match(failure.message, /cgroupDriver: cgroupfs/);
  });

  it('removing a pod with the host’s IPC namespace removes no mount of the host', async () => {
    const folder = mkdtempSync('/dev/shm/portcullis-e2e-');
    execFileSync('mount', ['-t', 'tmpfs', 'e2e', folder]);
    try {
      writeFileSync(join(folder, 'kept'), 'here');
      const pod = await runPod(stage, 'host-ipc', {
        linux: { securityContext: { namespaceOptions: { ...namespaceOptions, ipc: 2 } } },
      });
      await runContainer(stage, pod, {
        image,
        command: ['sleep', '600'],
        security: { namespaceOptions: { ...namespaceOptions, ipc: 2 } },
      });
      await removePod(stage, pod);
      assert.equal(readFileSync(join(folder, 'kept'), 'utf8'), 'here');
    } finally {
      execFileSync('umount', [folder]);
      rmSync(folder, { recursive: true });
    }
  });
});
