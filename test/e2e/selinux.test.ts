import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { getXattr } from '../../base/kernel/index.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { ContainerAsk, Pod, SecurityContext } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const policy = policyOf(
  ['baseline', 'privileged']
    .map(
      (ceiling) =>
        `  - images: ["${registryName}/${ceiling}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`,
    )
    .join(''),
);
const hasSeLinux = existsSync('/sys/fs/selinux/enforce');
const options = (part: { type?: string; level?: string; user?: string; role?: string }): SecurityContext => ({
  selinuxOptions: part,
});

/** test/vm/selinux runs this file, with its own policy, if this kernel has no SELinux. */
describe('SELinux', { skip: !hasSeLinux && 'this kernel has no SELinux' }, () => {
  let stage: Stage;
  let pod: Pod;
  let plain: Pod;
  const image: Record<string, string> = {};
  before(async () => {
    stage = await openStage({ policy });
    for (const ceiling of ['baseline', 'privileged'])
      image[ceiling] = await stage.pull((await stage.publish(`${ceiling}/a:1`)).reference);
    pod = await runPod(stage, 'labelled', { linux: { securityContext: { privileged: true } } });
    plain = await runPod(stage, 'plain');
  });
  after(() => stage.close());
  let serial = 0;
  const run = (
    ceiling: 'baseline' | 'privileged',
    security: SecurityContext = {},
    more: object = {},
  ): Promise<string> =>
    runContainer(stage, ceiling === 'baseline' ? plain : pod, {
      name: `c${(serial += 1)}`,
      image: image[ceiling] ?? '',
      command: ['sleep', '600'],
      security,
      more,
    });
  const labels = async (id: string): Promise<string[]> => {
    const { stdout } = await execute(
      stage,
      id,
      'sh',
      '-c',
      'cat /proc/1/attr/current; echo; cat /proc/self/attr/current',
    );
    return [...stdout.matchAll(/[^\0\s]+/g)].map(([label]) => label);
  };

  const labelOf = (path: string): string =>
    Buffer.from(getXattr(path, 'security.selinux') ?? '')
      .toString()
      .replace('\0', '');

  it('a container without SELinux options has the policy’s type and its pod’s own categories, also in executed commands', async () => {
    const [first, second] = await labels(await run('baseline'));
    assert.match(first ?? '', /^system_u:system_r:container_t:s0:c\d+,c\d+$/);
    assert.equal(second, first);
    assert.equal(
      (await labels(await run('baseline')))[0],
      first,
      'containers of one pod share their categories',
    );
  });

  it('the label has the requested options, and options beyond the ceiling are refused', async () => {
    const asked = { type: 'container_init_t', level: 's0:c5,c6' };
    assert.deepEqual(
      await labels(await run('baseline', options(asked))),
      Array(2).fill('system_u:system_r:container_init_t:s0:c5,c6'),
    );
    const { code } = await failureOf(
      createContainer(stage, plain, {
        name: 'free',
        image: image['baseline'] ?? '',
        security: options({ type: 'spc_t' }),
      }),
    );
    assert.equal(code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    assert.match((await labels(await run('privileged', options({ type: 'spc_t' }))))[0] ?? '', /:spc_t:/);
    assert.equal(
      (await labels(await run('privileged', { privileged: true })))[0],
      'system_u:system_r:spc_t:s0',
    );
  });

  it('a volume is labelled for its container only if that is requested', async () => {
    const folder = join(stage.folders.folder, 'volume');
    mkdirSync(join(folder, 'below'), { recursive: true });
    writeFileSync(join(folder, 'below/file'), 'x');
    const mount = (selinuxRelabel: boolean) => ({
      mounts: [{ hostPath: folder, containerPath: '/data', selinuxRelabel }],
    });
    const level = { level: 's0:c7,c8' };
    await run('privileged', options(level), mount(false));
    assert.doesNotMatch(labelOf(join(folder, 'below/file')), /container_file_t/);
    await run('privileged', options(level), mount(true));
    assert.equal(labelOf(join(folder, 'below/file')), 'system_u:object_r:container_file_t:s0:c7,c8');
  });

  it('the files of its image are labelled for it', async () => {
    const id = await run('baseline', options({ level: 's0:c7,c8' }));
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
    const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
    for (const path of ['bin/busybox', 'etc', 'dev', 'etc/hosts', 'dev/shm'])
      assert.equal(labelOf(`/proc/${pid}/root/${path}`), 'system_u:object_r:container_file_t:s0:c7,c8', path);
  });

  it('a container cannot read files of another pod’s container', async () => {
    const folder = join(stage.folders.folder, 'apart');
    mkdirSync(folder);
    const volume = { hostPath: folder, containerPath: '/data' };
    const owner = await run('privileged', options({ level: 's0:c1,c2' }), {
      mounts: [{ ...volume, selinuxRelabel: true }],
    });
    await execute(stage, owner, 'sh', '-c', 'echo mine > /data/file');
    const other = await run('privileged', options({ level: 's0:c3,c4' }), { mounts: [volume] });
    const { stdout, stderr } = await execute(stage, other, 'cat', '/data/file');
    if (readFileSync('/sys/fs/selinux/enforce', 'utf8') === '1') assert.match(stderr, /denied/);
    else assert.equal(stdout, 'mine\n', 'a permissive kernel only reports');
  });

  it('a folder of the node is not relabelled', async () => {
    const { code } = await failureOf(
      createContainer(stage, pod, {
        name: 'greedy',
        image: image['privileged'] ?? '',
        more: { mounts: [{ hostPath: '/etc', containerPath: '/host', selinuxRelabel: true }] },
      }),
    );
    assert.equal(code, 'RUNTIME_SELINUX_RELABEL');
  });
});

describe('without SELinux', { skip: hasSeLinux && 'this kernel has SELinux' }, () => {
  let stage: Stage;
  const image: Record<string, string> = {};
  before(async () => {
    stage = await openStage({ policy });
    for (const ceiling of ['baseline', 'privileged'])
      image[ceiling] = await stage.pull((await stage.publish(`${ceiling}/a:1`)).reference);
  });
  after(() => stage.close());

  it('labels of a pod and of its containers are not applied, and the verbose status says so', async () => {
    const pod = await runPod(stage, 'labelled', {
      linux: { securityContext: { selinuxOptions: { level: 's0:c1,c2' } } },
    });
    const degraded = async (ask: Partial<ContainerAsk>): Promise<string> => {
      const id = await runContainer(stage, pod, {
        image: image['privileged'] ?? '',
        command: ['sleep', '600'],
        ...ask,
      });
      const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
      const { degraded: reported } = JSON.parse(info['info'] ?? '{}') as { degraded: string[] };
      return reported.join('\n');
    };
    assert.match(
      await degraded({ name: 'pods' }),
      /selinux_options \(level s0:c1,c2\) are not applied: SELinux is not enabled/,
    );
    assert.match(await degraded({ name: 'own', security: options({ type: 'spc_t' }) }), /type spc_t/);
    const plain = await runPod(stage, 'plain');
    const id = await runContainer(stage, plain, {
      image: image['privileged'] ?? '',
      command: ['sleep', '600'],
    });
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
    assert.doesNotMatch(info['info'] ?? '', /selinux_options/);
    for (const each of [pod, plain]) await removePod(stage, each);
  });

  it('invalid labels and labels beyond the ceiling are refused, as with SELinux', async () => {
    const pod = await runPod(stage, 'bounded');
    const codeOf = async (security: SecurityContext): Promise<string> =>
      (await failureOf(createContainer(stage, pod, { image: image['baseline'] ?? '', security }))).code;
    assert.equal(await codeOf(options({ type: 'spc_t' })), 'ENTITLEMENTS_CEILING_EXCEEDED');
    assert.equal(await codeOf(options({ level: 'none' })), 'RUNTIME_BAD_SELINUX');
    assert.equal(
      (
        await failureOf(
          runPod(stage, 'bad', { linux: { securityContext: { selinuxOptions: { level: 'none' } } } }),
        )
      ).code,
      'RUNTIME_BAD_SELINUX',
    );
    await removePod(stage, pod);
  });
});
