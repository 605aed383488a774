import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { shell, simplePod } from './check.ts';
import type { Check } from './check.ts';
import { patience } from '../../fixtures/kubelet/patience.ts';
import { container, isReady, stateOf } from '../node/pods.ts';

const never = { restartPolicy: 'Never' };

/** Checks of starts, ends, restarts and resizes. */
export const lifeChecks: readonly Check[] = [
  {
    name: 'a pod of a signed image runs and has an address',
    pods: ({ images }) => [simplePod('plain', images.app)],
    run: async ({ pods }) => {
      const pod = await pods.until('plain', 'ready', isReady);
      assert.match(pod.status.podIP ?? '', /^10\.211\./);
      assert.match(container(pod).imageID, /sha256:/);
    },
  },
  {
    name: 'a container that fails is restarted, and waits in CrashLoopBackOff in between',
    pods: ({ images }) => [simplePod('crashes', images.app, shell('exit 3'))],
    run: async ({ pods }) => {
      const pod = await pods.until('crashes', 'backing off after two restarts', (one) => {
        const { waiting, restarts } = stateOf(one);
        return waiting?.reason === 'CrashLoopBackOff' && restarts >= 2;
      });
      assert.deepEqual(
        [stateOf(pod).last.terminated?.exitCode, stateOf(pod).last.terminated?.reason],
        [3, 'Error'],
      );
    },
  },
  {
    name: 'pods that end are Succeeded or Failed by their exit code',
    pods: ({ images }) => [
      simplePod('succeeds', images.app, shell('exit 0'), never),
      simplePod('fails', images.app, shell('exit 7'), never),
    ],
    run: async ({ pods }) => {
      const good = await pods.until('succeeds', 'Succeeded', (one) => one.status.phase === 'Succeeded');
      assert.deepEqual(
        [stateOf(good).terminated?.exitCode, stateOf(good).terminated?.reason],
        [0, 'Completed'],
      );
      const bad = await pods.until('fails', 'Failed', (one) => one.status.phase === 'Failed');
      assert.deepEqual([stateOf(bad).terminated?.exitCode, stateOf(bad).terminated?.reason], [7, 'Error']);
    },
  },
  {
    name: 'init containers run in order, a sidecar beside them and the main container, and ends after it',
    pods: ({ images }) => {
      const note = (text: string): string => `echo ${text} >> /out/order`;
      const volumeMounts = [{ name: 'out', mountPath: '/out' }];
      const one = (name: string, script: string, more = {}) => ({
        name,
        image: images.app,
        ...shell(script),
        volumeMounts,
        ...more,
      });
      return [
        {
          name: 'stages',
          spec: {
            restartPolicy: 'Never',
            volumes: [{ name: 'out', emptyDir: {} }],
            initContainers: [
              one('first', note('first')),
              one('sidecar', `${note('sidecar')}; trap 'exit 0' TERM; while :; do sleep 0.2; done`, {
                restartPolicy: 'Always',
              }),
              one('second', note('second')),
            ],
            containers: [one('main', `${note('main')}; sleep 2; cat /out/order`)],
          },
        },
      ];
    },
    run: async ({ pods, kubelet }) => {
      await pods.until('stages', 'running beside its sidecar', (one) => {
        const { running } = stateOf(one, 'main');
        return (
          (running !== undefined && stateOf(one, 'sidecar').running !== undefined) ||
          one.status.phase === 'Succeeded'
        );
      });
      const pod = await pods.until('stages', 'Succeeded', (one) => one.status.phase === 'Succeeded');
      assert.equal(stateOf(pod, 'sidecar').terminated?.exitCode, 0);
      const log = await kubelet.server.text('/containerLogs/shop/stages-node/main');
      assert.deepEqual(log.trim().split('\n'), ['first', 'sidecar', 'second', 'main']);
    },
  },
  {
    name: 'termination messages: from the file, and from the log of a container that failed',
    pods: ({ images }) => [
      simplePod(
        'message-file',
        images.app,
        shell('echo -n last words > /dev/termination-log; exit 1'),
        never,
      ),
      simplePod(
        'message-log',
        images.app,
        { ...shell('echo one; echo two; exit 1'), terminationMessagePolicy: 'FallbackToLogsOnError' },
        never,
      ),
    ],
    run: async ({ pods }) => {
      const file = await pods.until('message-file', 'Failed', (one) => one.status.phase === 'Failed');
      assert.equal(stateOf(file).terminated?.message, 'last words');
      const log = await pods.until('message-log', 'Failed', (one) => one.status.phase === 'Failed');
      assert.equal(stateOf(log).terminated?.message, 'one\ntwo\n');
    },
  },
  {
    name: 'postStart runs at the start; preStop runs before the stop signal, within the grace period',
    pods: ({ images, folder }) => {
      mkdirSync(join(folder, 'hooks'), { recursive: true });
      const append = (word: string): string => `echo ${word} >> /out/hooks`;
      return [
        {
          name: 'hooks',
          spec: {
            terminationGracePeriodSeconds: 10,
            volumes: [{ name: 'out', hostPath: { path: join(folder, 'hooks') } }],
            containers: [
              {
                name: 'main',
                image: images.app,
                ...shell(`trap '${append('term')}; exit 0' TERM; while :; do sleep 0.1; done`),
                volumeMounts: [{ name: 'out', mountPath: '/out' }],
                lifecycle: {
                  postStart: { exec: { command: ['sh', '-c', append('post-start')] } },
                  preStop: { exec: { command: ['sh', '-c', `sleep 0.5; ${append('pre-stop')}`] } },
                },
              },
            ],
          },
        },
      ];
    },
    run: async ({ pods, folder }) => {
      await pods.until('hooks', 'ready', isReady);
      pods.remove('hooks');
      const file = join(folder, 'hooks/hooks');
      const read = (): string => (existsSync(file) ? readFileSync(file, 'utf8') : '');
      for (let waited = 0; waited < patience(60_000) && !read().includes('term'); waited += 250)
        await pause(250);
      assert.equal(read(), 'post-start\npre-stop\nterm\n');
    },
  },
  {
    name: 'a container over its memory limit ends as OOMKilled',
    pods: ({ images }) => [
      simplePod(
        'eats',
        images.app,
        { ...shell('exec tail /dev/zero'), resources: { limits: { memory: '16Mi' } } },
        never,
      ),
    ],
    run: async ({ pods }) => {
      const pod = await pods.until('eats', 'Failed', (one) => one.status.phase === 'Failed');
      assert.deepEqual(
        [stateOf(pod).terminated?.exitCode, stateOf(pod).terminated?.reason],
        [137, 'OOMKilled'],
      );
    },
  },
  {
    name: 'a container is resized in place: new limits in its cgroup, the same process, no restart',
    pods: ({ images }) => [resizable(images.app, '50m', '64Mi')],
    skip: ({ cgroups }) =>
      cgroups.perQos
        ? undefined
        : 'a kubelet 1.36 that makes no cgroups (cgroupsPerQOS: false) panics when it resizes',
    run: async ({ pods, images, stage }) => {
      const before = await pods.until('resized', 'ready', isReady);
      pods.apply(resizable(images.app, '100m', '96Mi'));
      const id = (container(before).containerID ?? '').replace(/^.*:\/\//, '');
      const wanted = String(96 * 2 ** 20);
      let limit: string | undefined;
      for (let waited = 0; waited < patience(60_000) && limit !== wanted; waited += 250) {
        limit = memoryLimitOf(id);
        await pause(250);
      }
      assert.equal(limit, wanted);
      const after = await pods.until('resized', 'reported with its new size', (one) => {
        const shown = container(one) as {
          readonly resources?: { readonly limits?: { readonly cpu?: string; readonly memory?: string } };
        };
        return shown.resources?.limits?.memory === '96Mi' && shown.resources.limits.cpu === '100m';
      });
      const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
      assert.equal(String(status?.resources?.linux?.memoryLimitInBytes), wanted);
      assert.equal(String(status?.resources?.linux?.cpuQuota), '10000');
      assert.equal(container(after).containerID, container(before).containerID);
      assert.equal(container(after).restartCount, 0);
    },
  },
];

/** With an explicit uid, an edited manifest updates the same pod. Without one it is another pod. */
function resizable(image: string, cpu: string, memory: string) {
  const size = { cpu, memory };
  return {
    ...simplePod('resized', image, { resources: { limits: size, requests: size } }),
    uid: '6d3f6d3a-0000-4000-8000-726573697a65',
  };
}

/**
 * Returns the memory limit in the kernel for a container id. The cgroup name contains the id with either
 * driver.
 */
function memoryLimitOf(id: string): string | undefined {
  for (const [root, file] of [
    ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
    ['/sys/fs/cgroup', 'memory.max'],
  ] as const) {
    const found = findFolder(root, id, 6);
    if (found === undefined) continue;
    // Below the systemd scope, crun sets its limits in a separate cgroup.
    const own = join(found, 'container');
    const folder = existsSync(own) ? own : found;
    if (existsSync(join(folder, file))) return readFileSync(join(folder, file), 'utf8').trim();
  }
  return undefined;
}

function findFolder(folder: string, part: string, depth: number): string | undefined {
  if (depth === 0 || !existsSync(folder)) return undefined;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const path = join(folder, entry.name);
    if (entry.name.includes(part) && !entry.name.includes('conmon')) return path;
    const deeper = findFolder(path, part, depth - 1);
    if (deeper !== undefined) return deeper;
  }
  return undefined;
}
