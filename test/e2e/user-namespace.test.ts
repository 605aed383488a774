import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  createContainer,
  execute,
  namespaceOptions,
  podConfig,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import type { ContainerConfig, Pod, SecurityContext } from '../fixtures/pod.ts';
import { failureOf, mountsBelow, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const modern = findTool('runc');
/** The runc of test/peers, if it exists. Debian's old runc is the handler `runc`. */
const peersRunc = modern.path.startsWith('/usr/') ? '' : modern.path;

type NamespaceOptions = NonNullable<SecurityContext['namespaceOptions']>;
type UserNamespace = NonNullable<NamespaceOptions['usernsOptions']>;
/** CRI NamespaceMode NODE. */
const ofHost: UserNamespace = { mode: 2, uids: [], gids: [] };
type Mount = NonNullable<ContainerConfig['mounts']>[number];
const length = 65_536;
const ids = (hostId: number, size = length) => [{ hostId, containerId: 0, length: size }];
const mapped = (hostId: number): UserNamespace => ({ mode: 0, uids: ids(hostId), gids: ids(hostId) });
const options = (hostId: number, more: NamespaceOptions = {}): NamespaceOptions => ({
  ...namespaceOptions,
  usernsOptions: mapped(hostId),
  ...more,
});
const securityOf = (hostId: number, more: NamespaceOptions = {}) => ({
  linux: { securityContext: { namespaceOptions: options(hostId, more) } },
});

/** Name, owner and time of change of each layer in the store: of its file, or of a file in its folder. */
const fileOrFolderOf = (layers: string) =>
  readdirSync(layers).map((name) => {
    const file = join(layers, name, 'layer.erofs');
    const { uid, ctimeMs } = statSync(existsSync(file) ? file : join(layers, name, 'fs/etc/passwd'));
    return { name, uid, ctimeMs };
  });

describe('user namespaces', () => {
  let stage: Stage;
  let image = '';
  let declares = '';
  let folder = '';
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-userns-'));
    stage = await openStage({ flags: peersRunc === '' ? [] : ['--runtime', `modern=${peersRunc}`] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    declares = await stage.pull(
      (await stage.publish('app/declares:1', { config: { Volumes: { '/declared': {}, '/www': {} } } }))
        .reference,
    );
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const start = (
    pod: Pod,
    hostId: number,
    more: Partial<ContainerConfig> = {},
    security: SecurityContext = {},
  ): Promise<string> =>
    runContainer(stage, pod, {
      image,
      command: ['sleep', '600'],
      security: { namespaceOptions: options(hostId), ...security },
      more,
    });

  it('Status reports which handlers support them, and recursive read-only mounts', async () => {
    const { runtimeHandlers } = await stage.daemon.cri.runtime.status({});
    const by = new Map(runtimeHandlers.map(({ name, features }) => [name, features]));
    for (const name of ['', 'crun', ...(peersRunc === '' ? [] : ['modern'])])
      assert.deepEqual({ ...by.get(name) }, { recursiveReadOnlyMounts: true, userNamespaces: true }, name);
    assert.deepEqual(
      { ...by.get('runc') },
      { recursiveReadOnlyMounts: true, userNamespaces: false },
      "Debian's runc 1.1 ignores mappings",
    );
  });

  it('Status reports that they go together with the network of the host', async () => {
    const { features } = await stage.daemon.cri.runtime.status({});
    assert.equal(features?.userNamespacesHostNetwork, true);
  });

  it('a handler that would ignore id mappings is refused before anything is created', async () => {
    const before = mountsBelow(stage.folders.state);
    const config = podConfig(stage, 'old', securityOf(200_000));
    const failure = await failureOf(
      stage.daemon.cri.runtime.runPodSandbox({ config, runtimeHandler: 'runc' }),
    );
    assert.equal(failure.code, 'RUNTIME_NO_USER_NAMESPACES');
    assert.match(failure.message, /hostUsers/);
    assert.deepEqual((await stage.daemon.cri.runtime.listPodSandbox({})).items, []);
    assert.deepEqual(mountsBelow(stage.folders.state), before);
  });

  for (const handler of ['crun', 'modern']) {
    describe(
      `under ${handler}`,
      {
        skip:
          handler === 'modern' && peersRunc === '' ? 'no runc of 1.2 or later: test/peers/get runc' : false,
      },
      () => {
        const hostId = handler === 'crun' ? 300_000 : 400_000;
        let pod: Pod;
        let id = '';
        const read = async (...command: string[]): Promise<string> => {
          const { exitCode, stdout, stderr } = await execute(stage, id, ...command);
          assert.equal(exitCode, 0, `${command.join(' ')}: ${stderr}`);
          return stdout.trim();
        };
        before(async () => {
          pod = await runPod(
            stage,
            `mapped-${handler}`,
            {
              ...securityOf(hostId),
              linux: { ...securityOf(hostId).linux, sysctls: { 'net.ipv4.tcp_keepalive_time': '99' } },
            },
            handler,
          );
          id = await start(pod, hostId, {}, { capabilities: { addCapabilities: ['NET_ADMIN'] } });
        });
        after(() => removePod(stage, pod));

        it('has the requested ids, also in executed commands', async () => {
          for (const process of ['1', 'self'])
            for (const map of ['uid_map', 'gid_map'])
              assert.match(
                await read('cat', `/proc/${process}/${map}`),
                new RegExp(`^0\\s+${hostId}\\s+${length}$`),
              );
          assert.equal(await read('id', '-u'), '0');
        });

        it('has a device of the host at another path than the host', async () => {
          for (const containerPath of ['/dev/elsewhere', '/dev/deep/zero', '/dev/loop-control']) {
            const devices = [{ hostPath: '/dev/zero', containerPath, permissions: 'r' }];
            const metadata = { name: containerPath.replaceAll('/', ''), attempt: 0 };
            const asked = await start(pod, hostId, { devices, metadata });
            const { stdout } = await execute(stage, asked, 'head', '-c', '2', containerPath);
            assert.equal(stdout, '\0\0', containerPath);
          }
        });

        it('its root owns the image, and files that it writes belong to no user of the host', async () => {
          assert.equal(
            await read('stat', '-c', '%u:%g', '/', '/bin/busybox', '/etc/passwd'),
            '0:0\n0:0\n0:0',
          );
          await read('sh', '-c', 'echo x > /root/made && chown 1000:1000 /www/index.html');
          assert.equal(await read('stat', '-c', '%u:%g', '/root/made', '/www/index.html'), '0:0\n1000:1000');
          const upper = join(stage.folders.root, 'images/rootfs', id, 'upper');
          assert.equal(statSync(join(upper, 'root/made')).uid, hostId);
          assert.equal(statSync(join(upper, 'www/index.html')).gid, hostId + 1000);
        });

        it('it controls its own network, IPC and UTS namespaces', async () => {
          assert.equal(await read('cat', '/proc/sys/net/ipv4/tcp_keepalive_time'), '99');
          assert.equal(await read('cat', '/proc/sys/net/ipv4/ping_group_range'), `0\t${length - 1}`);
          await read('ip', 'addr', 'add', '198.51.100.7/32', 'dev', 'lo');
          assert.equal(await read('hostname'), `mapped-${handler}`);
          assert.match(await read('mount'), / on \/dev\/mqueue type mqueue/);
        });

        it('its root owns terminals, shared memory and the files of the pod', async () => {
          assert.equal(
            await read(
              'stat',
              '-c',
              '%u:%g %a',
              '/dev/shm',
              '/etc/hosts',
              '/etc/resolv.conf',
              '/etc/hostname',
            ),
            '0:0 1777\n0:0 644\n0:0 644\n0:0 644',
          );
          assert.match(await read('mount'), /devpts on \/dev\/pts .*gid=/);
          await read(
            'sh',
            '-c',
            'echo > /dev/null && head -c1 /dev/urandom >/dev/null && touch /dev/shm/x && ls /sys/fs/cgroup',
          );
        });

        it('can have the network of the host, which it sees and does not control', async () => {
          const onHost = { network: 2 } as const;
          const shared = await runPod(stage, `on-host-${handler}`, securityOf(hostId, onHost), handler);
          const namespaceOptions = options(hostId, onHost);
          const own = await runContainer(stage, shared, {
            image,
            command: ['sleep', '600'],
            security: { namespaceOptions, capabilities: { addCapabilities: ['NET_ADMIN'] } },
          });
          const seen = async (...command: string[]) => (await execute(stage, own, ...command)).stdout.trim();
          assert.match(await seen('cat', '/proc/self/uid_map'), new RegExp(`^0\\s+${hostId}\\s`));
          assert.equal(await seen('readlink', '/proc/1/ns/net'), readlinkSync('/proc/self/ns/net'));
          assert.ok((await seen('ls', '/sys/class/net')).split('\n').includes('lo'));
          for (const change of [
            'ip link set lo mtu 9000',
            'echo 1 > /sys/class/net/lo/mtu',
            'cd /sys/fs/cgroup; [ ! -d memory ] || cd memory; mkdir x',
          ])
            assert.notEqual((await execute(stage, own, 'sh', '-c', change)).exitCode, 0, change);
          assert.match(await seen('mount'), / on \/sys type sysfs \(ro,/);
          await removePod(stage, shared);
        });

        it('has no privileges of root on the host', async () => {
          const { exitCode } = await execute(
            stage,
            id,
            'sh',
            '-c',
            'echo 1 > /proc/sys/vm/drop_caches || mknod /tmp/d c 1 3',
          );
          assert.notEqual(exitCode, 0);
        });

        it('a user inside maps to that user of the range', async () => {
          const user = await start(
            pod,
            hostId,
            { metadata: { name: 'user', attempt: 0 } },
            { runAsUser: { value: 1000 } },
          );
          assert.equal((await execute(stage, user, 'id', '-u')).stdout, '1000\n');
          const { info } = await stage.daemon.cri.runtime.containerStatus({
            containerId: user,
            verbose: true,
          });
          const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
          assert.equal(statSync(`/proc/${pid}`).uid, hostId + 1000);
          const failure = await failureOf(
            createContainer(stage, pod, {
              name: 'beyond',
              image,
              security: { namespaceOptions: options(hostId), runAsUser: { value: length } },
            }),
          );
          assert.equal(failure.code, 'RUNTIME_BAD_USER');
        });

        it('maps the ids of a volume: owners on disk and inside are the same', async () => {
          const volume = join(folder, `volume-${handler}`);
          mkdirSync(join(volume, 'below'), { recursive: true });
          writeFileSync(join(volume, 'file'), 'x');
          chownSync(join(volume, 'file'), 1000, 1000);
          const mount: Mount = {
            containerPath: '/data',
            hostPath: volume,
            uidMappings: ids(hostId),
            gidMappings: ids(hostId),
          };
          const data = await start(pod, hostId, { metadata: { name: 'data', attempt: 0 }, mounts: [mount] });
          const { stdout } = await execute(
            stage,
            data,
            'sh',
            '-c',
            'touch /data/made && stat -c %u:%g /data /data/file /data/made',
          );
          assert.equal(stdout, '0:0\n1000:1000\n0:0\n');
          assert.equal(
            statSync(join(volume, 'made')).uid,
            0,
            'root inside is root on this disk, and only there',
          );
          const plain = await start(pod, hostId, {
            metadata: { name: 'plain', attempt: 0 },
            mounts: [{ ...mount, uidMappings: [], gidMappings: [] }],
          });
          assert.equal(
            (await execute(stage, plain, 'stat', '-c', '%u', '/data/file')).stdout,
            '65534\n',
            'unmapped: nobody’s',
          );
          assert.notEqual((await execute(stage, plain, 'touch', '/data/no')).exitCode, 0);
        });

        it('its root owns the files of image volumes, and volumes that the image declares', async () => {
          const mount: Mount = {
            containerPath: '/image',
            image: { image },
            uidMappings: ids(hostId),
            gidMappings: ids(hostId),
          };
          const holder = await runContainer(stage, pod, {
            name: 'holder',
            image: declares,
            command: ['sleep', '600'],
            security: { namespaceOptions: options(hostId) },
            more: { mounts: [mount] },
          });
          const { stdout } = await execute(
            stage,
            holder,
            'stat',
            '-c',
            '%u:%g',
            '/image',
            '/image/etc/passwd',
            '/declared',
            '/www',
          );
          assert.equal(stdout, '0:0\n0:0\n0:0\n0:0\n');
          assert.equal((await execute(stage, holder, 'touch', '/declared/made', '/www/made')).exitCode, 0);
          assert.notEqual((await execute(stage, holder, 'touch', '/image/no')).exitCode, 0);
        });

        it('a volume that cannot be mapped is refused, and the error says how to fix this', async () => {
          const mount: Mount = {
            containerPath: '/data',
            hostPath: '/proc/bus',
            readonly: true,
            uidMappings: ids(hostId),
            gidMappings: ids(hostId),
          };
          const failure = await failureOf(
            createContainer(stage, pod, {
              name: 'proc',
              image,
              security: { namespaceOptions: options(hostId) },
              more: { mounts: [mount] },
            }),
          );
          assert.equal(failure.code, 'RUNTIME_IDMAP_UNSUPPORTED');
          assert.match(failure.message, /ext4/);
        });

        it('binds submounts of a volume, recursively read-only on request', async () => {
          const mount = (name: string, more: Partial<Mount>): Partial<ContainerConfig> => ({
            metadata: { name, attempt: 0 },
            mounts: [{ containerPath: '/deep', hostPath: '/dev', ...more }],
          });
          const deep = await start(pod, hostId, mount('deep', {}));
          assert.match((await execute(stage, deep, 'mount')).stdout, / on \/deep\/pts .*rw/);
          const readonly = await start(
            pod,
            hostId,
            mount('rro', { readonly: true, recursiveReadOnly: true }),
          );
          assert.match((await execute(stage, readonly, 'mount')).stdout, / on \/deep\/pts .*\(ro/);
        });

        it('a container cannot leave the user namespace of its pod', async () => {
          for (const usernsOptions of [mapped(hostId + 1), ofHost]) {
            const security = { namespaceOptions: { ...namespaceOptions, usernsOptions } };
            assert.equal(
              (await failureOf(createContainer(stage, pod, { name: 'other', image, security }))).code,
              'RUNTIME_BAD_USER_NAMESPACE',
            );
          }
        });

        it('shares a PID namespace when the pod does', async () => {
          const more = { pid: 0 } as const;
          const sharing = await runPod(
            stage,
            `sharing-${handler}`,
            securityOf(hostId + 2 * length, more),
            handler,
          );
          const security = { namespaceOptions: options(hostId + 2 * length, more) };
          const first = await runContainer(stage, sharing, {
            name: 'a',
            image,
            command: ['sleep', '601'],
            security,
          });
          await runContainer(stage, sharing, { name: 'b', image, command: ['sleep', '602'], security });
          // For a moment after the start, a container is still the process of the OCI runtime, until that
          // executes its program.
          for (let tries = 0; ; tries += 1) {
            const { stdout } = await execute(stage, first, 'ps');
            if (/sleep 602/.test(stdout)) break;
            assert.ok(tries < 100, stdout);
          }
          await removePod(stage, sharing);
        });

        it('has a terminal', async () => {
          const tty = await start(pod, hostId, {
            metadata: { name: 'tty', attempt: 0 },
            tty: true,
            stdin: true,
          });
          assert.equal(
            (await execute(stage, tty, 'sh', '-c', 'stat -c %u /dev/console && readlink /proc/1/fd/0'))
              .exitCode,
            0,
          );
        });
      },
    );
  }

  it('NET_ADMIN without a user namespace is reported, because the kernel lets it act beyond its link', async () => {
    const degraded = async (containerId: string): Promise<string> => {
      const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
      return (JSON.parse(info['profile'] ?? '{}') as { degraded: readonly string[] }).degraded.join('\n');
    };
    const capabilities = { addCapabilities: ['NET_ADMIN'] };
    const [own, none] = [await runPod(stage, 'bound', securityOf(500_000)), await runPod(stage, 'unbound')];
    assert.doesNotMatch(await degraded(await start(own, 500_000, {}, { capabilities })), /NET_ADMIN/);
    const past = await runContainer(stage, none, {
      image,
      command: ['sleep', '600'],
      security: { capabilities },
    });
    assert.match(await degraded(past), /^NET_ADMIN without a separate user namespace/m);
    for (const pod of [own, none]) await removePod(stage, pod);
  });

  it('pods with different id ranges share the layers of their image', async () => {
    const layers = join(stage.folders.root, 'images/layers');
    const before = fileOrFolderOf(layers);
    const pods = await Promise.all(
      [600_000, 700_000].map(async (hostId) => {
        const pod = await runPod(stage, `shares-${hostId}`, securityOf(hostId));
        return { pod, hostId, id: await start(pod, hostId) };
      }),
    );
    for (const { id } of pods)
      assert.equal((await execute(stage, id, 'stat', '-c', '%u', '/etc/passwd')).stdout, '0\n');
    assert.deepEqual(fileOrFolderOf(layers), before, 'one layer, as pulled');
    assert.equal(before.length, 1);
    await Promise.all(pods.map(({ pod }) => removePod(stage, pod)));
  });

  it('survives when the daemon is killed, and leaves nothing afterwards', async () => {
    const pod = await runPod(stage, 'survivor', securityOf(800_000));
    const id = await start(pod, 800_000);
    await stage.restart({ kill: true });
    assert.match((await execute(stage, id, 'cat', '/proc/1/uid_map')).stdout, /800000/);
    const late = await start(pod, 800_000, { metadata: { name: 'late', attempt: 0 } });
    assert.match((await execute(stage, late, 'cat', '/proc/1/uid_map')).stdout, /800000/);
    await removePod(stage, pod);
    const left = mountsBelow(stage.folders.state).filter(
      (path) => !/\/ns\/[0-9a-f]+\/(net|ipc|uts)$/.test(path),
    );
    assert.deepEqual(
      left,
      [stage.folders.state].filter((path) => left.includes(path)),
    );
    assert.deepEqual(readdirSync(join(stage.folders.state, 'u')), []);
    assert.equal(readFileSync('/proc/self/mountinfo', 'utf8').includes('idmapped'), false);
  });

  it('a pod without a user namespace is unchanged', async () => {
    const security: SecurityContext = { namespaceOptions: { ...namespaceOptions, usernsOptions: ofHost } };
    const pod = await runPod(stage, 'host-users', {
      linux: { securityContext: { namespaceOptions: { ...namespaceOptions, usernsOptions: ofHost } } },
    });
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'], security });
    assert.match((await execute(stage, id, 'cat', '/proc/self/uid_map')).stdout, /^\s*0\s+0\s+4294967295$/m);
    await removePod(stage, pod);
  });
});
