import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { boundingCapabilities } from '../../base/kernel/index.ts';
import { Signal } from '../../runtime/cri/contract/contract.types.ts';
import { layerOf } from '../fixtures/image.ts';
import {
  createContainer,
  execute,
  exitOf,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
  statusField,
} from '../fixtures/pod.ts';
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
const [RuntimeDefault, Unconfined, Localhost] = [0, 1, 2] as const;
const command = ['sleep', '600'];

/** Every field of a security context and of a sandbox configuration. */
describe('a security context', () => {
  let stage: Stage;
  let pod: Pod;
  const image: Record<string, string> = {};
  before(async () => {
    stage = await openStage({ policy });
    for (const ceiling of ['baseline', 'privileged'])
      image[ceiling] = await stage.pull((await stage.publish(`${ceiling}/a:1`)).reference);
    pod = await runPod(stage, 'fields');
  });
  after(() => stage.close());

  let serial = 0;
  const ask = (security: SecurityContext, more: Partial<ContainerAsk> = {}): ContainerAsk => ({
    name: `c${(serial += 1)}`,
    image: image['privileged'] ?? '',
    command,
    security,
    ...more,
  });
  const run = (security: SecurityContext, more: Partial<ContainerAsk> = {}, where = pod): Promise<string> =>
    runContainer(stage, where, ask(security, more));
  const refusal = (security: SecurityContext, more: Partial<ContainerAsk> = {}, where = pod) =>
    failureOf(createContainer(stage, where, ask(security, more)));
  const out = async (id: string, ...cmd: string[]): Promise<string> =>
    (await execute(stage, id, ...cmd)).stdout.trim();

  describe('user and groups', () => {
    const withUsers = async (
      name: string,
      entries: { passwd: string; group: string },
      user = '',
    ): Promise<string> => {
      const layer = await layerOf([
        { name: 'etc/passwd', body: entries.passwd },
        { name: 'etc/group', body: entries.group },
      ]);
      const published = await stage.publish(`privileged/${name}:1`, {
        layers: [layer],
        ...(user !== '' && { config: { User: user } }),
      });
      return stage.pull(published.reference);
    };

    it('a container runs as a user by name or id, with the groups of the image merged or left out', async () => {
      const users = await withUsers('users', {
        passwd: 'root:x:0:0::/root:/bin/sh\nweb:x:101:102::/home/web:/bin/sh\n',
        group: 'root:x:0:\nweb:x:102:\nextra:x:103:web\n',
      });
      for (const [security, ids] of [
        [{ runAsUsername: 'web' }, 'uid=101(web) gid=102(web) groups=102(web),103(extra)'],
        [
          { runAsUser: { value: 101 }, supplementalGroups: [7] },
          'uid=101(web) gid=102(web) groups=7,102(web),103(extra)',
        ],
        [
          { runAsUser: { value: 101 }, supplementalGroups: [7], supplementalGroupsPolicy: 1 },
          'uid=101(web) gid=102(web) groups=7,102(web)',
        ],
        [
          { runAsUser: { value: 101 }, runAsGroup: { value: 55 } },
          'uid=101(web) gid=55 groups=55,103(extra)',
        ],
      ] as const) {
        const id = await run(security, { image: users });
        assert.equal(await out(id, 'id'), ids, 'an executed command has them');
        const groups = (await out(id, 'sed', '-n', 's/^Groups:\\s*//p', '/proc/1/status'))
          .split(/\s+/)
          .map(Number);
        assert.deepEqual(
          groups,
          [...ids.matchAll(/(?:groups=|,)(\d+)/g)].map(([, group]) => Number(group)),
          'the first process has them',
        );
      }
    });

    it('a user whose name is a number is not the user with that id', async () => {
      const liar = await withUsers('liar', { passwd: '1000:x:0:0::/root:/bin/sh\n', group: '' }, '1000');
      for (const security of [{}, { runAsUser: { value: 1000 } }])
        assert.equal(await out(await run(security, { image: liar }), 'id', '-u'), '1000');
    });

    it('a group without a user is refused', async () => {
      assert.equal((await refusal({ runAsGroup: { value: 5 } })).code, 'RUNTIME_BAD_USER');
    });
  });

  describe('capabilities', () => {
    it('a program that does not run as root gets ambient capabilities', async () => {
      const id = await run({
        runAsUser: { value: 1000 },
        capabilities: { addAmbientCapabilities: ['NET_BIND_SERVICE'] },
      });
      assert.equal(BigInt(`0x${await statusField(stage, id, 'CapEff')}`), 1n << 10n);
      const without = await run({
        runAsUser: { value: 1000 },
        capabilities: { addCapabilities: ['NET_BIND_SERVICE'] },
      });
      assert.equal(BigInt(`0x${await statusField(stage, without, 'CapEff')}`), 0n);
    });
  });

  describe('seccomp', () => {
    it('Localhost is read from a file of the node, by the new and by the deprecated field, and applies to executed commands', async () => {
      const file = join(stage.folders.folder, 'seccomp.json');
      writeFileSync(
        file,
        JSON.stringify({
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 }],
        }),
      );
      for (const security of [
        { seccomp: { profileType: Localhost, localhostRef: file } },
        { seccompProfilePath: `localhost/${file}` },
      ]) {
        const { exitCode, stderr } = await execute(stage, await run(security), 'mkdir', '/tmp/x');
        assert.notEqual(exitCode, 0);
        assert.match(stderr, /denied/);
      }
    });

    it('a profile that cannot be read is refused', async () => {
      for (const localhostRef of ['', 'relative.json', '/nowhere.json', '/dev/zero', '/etc'])
        assert.equal(
          (await refusal({ seccomp: { profileType: Localhost, localhostRef } })).code,
          'RUNTIME_BAD_SECCOMP',
          localhostRef,
        );
      const secret = join(stage.folders.folder, 'secret');
      writeFileSync(secret, 'root:$6$secret');
      chmodSync(secret, 0o600);
      const { message } = await refusal({ seccomp: { profileType: Localhost, localhostRef: secret } });
      assert.doesNotMatch(message, /\$6/, 'the error does not contain the content');
    });

    it('the deprecated forms have their documented meaning', async () => {
      assert.equal(
        await statusField(stage, await run({ seccompProfilePath: 'runtime/default' }), 'Seccomp'),
        '2',
      );
      assert.equal(await statusField(stage, await run({ seccompProfilePath: 'unconfined' }), 'Seccomp'), '0');
      assert.equal(
        await statusField(stage, await run({ seccomp: { profileType: RuntimeDefault } }), 'Seccomp'),
        '2',
      );
    });
  });

  describe('paths', () => {
    it('masked paths are empty and read-only paths cannot be written, also for executed commands', async () => {
      const id = await run({
        maskedPaths: ['/bin/busybox-masked', '/proc/acpi', '/etc'],
        readonlyPaths: ['/tmp'],
      });
      assert.equal(await out(id, 'ls', '/etc'), '');
      const { stderr } = await execute(stage, id, 'touch', '/tmp/x');
      assert.match(stderr, /Read-only/);
    });

    it('mounts of the node in a volume at or above a read-only path are read-only too', async () => {
      for (const path of ['/data', '/data/pts']) {
        const id = await run(
          { readonlyPaths: [path] },
          { more: { mounts: [{ hostPath: '/dev', containerPath: '/data' }] } },
        );
        const mounts = (await out(id, 'cat', '/proc/self/mounts')).split('\n').map((line) => line.split(' '));
        const shown = mounts.filter(([, place = '']) => place === path || place.startsWith(`${path}/`));
        const last = new Map(shown.map(([, place, , options = '']) => [place, options.split(',')[0]]));
        assert.ok(last.has('/data/pts'));
        assert.deepEqual(new Set(last.values()), new Set(['ro']), path);
      }
    });

    it('files that are mounted below a read-only path are read-only', async () => {
      const file = join(stage.folders.folder, 'file');
      writeFileSync(file, '');
      const mounts = [{ hostPath: file, containerPath: '/data/file' }];
      const id = await run({ readonlyPaths: ['/data', '/etc'] }, { more: { mounts } });
      for (const path of ['/data/file', '/etc/hosts'])
        assert.match((await execute(stage, id, 'sh', '-c', `echo x > ${path}`)).stderr, /Read-only/, path);
    });

    for (const handler of ['crun', 'runc'])
      it(`volumes that a link of the image leads into a read-only path are read-only (${handler})`, async () => {
        const layer = await layerOf([
          { name: 'srv/deep/', type: 'directory' },
          { name: 'data', type: 'symlink', linkname: '/srv/deep' },
        ]);
        const { reference } = await stage.publish('privileged/linked:1', { layers: [layer] });
        const linked = await stage.pull(reference);
        const mounts = [
          { hostPath: join(stage.folders.folder, 'volume'), containerPath: '/data/volume' },
          { hostPath: '/dev', containerPath: '/data/dev' },
        ];
        const own = await runPod(stage, `linked-${handler}`, {}, handler);
        const id = await run({ readonlyPaths: ['/srv'] }, { image: linked, more: { mounts } }, own);
        for (const place of ['/srv/deep/volume', '/srv/deep/dev/shm'])
          assert.match((await execute(stage, id, 'touch', `${place}/file`)).stderr, /Read-only/, place);
        await removePod(stage, own);
      });

    it('a read-only root file system cannot be written, but its volumes can', async () => {
      const volume = join(stage.folders.folder, 'volume');
      const id = await run(
        { readonlyRootfs: true },
        { more: { mounts: [{ hostPath: volume, containerPath: '/data' }] } },
      );
      assert.match((await execute(stage, id, 'touch', '/x')).stderr, /Read-only/);
      assert.equal((await execute(stage, id, 'touch', '/data/x')).exitCode, 0);
    });
  });

  describe('privileged', () => {
    it('has all permissions of the daemon, without filter and masks, with the node’s devices, writable /sys and cgroups; executed commands have the same', async () => {
      const free = await runPod(stage, 'free', { linux: { securityContext: { privileged: true } } });
      const id = await run({ privileged: true }, {}, free);
      const held = Number(
        BigInt(`0x${await statusField(stage, id, 'CapEff')}`)
          .toString(2)
          .replaceAll('0', '').length,
      );
      assert.equal(held, boundingCapabilities().length);
      assert.equal(await statusField(stage, id, 'Seccomp'), '0');
      assert.equal(await statusField(stage, id, 'NoNewPrivs'), '0');
      const mounts = await out(id, 'cat', '/proc/mounts');
      assert.match(mounts, /^sysfs \/sys sysfs rw/m);
      assert.doesNotMatch(mounts, /\/proc\/(kcore|sys|timer_list)/, 'nothing is mounted over /proc');
      assert.doesNotMatch(mounts, /\/sys\/fs\/cgroup\S* \S+ ro/, 'cgroups are writable');
      const nodes = (await out(id, 'ls', '/dev')).split('\n');
      for (const name of readdirSync('/dev').filter((entry) => /^(kmsg|vda|sda|loop-control)$/.test(entry)))
        assert.ok(nodes.includes(name), name);
      await removePod(stage, free);
    });

    it('needs a ceiling that grants it, and a privileged pod', async () => {
      assert.equal((await refusal({ privileged: true })).code, 'RUNTIME_SANDBOX_NOT_PRIVILEGED');
      const free = await runPod(stage, 'free', { linux: { securityContext: { privileged: true } } });
      const { code, message } = await refusal({ privileged: true }, { image: image['baseline'] ?? '' }, free);
      assert.equal(code, 'ENTITLEMENTS_CEILING_EXCEEDED');
      assert.match(message, /privileged/);
      await removePod(stage, free);
    });
  });

  it('oom_score_adj is as requested, if the daemon may set it', async () => {
    const id = await run({}, { resources: { oomScoreAdj: 500 } });
    assert.equal(await out(id, 'cat', '/proc/1/oom_score_adj'), '500');
  });

  describe('stop signals', () => {
    const reported =
      'trap "exit 3" USR1; trap "exit 4" RTMIN+2 2>/dev/null; trap "exit 5" TERM; trap "exit 6" QUIT; touch /ready; while :; do sleep 0.05; done';
    const stop = async (
      more: ContainerAsk['more'],
      from = image['privileged'] ?? '',
    ): Promise<number | undefined> => {
      const id = await run(
        {},
        { image: from, command: ['sh', '-c', reported], ...(more !== undefined && { more }) },
      );
      while ((await execute(stage, id, 'test', '-e', '/ready')).exitCode !== 0);
      await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 20 });
      return (await exitOf(stage, id)).exitCode;
    };

    it('come from the container, otherwise from the image, and are SIGTERM by default', async () => {
      const quitting = await stage.pull(
        (await stage.publish('privileged/quit:1', { config: { StopSignal: 'SIGQUIT' } })).reference,
      );
      assert.equal(await stop({ stopSignal: Signal.SIGNAL_SIGUSR1 }, quitting), 3);
      assert.equal(await stop(undefined, quitting), 6);
      assert.equal(await stop(undefined), 5);
    });

    it('are refused if they are unknown', async () => {
      assert.equal((await refusal({}, { more: { stopSignal: 99 as Signal } })).code, 'RUNTIME_BAD_SIGNAL');
    });
  });

  describe('a pod', () => {
    it('has the requested host name or its own name, and the host’s name in the host network namespace', async () => {
      for (const [name, more, expected] of [
        ['named', { hostname: 'asked-for' }, 'asked-for'],
        ['unnamed', { hostname: '' }, 'unnamed'],
        [
          'hosted',
          {
            hostname: '',
            linux: { securityContext: { namespaceOptions: { ...namespaceOptions, network: 2 } } },
          },
          hostname(),
        ],
      ] as const) {
        const one = await runPod(stage, name, more);
        const id = await run({}, {}, one);
        assert.equal(
          await out(id, 'sh', '-c', 'hostname; cat /etc/hostname; echo $HOSTNAME'),
          Array(3).fill(expected).join('\n'),
        );
        await removePod(stage, one);
      }
    });

    it('has the requested sysctls in its own namespaces', async () => {
      const sysctls = {
        'net.ipv4.ip_local_port_range': '2000 3000',
        'kernel/shm_rmid_forced': '1',
        'fs.mqueue.msg_max': '77',
      };
      const before = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
      const one = await runPod(stage, 'tuned', { linux: { sysctls } });
      const id = await run({}, {}, one);
      assert.equal(
        await out(
          id,
          'cat',
          '/proc/sys/net/ipv4/ip_local_port_range',
          '/proc/sys/kernel/shm_rmid_forced',
          '/proc/sys/fs/mqueue/msg_max',
        ),
        '2000\t3000\n1\n77',
      );
      assert.equal(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), before);
      await removePod(stage, one);
    });

    for (const [what, sysctls, options] of [
      ['of the host', { 'kernel.core_pattern': '|/x' }, {}],
      ['with a second sysctl in its value', { 'kernel.shm_rmid_forced': '1+kernel.core_pattern=|/x' }, {}],
      ['of a namespace that it shares with the host', { 'net.core.somaxconn': '1' }, { network: 2 }],
      ['that this kernel does not have', { 'net.ipv4.no_such': '1' }, {}],
      ['with a value that the kernel does not accept', { 'net.ipv4.ip_unprivileged_port_start': 'many' }, {}],
    ] as const) {
      it(`is refused a sysctl ${what}, and leaves nothing`, async () => {
        const linux = { sysctls, securityContext: { namespaceOptions: { ...namespaceOptions, ...options } } };
        const { kind } = await failureOf(runPod(stage, 'untuned', { linux }));
        assert.ok(['invalid', 'not-found'].includes(kind), kind);
        const { items } = await stage.daemon.cri.runtime.listPodSandbox({});
        assert.ok(!items.some(({ metadata }) => metadata?.name === 'untuned'));
      });
    }
  });

  it('Unconfined causes no refusal: the ceiling decides what it means', async () => {
    const id = await run({ seccomp: { profileType: Unconfined } }, { image: image['baseline'] ?? '' });
    assert.equal(await statusField(stage, id, 'Seccomp'), '2');
  });
});
