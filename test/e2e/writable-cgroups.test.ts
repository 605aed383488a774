import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod, SecurityContext } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const root = '/sys/fs/cgroup';
const isV2 = existsSync(`${root}/cgroup.controllers`);
/** Where a container finds its own cgroup. */
const own = isV2 ? root : `${root}/memory`;
/** The options of version 2, which all of its mounts have in common. */
const options = (): string =>
  / - cgroup2 \S+ (\S+)/.exec(readFileSync('/proc/self/mountinfo', 'utf8'))?.[1] ?? '';
// The options belong to the machine: only a test machine of its own is changed.
if (isV2 && process.env['IN_VM'] !== undefined)
  execFileSync('mount', ['-o', 'remount,nsdelegate,memory_recursiveprot', root]);
const isDelegated = isV2 && options().split(',').includes('nsdelegate');
const skip = !isDelegated && 'needs cgroup version 2, mounted with nsdelegate';

const rule = (ceiling: string): string =>
  `  - images: ["${registryName}/${ceiling}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`;
const policy = `${policyOf(['baseline', 'privileged', 'cgroups'].map(rule).join(''))}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: cgroups }
entitlements: [kernel.cgroups]
`;
const [readOnly, readWrite] = [1, 2] as const;
/** CRI NamespaceMode. */
const [container, node] = [1, 2] as const;

