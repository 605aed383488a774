import { Client, credentials } from '@grpc/grpc-js';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { criCodec } from '../../runtime/cri/contract/services.ts';
import { containerConfig, execute, podConfig, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import type { Attack, Outcome, Scale } from './attack.ts';
import type { Scene } from './scene.ts';

/** Attacks from inside a container, or through the configuration of a pod. */
export const containerAttacks = ({ lineBytes, mounts, processes }: Scale): readonly Attack[] => [
  { name: 'log of short lines', start: (scene) => logFlood(scene, 'exec yes', 'lines') },
  {
    name: 'log of one line without an end',
    start: (scene) => logFlood(scene, `head -c ${lineBytes} /dev/zero | tr '\\0' x; sleep 600`, 'bytes'),
  },
  { name: 'a request with very many mounts', start: (scene) => manyMounts(scene, mounts) },
  { name: 'a container that mounts very often', start: (scene) => mountsInside(scene, mounts) },
  { name: 'a fork bomb', start: (scene) => forkBomb(scene, processes) },
];

/** @param counts the unit in which the log is measured */
async function logFlood(scene: Scene, command: string, counts: 'lines' | 'bytes') {
  const { stage, image } = scene;
  const pod = await runPod(stage, 'flood');
  // A pod of the lowest QoS class has the fewest shares, however much it writes.
  await runContainer(stage, pod, { image, command: ['sh', '-c', command], resources: { cpuShares: 2 } });
  const log = join(stage.logs, 'flood', 'main', '0.log');
  const begin = performance.now();
  let written = 0;
  let finished = begin;
  // A node has a disk for this amount; the test empties the log, as a rotation does, and counts the written
  // bytes.
  const kept = setInterval(() => {
    const { size } = statSync(log);
    if (size > written) [written, finished] = [size, performance.now()];
  }, 100);
  return {
    async end(): Promise<Outcome> {
      clearInterval(kept);
      const seconds = Math.max(0.1, (finished - begin) / 1000);
      await removePod(stage, pod);
      // Each line of the log from `yes` is `TIME stdout F y`, 47 bytes.
      const lines =
        counts === 'lines'
          ? `, ${Math.round(written / 47 / seconds).toLocaleString('en')} lines a second`
          : '';
      const failures = written === 0 ? ['the container wrote nothing'] : [];
      rmSync(join(stage.logs, 'flood'), { recursive: true, force: true });
      return {
        lines: [`${(written / 2 ** 20).toFixed(0)} MiB of log in ${seconds.toFixed(1)} s${lines}`],
        failures,
      };
    },
  };
}

async function manyMounts({ stage, image }: Scene, count: number) {
  const pod = await runPod(stage, 'mounts');
  const hostPath = join(stage.logs, 'mounts');
  mkdirSync(hostPath, { recursive: true });
  const mounts = Array.from({ length: count }, (_, index) => ({
    containerPath: `/mnt/${index}`,
    hostPath,
    readonly: true,
  }));
  const config = containerConfig({ image, name: 'many', more: { mounts } });
  // Encoded once: the attack must keep the daemon busy, not the measuring process.
  const bytes = Buffer.from(
    criCodec('CreateContainerRequest').encode({ podSandboxId: pod.id, config, sandboxConfig: pod.config }),
  );
  const client = new Client(`unix:${stage.folders.socket}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
  });
  const same = (value: Buffer): Buffer => value;
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      client.makeUnaryRequest('/runtime.v1.RuntimeService/CreateContainer', same, same, bytes, (error) =>
        resolve(error?.details ?? 'it was taken'),
      );
    });
  const failures: string[] = [];
  let asked = 0;
  let over = false;
  const asking = (async () => {
    while (!over) {
      const said = await ask();
      if (!said.includes(`requests ${count} mounts`))
        failures.push(`an unexpected answer: ${said.slice(0, 300)}`);
      asked += 1;
    }
  })();
  return {
    async end(): Promise<Outcome> {
      over = true;
      await asking;
      client.close();
      await removePod(stage, pod);
      return {
        lines: [`${asked} requests with ${count} mounts, each refused`],
        failures: failures.slice(0, 3),
      };
    },
  };
}

/** Binds a tree of a hundred mounts again and again in the container's own mount namespace. */
async function mountsInside({ stage, image }: Scene, count: number) {
  const pod = await runPod(stage, 'mounter', { linux: { securityContext: { privileged: true } } });
  const script = `mkdir -p /m && mount -t tmpfs t /m && mount --make-private /m && mkdir -p /m/0 && i=0
    while [ $i -lt 100 ]; do mkdir -p /m/0/$i; mount --bind /tmp /m/0/$i; i=$((i+1)); done
    i=1; while [ $i -lt ${Math.ceil(count / 100)} ]; do mkdir -p /m/$i; mount --rbind /m/0 /m/$i; i=$((i+1)); done
    wc -l < /proc/self/mountinfo; sleep 600`;
  const containerId = await runContainer(stage, pod, {
    image,
    command: ['sh', '-c', `mount --bind /m/0 /m/0 2>/dev/null; ${script}`],
    security: { privileged: true },
  });
  return {
    async end(): Promise<Outcome> {
      const { stdout } = await execute(stage, containerId, 'wc', '-l', '/proc/self/mountinfo');
      const made = Number(stdout.split(' ')[0]);
      await removePod(stage, pod);
      return {
        lines: [`${made} mounts in the container`],
        failures: made >= count ? [] : [`only ${made} mounts were made: ${stdout}`],
      };
    },
  };
}

/**
 * Every process starts two more. Its pod has a limit as kubelets set it (`podPidsLimit`), on the pod's own
 * cgroup: no other limit applies.
 */
async function forkBomb({ stage, image }: Scene, processes: number) {
  const parent = `${stage.cgroupParent}-bomb`;
  const folder =
    [`/sys/fs/cgroup/pids${parent}`, `/sys/fs/cgroup${parent}`].find((path) =>
      existsSync(join(path, '..', 'cgroup.procs')),
    ) ?? '';
  if (folder === '')
    return {
      end: () => Promise.resolve({ lines: ['no cgroup controller for pids here: skipped'], failures: [] }),
    };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'pids.max'), String(processes));
  const plain = podConfig(stage, 'bomb');
  const { podSandboxId } = await stage.daemon.cri.runtime.runPodSandbox({
    config: { ...plain, linux: { ...plain.linux, cgroupParent: parent } },
    runtimeHandler: '',
  });
  const pod: Pod = {
    id: podSandboxId,
    config: { ...plain, linux: { ...plain.linux, cgroupParent: parent } },
  };
  await runContainer(stage, pod, {
    image,
    command: ['sh', '-c', 'bomb() { bomb 2>/dev/null & bomb 2>/dev/null & sleep 600; }; bomb; sleep 600'],
    resources: { cpuShares: 2 },
  });
  await pause(1_000);
  return {
    async end(): Promise<Outcome> {
      const current = Number(readFileSync(join(folder, 'pids.current'), 'utf8'));
      await removePod(stage, pod);
      for (const root of [
        '/sys/fs/cgroup',
        ...readdirSync('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}`),
      ])
        if (existsSync(root + parent)) rmdirSync(root + parent);
      const failures = current >= processes * 0.9 ? [] : [`the bomb reached only ${current} processes`];
      return { lines: [`${current} processes, of ${processes} that the pod's cgroup allows`], failures };
    },
  };
}
