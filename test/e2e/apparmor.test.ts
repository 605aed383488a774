import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { detectKernel } from '../../entitlements/index.ts';
import {
  createContainer,
  execute,
  exitOf,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import type { Pod, SecurityContext } from '../fixtures/pod.ts';
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
const [RuntimeDefault, Unconfined, Localhost] = [0, 1, 2] as const;
const localhost = (name: string): SecurityContext => ({
  apparmor: { profileType: Localhost, localhostRef: name },
});
const hasAppArmor = detectKernel().apparmor;

/** test/vm/apparmor runs this file if this kernel has no AppArmor. */
describe('AppArmor', { skip: !hasAppArmor && 'this kernel has no AppArmor' }, () => {
  let stage: Stage;
  let pod: Pod;
  let plain: Pod;
  const image: Record<string, string> = {};
  const own = 'portcullis-e2e-no-writes';
  before(async () => {
    stage = await openStage({ policy });
    for (const ceiling of ['baseline', 'privileged'])
      image[ceiling] = await stage.pull((await stage.publish(`${ceiling}/a:1`)).reference);
    pod = await runPod(stage, 'guarded', { linux: { securityContext: { privileged: true } } });
    plain = await runPod(stage, 'plain');
    parse('--replace');
  });
  after(async () => {
    parse('--remove');
    await stage.close();
  });

  /** Loads or unloads a profile of the node. */
  function parse(how: '--replace' | '--remove'): void {
    const file = join(tmpdir(), own);
    writeFileSync(
      file,
      `abi <abi/3.0>,\nprofile ${own} flags=(attach_disconnected) { file, capability, network, signal, ptrace, mount, umount, deny /tmp/** w, }\n`,
    );
    const said = spawnSync('apparmor_parser', [how, '--skip-cache', file], { encoding: 'utf8' });
    rmSync(file);
    assert.equal(said.status, 0, said.stderr);
  }
  /** Unloads the default profile. */
  function unload(): void {
    const file = join(tmpdir(), 'portcullis-e2e-unload');
    writeFileSync(file, 'profile portcullis-default {}\n');
    assert.equal(spawnSync('apparmor_parser', ['--remove', file]).status, 0);
    rmSync(file);
  }
  let serial = 0;
  const run = (
    ceiling: 'baseline' | 'privileged',
    security: SecurityContext = {},
    where = ceiling === 'baseline' ? plain : pod,
  ): Promise<string> =>
    runContainer(stage, where, {
      name: `c${(serial += 1)}`,
      image: image[ceiling] ?? '',
      command: ['sleep', '600'],
      security,
    });
  const labels = async (id: string): Promise<string[]> => {
    const { stdout } = await execute(
      stage,
      id,
      'sh',
      '-c',
      'cat /proc/1/attr/current; cat /proc/self/attr/current',
    );
    return stdout.trim().split('\n');
  };
  const refusal = (ceiling: 'baseline' | 'privileged', security: SecurityContext) =>
    failureOf(
      createContainer(stage, ceiling === 'baseline' ? plain : pod, {
        name: `c${(serial += 1)}`,
        image: image[ceiling] ?? '',
        security,
      }),
    );

  for (const handler of ['crun', 'runc'])
    it(`a container without an AppArmor setting runs under the default profile, and so do commands executed in it (${handler})`, async () => {
      const other = await runPod(stage, `plain-${handler}`, {}, handler);
      assert.deepEqual(
        await labels(await run('baseline', {}, other)),
        Array(2).fill('portcullis-default (enforce)'),
      );
      await removePod(stage, other);
    });

  it('RuntimeDefault selects the default profile, in the new field and in the old one', async () => {
    for (const security of [
      { apparmor: { profileType: RuntimeDefault } },
      { apparmorProfile: 'runtime/default' },
    ])
      assert.deepEqual(
        await labels(await run('baseline', security)),
        Array(2).fill('portcullis-default (enforce)'),
      );
  });

  it('the default profile forbids signals to processes of the host, which no other restriction forbids', async () => {
    const host = { namespaceOptions: { ...namespaceOptions, pid: 2 } } as const;
    const beside = await runPod(stage, 'beside', {
      linux: { securityContext: { ...host, privileged: true } },
    });
    const kill = async (security: SecurityContext): Promise<string> =>
      (await execute(stage, await run('privileged', security, beside), 'sh', '-c', 'kill -0 1 2>&1; echo $?'))
        .stdout;
    assert.match(await kill({ ...host, capabilities: { addCapabilities: ['KILL'] } }), /denied/);
    assert.equal(await kill({ ...host, apparmor: { profileType: Unconfined } }), '0\n');
    await removePod(stage, beside);
  });

  it('with SYS_ADMIN the profile allows mounts, as the seccomp filter does', async () => {
    const id = await run('privileged', { capabilities: { addCapabilities: ['SYS_ADMIN'] } });
    assert.deepEqual(await labels(id), Array(2).fill('portcullis-default.mount (enforce)'));
    assert.equal((await execute(stage, id, 'mount', '-t', 'tmpfs', 'tmpfs', '/tmp')).exitCode, 0);
  });

  it('a profile of the node applies together with ours if the ceiling restricts AppArmor, and alone otherwise', async () => {
    const free = await run('privileged', localhost(own));
    assert.deepEqual(await labels(free), Array(2).fill(`${own} (enforce)`));
    const bound = await run('baseline', { apparmorProfile: `localhost/${own}` });
    for (const label of await labels(bound)) {
      assert.match(label, /portcullis-default/);
      assert.match(label, new RegExp(own));
    }
    for (const id of [free, bound])
      assert.notEqual((await execute(stage, id, 'sh', '-c', 'echo > /tmp/x')).exitCode, 0);
  });

  it('a profile that is not loaded is refused before anything is created, and the error names it', async () => {
    const { code, message } = await refusal('privileged', localhost('nobody-loaded-this'));
    assert.equal(code, 'RUNTIME_BAD_APPARMOR');
    assert.match(message, /nobody-loaded-this/);
  });

  it('Unconfined is refused unless the ceiling allows it', async () => {
    const { code, message } = await refusal('baseline', { apparmor: { profileType: Unconfined } });
    assert.equal(code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    assert.match(message, /ceiling baseline lacks running without an AppArmor profile/);
    for (const security of [
      { apparmor: { profileType: Unconfined } },
      { apparmorProfile: 'unconfined' },
      { privileged: true },
    ])
      assert.deepEqual(await labels(await run('privileged', security)), Array(2).fill('unconfined'));
  });

  it('a profile that an administrator unloaded is loaded again', async () => {
    unload();
    assert.deepEqual(await labels(await run('baseline')), Array(2).fill('portcullis-default (enforce)'));
  });

  for (const again of [false, true])
    it(`a container whose profile was unloaded${again ? ', and loaded again,' : ''} after its creation does not start`, async () => {
      const created = await createContainer(stage, plain, {
        name: `unloaded-${again}`,
        image: image['baseline'] ?? '',
        command: ['sleep', '600'],
      });
      const runs = await run('baseline');
      unload();
      if (again) await run('baseline');
      else {
        const failure = await failureOf(execute(stage, runs, 'true'));
        assert.match(failure.message, /the AppArmor profile of the container was unloaded/u);
      }
      const { runtime } = stage.daemon.cri;
      const failure = await failureOf(runtime.startContainer({ containerId: created }));
      assert.equal(failure.code, 'RUNTIME_APPARMOR_NOT_LOADED');
      assert.match(failure.message, /portcullis-default was unloaded after the container was created/u);
      assert.equal((await exitOf(stage, created)).reason, 'StartError');
      assert.deepEqual(await labels(await run('baseline')), Array(2).fill('portcullis-default (enforce)'));
    });

  it('the process that holds a shared PID namespace runs under the profile as well, and containers there can signal each other', async () => {
    const shared = { namespaceOptions: { ...namespaceOptions, pid: 0 } } as const;
    const together = await runPod(stage, 'together', { linux: { securityContext: shared } });
    const [first, second] = [
      await run('baseline', shared, together),
      await run('privileged', { ...shared, capabilities: { addCapabilities: ['SYS_ADMIN'] } }, together),
    ];
    assert.deepEqual((await labels(first))[0], 'portcullis-default (enforce)');
    const { stdout } = await execute(
      stage,
      second,
      'sh',
      '-c',
      'for p in $(pidof sleep); do kill -0 $p || echo no; done; pidof sleep | wc -w',
    );
    assert.equal(stdout.trim(), '2');
    await removePod(stage, together);
  });
});

describe('without AppArmor', { skip: hasAppArmor && 'this kernel has AppArmor' }, () => {
  it('a profile of the node is refused, and the error names it; the missing default profile is reported', async () => {
    const stage = await openStage({ policy });
    try {
      const baseline = await stage.pull((await stage.publish('baseline/a:1')).reference);
      const pod = await runPod(stage, 'bare');
      for (const security of [localhost('some-profile'), { apparmorProfile: 'localhost/some-profile' }]) {
        const failure = await failureOf(createContainer(stage, pod, { image: baseline, security }));
        assert.equal(failure.code, 'RUNTIME_BAD_APPARMOR');
        assert.match(failure.message, /some-profile.*no AppArmor/s);
      }
      const id = await runContainer(stage, pod, {
        image: baseline,
        command: ['sleep', '600'],
        security: { apparmor: { profileType: RuntimeDefault } },
      });
      const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
      assert.match((JSON.parse(info['info'] ?? '{}') as { degraded: string[] }).degraded.join(), /AppArmor/);
      const spec = JSON.parse(
        readFileSync(`${stage.folders.state}/containers/${id}/config.json`, 'utf8'),
      ) as { process: object };
      assert.ok(!('apparmorProfile' in spec.process));
      await removePod(stage, pod);
    } finally {
      await stage.close();
    }
  });
});