describe('cgroups in a container', () => {
  let stage: Stage;
  const images = { baseline: '', privileged: '', cgroups: '' };
  const folder = mkdtempSync(join(tmpdir(), 'cgroups-'));
  before(async () => {
    const config = join(folder, 'config.yaml');
    const handlers = ['crun: { path: /usr/bin/crun }', 'runc: { path: /usr/sbin/runc }'];
    const open = 'open: { path: /usr/bin/crun, writableCgroups: true }';
    writeFileSync(config, `runtimes: { ${[...handlers, open].join(', ')} }\n`);
    stage = await openStage({ policy, flags: ['--config', config] });
    for (const name of ['baseline', 'privileged', 'cgroups'] as const)
      images[name] = await stage.pull((await stage.publish(`${name}/a:1`)).reference);
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });
  const start = (pod: Pod, image: string, security: SecurityContext, name = 'main'): Promise<string> =>
    runContainer(stage, pod, { name, image, command: ['sleep', '600'], security });
  const shell = async (id: string, script: string): Promise<string> => {
    const { exitCode, stdout, stderr } = await execute(stage, id, 'sh', '-c', script);
    return exitCode === 0 ? stdout.trim() : `${exitCode}: ${stderr.trim()}`;
  };

  it('are reported as supported where the kernel keeps a container from its own limits', async () => {
    const { features } = await stage.daemon.cri.runtime.status({ verbose: false });
    assert.equal(features?.cgroupMountMode, isDelegated);
  });

  it('stay read-only unless a request asks for more, and a ceiling grants it', async () => {
    const pod = await runPod(stage, 'asking');
    const plain = await start(pod, images.cgroups, {});
    assert.match(await shell(plain, `mkdir ${own}/a`), /Read-only/);
    const asked = createContainer(stage, pod, {
      name: 'beyond',
      image: images.baseline,
      security: { cgroupMountMode: readWrite },
    });
    const failure = await failureOf(asked);
    assert.equal(failure.code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    assert.match(failure.message, /the ceiling baseline lacks writable cgroups/);
    for (const [name, security] of [
      ['privileged-read-only', { privileged: true, cgroupMountMode: readOnly }],
      ['of-the-node', { namespaceOptions: { network: 0, pid: 1, ipc: 0, cgroupnsOptions: { mode: node } } }],
      ['unknown', { cgroupMountMode: 9 }],
    ] as const) {
      const refused = await failureOf(
        createContainer(stage, pod, {
          name,
          image: images.privileged,
          security: security as SecurityContext,
        }),
      );
      assert.deepEqual([refused.code, refused.kind], ['RUNTIME_BAD_CGROUP_OPTIONS', 'invalid'], name);
    }
    await removePod(stage, pod);
  });

  it(
    'are not made writable where a container could raise its own limits',
    { skip: isDelegated },
    async () => {
      const pod = await runPod(stage, 'undelegated');
      const failure = await failureOf(
        createContainer(stage, pod, { image: images.cgroups, security: { cgroupMountMode: readWrite } }),
      );
      assert.deepEqual([failure.code, failure.kind], ['RUNTIME_CGROUPS_NOT_DELEGATED', 'precondition']);
      await removePod(stage, pod);
    },
  );

  for (const handler of ['crun', 'runc']) {
    it(
      `of a privileged container are those of the node, whose options stay (${handler})`,
      { skip: !isV2 && 'version 1' },
      async () => {
        const before = options();
        const security = { linux: { securityContext: { privileged: true } } };
        const pod = await runPod(stage, `privileged-${handler}`, security, handler);
        const id = await start(pod, images.privileged, { privileged: true });
        assert.equal(options(), before);
        const path = await shell(id, 'cat /proc/self/cgroup');
        assert.ok(path.includes(stage.cgroupParent), `${path} is not relative to the container`);
        assert.equal(
          await shell(id, `test -d ${root}${stage.cgroupParent} && test -w ${root} && echo yes`),
          'yes',
        );
        const cgroupnsOptions = { mode: container };
        const namespaceOptions = { network: 0, pid: 1, ipc: 0, cgroupnsOptions } as const;
        const own = await start(pod, images.privileged, { privileged: true, namespaceOptions }, 'own');
        assert.match(await shell(own, 'cat /proc/1/cgroup'), /^0::\/[^/]*$/m);
        assert.equal(options(), before);
        await removePod(stage, pod);
      },
    );

    for (const [who, user] of [
      ['root', 0],
      ['another user', 1000],
    ] as const)
      it(`of its own are writable for ${who}, but not its limits (${handler})`, { skip }, async () => {
        const pod = await runPod(stage, `own-${handler}-${user}`, {}, handler);
        const id = await runContainer(stage, pod, {
          image: images.cgroups,
          command: ['sleep', '600'],
          security: { cgroupMountMode: readWrite, runAsUser: { value: user } },
          resources: { memoryLimitInBytes: 64 * 2 ** 20 },
        });
        assert.match(await shell(id, `echo max > ${root}/memory.max`), /permitted|denied/i);
        assert.match(await shell(id, `echo max > ${root}/cgroup.max.descendants`), /permitted|denied/i);
        const nested = [
          `mkdir ${root}/inner ${root}/rest`,
          `for pid in $(cat ${root}/cgroup.procs); do echo $pid > ${root}/rest/cgroup.procs 2>/dev/null; done`,
          `echo +memory > ${root}/cgroup.subtree_control`,
          `echo 8388608 > ${root}/inner/memory.max`,
          `cat ${root}/inner/memory.max`,
        ].join('\n');
        assert.equal(await shell(id, nested), '8388608');
        assert.equal(await shell(id, 'echo again'), 'again', 'a command still starts');
        assert.match(
          await shell(id, `i=0; while mkdir ${root}/rest/$i; do i=$((i+1)); done; echo $i`),
          /^\d+$/,
        );
        const host = `${root}${stage.cgroupParent}/${id}`;
        assert.equal(readFileSync(`${host}/memory.max`, 'utf8').trim(), String(64 * 2 ** 20));
        assert.ok(
          readdirSync(`${host}/rest`, { withFileTypes: true }).filter((one) => one.isDirectory()).length <
            1024,
        );
        await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 0 });
        assert.equal((await exitOf(stage, id)).exitCode, 137);
        await removePod(stage, pod);
        assert.equal(existsSync(host), false);
      });
  }

  it('are offered by a handler, or by the profile that a pod names', { skip }, async () => {
    const offered = await runPod(stage, 'offered', {}, 'open');
    const [wide, narrow] = [
      await start(offered, images.cgroups, {}),
      await start(offered, images.baseline, {}, 'narrow'),
    ];
    assert.equal(await shell(wide, `mkdir ${root}/a && echo yes`), 'yes');
    assert.match(await shell(narrow, `mkdir ${root}/a`), /Read-only/);
    const named = await runPod(stage, 'named', { annotations: { 'portcullis.dev/profile': 'cgroups' } });
    assert.equal(await shell(await start(named, images.cgroups, {}), `mkdir ${root}/a && echo yes`), 'yes');
    for (const pod of [offered, named]) await removePod(stage, pod);
  });

  it('are written by commands after a restart of the daemon', { skip }, async () => {
    const pod = await runPod(stage, 'lasting');
    const id = await start(pod, images.cgroups, { cgroupMountMode: readWrite });
    await stage.restart({ kill: true });
    assert.equal(await shell(id, `mkdir ${root}/a && echo yes`), 'yes');
    await removePod(stage, pod);
  });

  it('belong to the users of a user namespace', { skip }, async (t) => {
    const { runtimeHandlers } = await stage.daemon.cri.runtime.status({});
    if (runtimeHandlers[0]?.features?.userNamespaces !== true) return t.skip('no user namespaces here');
    const range = [{ hostId: 200_000, containerId: 0, length: 65_536 }];
    const usernsOptions = { mode: 0, uids: range, gids: range } as const;
    const namespaceOptions = { network: 0, pid: 1, ipc: 0, usernsOptions } as const;
    const pod = await runPod(stage, 'mapped', { linux: { securityContext: { namespaceOptions } } });
    const id = await start(pod, images.cgroups, { namespaceOptions, cgroupMountMode: readWrite });
    assert.equal(await shell(id, `mkdir ${root}/a && stat -c %u ${root}/a`), '0');
    await removePod(stage, pod);
  });

  it(
    'have the protection of memory and the limits of processes that a kubelet sets',
    { skip: !isV2 && 'version 1' },
    async () => {
      const parent = `${root}${stage.cgroupParent}/kubepods`;
      mkdirSync(parent, { recursive: true });
      writeFileSync(`${root}${stage.cgroupParent}/cgroup.subtree_control`, '+memory +pids');
      writeFileSync(`${parent}/pids.max`, '30');
      try {
        const pod = await runPod(stage, 'qos', { linux: { cgroupParent: `${stage.cgroupParent}/kubepods` } });
        const unified = { 'memory.min': '4194304', 'memory.low': '8388608', 'memory.high': '50331648' };
        const id = await runContainer(stage, pod, {
          image: images.baseline,
          command: ['sleep', '600'],
          resources: { memoryLimitInBytes: 64 * 2 ** 20, unified },
        });
        for (const [file, value] of Object.entries(unified))
          assert.equal(readFileSync(`${parent}/${id}/${file}`, 'utf8').trim(), value);
        await stage.daemon.cri.runtime.updateContainerResources({
          containerId: id,
          linux: { unified: { 'memory.high': 'max' } },
        });
        assert.equal(readFileSync(`${parent}/${id}/memory.high`, 'utf8').trim(), 'max');
        assert.equal(
          readFileSync(`${parent}/pids.max`, 'utf8').trim(),
          '30',
          'the limit of the kubelet stays',
        );
        const forks = await execute(stage, id, 'sh', '-c', 'for i in $(seq 60); do sleep 60 & done; wait');
        assert.notEqual(forks.exitCode, 0);
        await removePod(stage, pod);
      } finally {
        rmdirSync(parent);
        rmdirSync(`${root}${stage.cgroupParent}`);
      }
    },
  );
});
