import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { layerOf } from '../fixtures/image.ts';
import type { ImageSource, Layer } from '../fixtures/image.ts';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { ContainerAsk, Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

const rule = (ceiling: string): string =>
  `  - images: ["${registryName}/${ceiling}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`;
const policy = `${policyOf(['baseline', 'paths', 'privileged'].map(rule).join(''))}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: paths }
entitlements: [host.paths, host.devices.admin]
`;

/**
 * Covers mounts, devices and working directories whose paths lead to entries of the kernel and the runtime at
 * /dev, /proc and /sys.
 */
describe('paths that lead to /dev, /proc and /sys', () => {
  const config = join(mkdtempSync(join(tmpdir(), 'pc-kernel-folders-')), 'config.yaml');
  const kubelet = mkdtempSync(join(tmpdir(), 'pc-kubelet-'));
  const image: Record<string, string> = {};
  let stage: Stage;
  let serial = 0;
  let layer: Layer;
  /** Links of the image, by their name in its root. */
  const links = {
    todev: '/dev',
    todev2: 'todev',
    toproc: 'proc',
    tosys: '/tmp/../sys/kernel',
    around: '/proc/../srv',
    toshm: '/dev/shm',
    w: '/proc/self/fd',
    w2: '/w',
    w3: '/dev/fd',
    w4: '/dev/../proc/self/fd',
    w5: '/tmp/../../../proc/self/./fd/',
    w6: '/proc/thread-self/cwd',
    loop: 'loop',
    good: '/srv/deep',
    self: '/',
  };
  const publish = async (place: string, source: ImageSource = {}): Promise<string> => {
    serial += 1;
    return stage.pull((await stage.publish(`${place}/a${serial}:1`, source)).reference);
  };
  before(async () => {
    writeFileSync(config, `kubeletRoot: ${kubelet}\n`);
    stage = await openStage({ policy, flags: ['--config', config] });
    layer = await layerOf([
      ...['srv/', 'srv/deep/', 'data/', 'srv/real/'].map((name) => ({ name, type: 'directory' as const })),
      ...Object.entries(links).map(([name, linkname]) => ({ name, type: 'symlink' as const, linkname })),
    ]);
    for (const place of ['baseline', 'paths', 'privileged'])
      image[place] = await publish(place, { layers: [layer] });
  });
  after(async () => {
    await stage.close();
    rmSync(kubelet, { recursive: true, force: true });
    rmSync(join(config, '..'), { recursive: true, force: true });
  });

  /** Returns a volume that the kubelet keeps for the pod. */
  const emptyDir = (pod: Pod, name: string): string => {
    const path = join(
      kubelet,
      'pods',
      pod.config.metadata?.uid ?? '',
      'volumes/kubernetes.io~empty-dir',
      name,
    );
    mkdirSync(path, { recursive: true });
    return path;
  };
  const ask = (more: NonNullable<ContainerAsk['more']>, place = 'baseline'): ContainerAsk => {
    serial += 1;
    return { name: `c${serial}`, image: image[place] ?? '', command: ['sleep', '600'], more };
  };
  const codeOf = (attempt: Promise<unknown>): Promise<string> =>
    attempt.then(
      () => 'made',
      (thrown: unknown) => (thrown as { code: string }).code,
    );

  const file = (pod: Pod, name: string): string => {
    const path = join(emptyDir(pod, 'files'), name);
    writeFileSync(path, '');
    return path;
  };
  const refused = 'RUNTIME_DESTINATION_NOT_GRANTED';
  const destinations: readonly (readonly [
    destination: string,
    source: 'folder' | 'file',
    outcome: string,
  ])[] = [
    ['/dev', 'folder', refused],
    ['/dev/', 'folder', refused],
    ['//dev', 'folder', refused],
    ['/./dev/.', 'folder', refused],
    ['/todev', 'folder', refused],
    ['/tmp/../dev', 'folder', refused],
    ['/tmp/../../dev/null', 'file', refused],
    ['/none/../todev', 'folder', refused],
    ['/todev/../proc/sys', 'folder', refused],
    ['/x/y/../../toproc', 'folder', refused],
    ['/tmp/../sys/firmware', 'folder', refused],
    ['/tmp/..', 'folder', 'RUNTIME_BAD_MOUNT'],
    ['/tmp/../self', 'folder', 'RUNTIME_BAD_MOUNT'],
    ['/todev2', 'folder', refused],
    ['/todev2/null', 'file', refused],
    ['/dev/null', 'file', refused],
    ['/dev/pts', 'folder', refused],
    ['/dev/pts/0', 'file', refused],
    ['/dev/ptmx', 'file', refused],
    ['/dev/console', 'file', refused],
    ['/dev/mqueue', 'folder', refused],
    ['/dev/fd', 'folder', refused],
    ['/dev/fd/5', 'file', refused],
    ['/dev/stdin', 'file', refused],
    ['/dev/x', 'folder', refused],
    ['/proc', 'folder', refused],
    ['/proc/meminfo', 'file', refused],
    ['/proc/self/attr', 'folder', refused],
    ['/proc/sys/kernel', 'folder', refused],
    ['/toproc', 'folder', refused],
    ['/toproc/keys', 'file', refused],
    ['/around', 'folder', refused],
    ['/around/deep', 'folder', refused],
    ['/sys', 'folder', refused],
    ['/sys/fs/cgroup', 'folder', refused],
    ['/sys/firmware', 'folder', refused],
    ['/tosys', 'folder', refused],
    ['/', 'folder', 'RUNTIME_BAD_MOUNT'],
    ['/self', 'folder', 'RUNTIME_BAD_MOUNT'],
    ['/loop/x', 'folder', 'RUNTIME_BAD_MOUNT'],
    ['/.portcullis-launcher', 'file', 'RUNTIME_BAD_MOUNT'],
    ['/self/.portcullis-launcher/x', 'folder', 'RUNTIME_BAD_MOUNT'],
    [`/${'x/'.repeat(3000)}`, 'folder', 'RUNTIME_BAD_MOUNT'],
    // Destinations that a kubelet and ordinary pods use there, and similar destinations.
    ['/dev/termination-log', 'file', 'made'],
    ['/dev/log/of/mine', 'file', 'made'],
    ['/dev/shm', 'folder', 'made'],
    ['/dev/shm/sub', 'folder', 'made'],
    ['/toshm', 'folder', 'made'],
    ['/dev/hugepages', 'folder', 'made'],
    ['/dev/hugepages-2Mi', 'folder', 'made'],
    ['/device', 'folder', 'made'],
    ['/process', 'folder', 'made'],
    ['/good', 'folder', 'made'],
    ['/self/srv/deep', 'folder', 'made'],
    ['/new/proc', 'folder', 'made'],
  ];
  for (const handler of ['crun', 'runc']) {
    it(`a volume is mounted on such a path only if it is harmless (${handler})`, async () => {
      const pod = await runPod(stage, `table-${handler}`, {}, handler);
      const folder = emptyDir(pod, 'volume');
      const outcomes: unknown[] = [];
      for (const [containerPath, kind] of destinations) {
        const mounts = [{ containerPath, hostPath: kind === 'folder' ? folder : file(pod, 'file') }];
        outcomes.push([
          containerPath.slice(0, 40),
          kind,
          await codeOf(runContainer(stage, pod, ask({ mounts }))),
        ]);
      }
      assert.deepEqual(
        outcomes,
        destinations.map(([path, kind, outcome]) => [path.slice(0, 40), kind, outcome]),
      );
      await removePod(stage, pod);
    });

    it(`a volume at /dev does not uncover a masked file (CVE-2025-31133), even if the ceiling grants privileged (${handler})`, async () => {
      const pod = await runPod(stage, `masked-${handler}`, {}, handler);
      const uncovered: string[] = [];
      for (const target of ['/proc/keys', '/not/there']) {
        for (const place of ['baseline', 'paths', 'privileged']) {
          for (const containerPath of ['/dev', '/todev']) {
            const volume = emptyDir(pod, `dev-${target.slice(1, 4)}-${place}`);
            rmSync(join(volume, 'null'), { force: true });
            symlinkSync(target, join(volume, 'null'));
            const asked = ask({ mounts: [{ containerPath, hostPath: volume }] }, place);
            const id = await runContainer(stage, pod, asked).catch(
              (thrown: unknown) => thrown as { code: string },
            );
            if (typeof id !== 'string') {
              if (place !== 'privileged') assert.equal(id.code, refused);
              else if (handler === 'runc' && target === '/proc/keys')
                assert.equal(id.code, 'RUNTIME_MADE_OTHERWISE');
              continue;
            }
            assert.equal(place, 'privileged');
            // The file contains keys of this host, or can at least be opened.
            const { stdout } = await execute(
              stage,
              id,
              'sh',
              '-c',
              'cat /proc/keys >/dev/full 2>/tmp/why; wc -c < /proc/keys; cat /tmp/why',
            );
            if (!stdout.startsWith('0\n')) uncovered.push(`${place} ${containerPath} ${target}: ${stdout}`);
          }
        }
      }
      assert.deepEqual(uncovered, []);
      await removePod(stage, pod);
    });

    it(`a destination inside another volume is resolved through the links of that volume (${handler})`, async () => {
      const pod = await runPod(stage, `nested-${handler}`, {}, handler);
      const outer = emptyDir(pod, 'outer');
      for (const [name, target] of [
        ['dev', '/dev'],
        ['proc', '../proc'],
        ['far', '/data/proc'],
        ['good', 'inside'],
      ] as const)
        symlinkSync(target, join(outer, name));
      mkdirSync(join(outer, 'inside'));
      const attempt = (below: string): Promise<string> =>
        codeOf(
          runContainer(
            stage,
            pod,
            ask({
              mounts: [
                { containerPath: '/data', hostPath: outer },
                { containerPath: `/data/${below}`, hostPath: emptyDir(pod, 'inner') },
              ],
            }),
          ),
        );
      const outcomes = [];
      for (const below of ['dev', 'proc', 'proc/sys', 'far', 'good/x', 'new'])
        outcomes.push([below, await attempt(below)]);
      assert.deepEqual(outcomes, [
        ['dev', refused],
        ['proc', refused],
        ['proc/sys', refused],
        ['far', refused],
        ['good/x', 'made'],
        ['new', 'made'],
      ]);
      await removePod(stage, pod);
    });

    it(`a device is created on such a path only under a name that the runtime does not need (${handler})`, async () => {
      const pod = await runPod(stage, `device-${handler}`, {}, handler);
      const outcomes = [];
      for (const [hostPath, containerPath] of [
        ['/dev/zero', '/dev/null'],
        ['/dev/zero', '/todev/null'],
        ['/dev/zero', '/dev/pts/9'],
        ['/dev/zero', '/proc/zero'],
        ['/dev/zero', '/tosys/zero'],
        ['/dev/null', '/dev/null'],
        ['/dev/zero', '/dev/mine'],
        ['/dev/zero', '/srv/zero'],
        ['/dev/urandom', '/dev/random'],
      ] as const)
        outcomes.push(
          await codeOf(
            runContainer(
              stage,
              pod,
              ask({ devices: [{ hostPath, containerPath, permissions: 'r' }] }, 'paths'),
            ),
          ),
        );
      assert.deepEqual(outcomes, [...Array<string>(5).fill(refused), 'made', 'made', 'made', 'made']);
      await removePod(stage, pod);
    });

    it(`a volume of the host is allowed there only under a name that the runtime does not need, if the ceiling grants host paths (${handler})`, async () => {
      const pod = await runPod(stage, `host-${handler}`, {}, handler);
      const socket = join(kubelet, `socket-${handler}`);
      const server = createServer().listen(socket);
      const outcomes = [];
      for (const [hostPath, containerPath] of [
        [socket, '/dev/log'],
        ['/dev/pts', '/dev/host-pts'],
        ['/dev/zero', '/dev/my-zero'],
        ['/dev/urandom', '/dev/random'],
        ['/dev', '/dev'],
        ['/dev', '/dev/host'],
        ['/proc', '/proc'],
        ['/proc', '/host/proc'],
        ['/sys/kernel', '/sys/kernel'],
        [kubelet, '/dev/kubelet'],
      ] as const)
        outcomes.push([
          containerPath,
          await codeOf(runContainer(stage, pod, ask({ mounts: [{ hostPath, containerPath }] }, 'paths'))),
        ]);
      server.close();
      assert.deepEqual(outcomes, [
        ['/dev/log', 'made'],
        ['/dev/host-pts', 'made'],
        ['/dev/my-zero', 'made'],
        ['/dev/random', 'made'],
        ['/dev', refused],
        ['/dev/host', refused],
        ['/proc', refused],
        ['/host/proc', 'made'],
        ['/sys/kernel', refused],
        ['/dev/kubelet', refused],
      ]);
      await removePod(stage, pod);
    });

    it(`volumes and working directories of the image are refused on such paths (${handler})`, async () => {
      const pod = await runPod(stage, `image-${handler}`, {}, handler);
      const attempt = async (config: Record<string, unknown>): Promise<string> =>
        codeOf(
          runContainer(stage, pod, {
            ...ask({}),
            image: await publish('baseline', { layers: [layer], config }),
          }),
        );
      assert.equal(await attempt({ Volumes: { '/todev': {} } }), refused);
      assert.equal(await attempt({ Volumes: { '/toproc/sys': {} } }), refused);
      for (const WorkingDir of [
        '/w/7',
        '/w',
        '/w2/7',
        '/w3/7',
        '/w3',
        '/w4/8',
        '/w5/3',
        '/w6',
        '/self/w2/9',
        '/loop',
      ])
        assert.equal(await attempt({ WorkingDir }), 'RUNTIME_BAD_WORKING_DIR', WorkingDir);
      assert.equal(await attempt({ WorkingDir: '/good/new/folder' }), 'made');
      await removePod(stage, pod);
    });

    it(`a working directory is resolved through volumes, and again before each command (CVE-2024-21626) (${handler})`, async () => {
      const pod = await runPod(stage, `cwd-${handler}`, {}, handler);
      const volume = emptyDir(pod, 'cwd');
      symlinkSync('/proc/self/fd', join(volume, 'fd'));
      mkdirSync(join(volume, 'inside/7'), { recursive: true });
      const mounts = [{ containerPath: '/data', hostPath: volume }];
      assert.equal(
        await codeOf(runContainer(stage, pod, ask({ mounts, workingDir: '/data/fd/7' }))),
        'RUNTIME_BAD_WORKING_DIR',
      );
      const inVolume = await runContainer(stage, pod, ask({ mounts, workingDir: '/data/inside/7' }));
      const inImage = await runContainer(stage, pod, ask({ workingDir: '/srv/real/7' }));
      for (const id of [inVolume, inImage])
        assert.match((await execute(stage, id, 'pwd')).stdout, /^\/(data\/inside|srv\/real)\/7\n$/);
      renameSync(join(volume, 'inside'), join(volume, 'away'));
      symlinkSync('fd', join(volume, 'inside'));
      await execute(stage, inImage, 'sh', '-c', 'mv /srv/real /srv/away && ln -s /proc/self/fd /srv/real');
      for (const id of [inVolume, inImage]) {
        const failure = await failureOf(
          stage.daemon.cri.runtime.execSync({ containerId: id, cmd: ['true'], timeout: 10 }),
        );
        assert.equal(failure.code, 'RUNTIME_BAD_WORKING_DIR');
        const streams = { stdin: false, stdout: true, stderr: true, tty: false };
        const client = await openCommand(
          (await stage.daemon.cri.runtime.exec({ containerId: id, cmd: ['pwd'], ...streams })).url,
        );
        assert.equal((await client.status).status, 'Failure');
        assert.equal(client.stdout(), '');
      }
      await removePod(stage, pod);
    });

    it(`a command inherits no descriptors of the runtime (${handler})`, async () => {
      const pod = await runPod(stage, `descriptors-${handler}`, {}, handler);
      const id = await runContainer(stage, pod, ask({ workingDir: '/srv' }));
      // ls has one open descriptor itself.
      const { stdout } = await execute(stage, id, 'ls', '/proc/self/fd');
      assert.equal(stdout, '0\n1\n2\n3\n');
      assert.equal((await execute(stage, id, 'ls', '/proc/1/fd')).stdout, '0\n1\n2\n');
      await removePod(stage, pod);
    });
  }
});
