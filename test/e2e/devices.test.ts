import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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
import type { ContainerAsk, Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const policy = `${policyOf(`  - images: ["${registryName}/app/**"]
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: privileged }
  - images: ["${registryName}/low/**"]
    require: { cosign: { key: k.pub } }
`)}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: only-reads }
entitlements: [host.devices.view]
---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: few-files }
files: { read: [/bin/**, /gpu/**], execute: [/bin/**, /gpu/**] }
`;
const kernel = detectKernel();
const hasFileRules = kernel.apparmor || (kernel.landlock ?? 0) >= 3;

describe('devices of the host', () => {
  // Owned by root in every parent folder. Hooks and specs elsewhere are ignored.
  const host = mkdtempSync('/var/lib/pc-cdi-');
  const config = join(mkdtempSync(join(tmpdir(), 'pc-devices-')), 'config.yaml');
  let stage: Stage;
  let image = '';
  let low = '';
  let pod: Pod;
  before(async () => {
    for (const folder of ['etc', 'run', 'dev/sub', 'bin']) mkdirSync(join(host, folder), { recursive: true });
    for (const [name, minor] of [
      ['dev/zero', 5],
      ['dev/sub/full', 7],
    ] as const)
      execFileSync('mknod', ['-m', '666', join(host, name), 'c', '1', String(minor)]);
    execFileSync('mknod', ['-m', '666', join(host, 'tun'), 'c', '10', '200']);
    symlinkSync('zero', join(host, 'dev/link'));
    writeFileSync(config, `cdi: { specDirs: [${host}/etc, ${host}/run] }\ndevices: { ownedByUser: true }\n`);
    stage = await openStage({ policy, flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    low = await stage.pull((await stage.publish('low/a:1')).reference);
    pod = await runPod(stage, 'devices');
  });
  after(async () => {
    await stage.close();
    rmSync(host, { recursive: true, force: true });
    rmSync(join(config, '..'), { recursive: true, force: true });
  });
  let count = 0;
  const ask = (more: NonNullable<ContainerAsk['more']>, of = image): ContainerAsk => {
    count += 1;
    return { name: `c${count}`, image: of, command: ['sleep', '600'], more };
  };
  const device = (hostPath: string, containerPath = '/dev/x', permissions = 'rwm') => ({
    devices: [{ hostPath, containerPath, permissions }],
  });

  for (const handler of ['crun', 'runc']) {
    it(`links are followed, a folder grants the devices in it, and permissions apply (${handler})`, async () => {
      const own = await runPod(stage, `devices-${handler}`, {}, handler);
      const id = await runContainer(stage, own, ask(device(join(host, 'dev/link'), '/dev/x', 'r')));
      assert.equal((await execute(stage, id, 'stat', '-c', '%t:%T', '/dev/x')).stdout, '1:5\n');
      assert.equal((await execute(stage, id, 'head', '-c', '2', '/dev/x')).stdout, '\0\0');
      const all = await runContainer(stage, own, ask(device(join(host, 'dev'), '/dev/all')));
      assert.equal(
        (await execute(stage, all, 'ls', '-R', '/dev/all')).stdout,
        '/dev/all:\nsub\nzero\n\n/dev/all/sub:\nfull\n',
      );
      await removePod(stage, own);
    });
  }

  for (const handler of ['crun', 'runc'])
    it(`a container makes no network tunnels, if its profile has none (${handler})`, async () => {
      const own = await runPod(stage, `tunnels-${handler}`, {}, handler);
      const make = 'mknod /tmp/tun c 10 200 && head -c 1 /tmp/tun';
      const id = await runContainer(stage, own, ask({}, low));
      assert.match((await execute(stage, id, 'sh', '-c', make)).stderr, /Operation not permitted/);
      const granted = await runContainer(stage, own, ask(device(join(host, 'tun'), '/dev/net/tun')));
      assert.doesNotMatch((await execute(stage, granted, 'sh', '-c', make)).stderr, /not permitted/);
      await removePod(stage, own);
    });

  it('belong to the user of the container, if the configuration says so', async () => {
    const security = { runAsUser: { value: 1000 }, runAsGroup: { value: 1001 } };
    const id = await runContainer(stage, pod, { ...ask(device(join(host, 'dev/zero'))), security });
    assert.equal((await execute(stage, id, 'stat', '-c', '%u:%g', '/dev/x')).stdout, '1000:1001\n');
  });

  const loop = '/dev/loop0';
  it(
    'a device requested read-only cannot be written',
    { skip: existsSync(loop) ? false : 'no loop device' },
    async () => {
      const id = await runContainer(stage, pod, ask(device(loop, '/dev/x', 'r')));
      assert.equal((await execute(stage, id, 'sh', '-c', ': < /dev/x')).exitCode, 0);
      assert.match((await execute(stage, id, 'sh', '-c', ': >> /dev/x')).stderr, /not permitted/);
    },
  );

  it('a path that is not a device, and a device beyond the ceiling, are refused', async () => {
    for (const [devices, code] of [
      [device('/etc/passwd'), 'RUNTIME_BAD_DEVICE'],
      [device('/nonexistent'), 'RUNTIME_BAD_DEVICE'],
      [device('dev/null'), 'RUNTIME_BAD_DEVICE'],
      [device('/dev/null', '/dev/../etc/x'), 'RUNTIME_BAD_DEVICE'],
      [device('/dev/null', '/dev/x', 'rwx'), 'RUNTIME_BAD_DEVICE'],
    ] as const)
      assert.equal((await failureOf(createContainer(stage, pod, ask(devices)))).code, code);
    const failure = await failureOf(createContainer(stage, pod, ask(device('/dev/kmsg'), low)));
    assert.equal(failure.code, 'RUNTIME_DEVICE_NOT_GRANTED');
    assert.equal(failure.kind, 'denied');
  });

  const write = (file: string, spec: object): void => writeFileSync(join(host, file), JSON.stringify(spec));
  const vendor = (edits: object, common: object = {}): object => ({
    cdiVersion: '0.7.0',
    kind: 'vendor.example/gpu',
    devices: [{ name: 'one', containerEdits: edits }],
    containerEdits: common,
  });
  const cdi = (name: string): NonNullable<ContainerAsk['more']> => ({ CDIDevices: [{ name }] });

  it('a CDI device adds its variables, nodes, mounts, groups and hooks', async () => {
    writeFileSync(
      join(host, 'bin/hook'),
      `#!/bin/sh\ncat > ${host}/bin/state\necho "$1 $WORD" > ${host}/bin/ran\n`,
      { mode: 0o755 },
    );
    writeFileSync(join(host, 'bin/library'), 'library\n');
    write(
      'etc/vendor.json',
      vendor(
        {
          env: ['GPU=one', 'PATH=/bin:/gpu'],
          deviceNodes: [{ path: '/dev/gpu0', hostPath: join(host, 'dev/zero'), permissions: 'rw' }],
          additionalGids: [4242],
        },
        {
          mounts: [
            {
              hostPath: join(host, 'bin/library'),
              containerPath: '/usr/lib/gpu',
              options: ['ro', 'nosuid', 'bind'],
            },
          ],
          hooks: [
            {
              hookName: 'createRuntime',
              path: join(host, 'bin/hook'),
              args: ['hook', 'argument'],
              env: ['WORD=word'],
            },
          ],
        },
      ),
    );
    for (const more of [
      cdi('vendor.example/gpu=one'),
      { annotations: { 'cdi.k8s.io/vendor_1': 'vendor.example/gpu=one' } },
    ]) {
      const id = await runContainer(stage, pod, ask(more));
      assert.equal(
        (await execute(stage, id, 'sh', '-c', 'echo $GPU $PATH; cat /usr/lib/gpu; id -G')).stdout,
        'one /bin:/gpu\nlibrary\n0 4242\n',
      );
      assert.equal((await execute(stage, id, 'stat', '-c', '%t:%T', '/dev/gpu0')).stdout, '1:5\n');
      assert.equal(readFileSync(join(host, 'bin/ran'), 'utf8'), 'argument word\n');
      assert.equal((JSON.parse(readFileSync(join(host, 'bin/state'), 'utf8')) as { id: string }).id, id);
      rmSync(join(host, 'bin/ran'));
    }
    assert.equal(
      (await failureOf(createContainer(stage, pod, ask(cdi('vendor.example/gpu=one'), low)))).code,
      'RUNTIME_DEVICE_NOT_GRANTED',
    );
    assert.ok(!existsSync(join(host, 'bin/ran')), 'no hook runs for a refused container');
  });

  for (const handler of ['crun', 'runc'])
    it(`a CDI device adds nothing writable below a read-only path (${handler})`, async () => {
      mkdirSync(join(host, 'driver'), { recursive: true });
      const mount = {
        hostPath: join(host, 'driver'),
        containerPath: '/www//driver',
        options: ['rw', 'rbind'],
      };
      write('etc/writable.json', { ...vendor({ mounts: [mount] }), kind: 'vendor.example/writable' });
      const own = await runPod(stage, `writable-${handler}`, {}, handler);
      const id = await runContainer(stage, own, {
        ...ask(cdi('vendor.example/writable=one')),
        security: { readonlyPaths: ['/www'] },
      });
      const { stderr } = await execute(stage, id, 'touch', '/www/driver/file');
      assert.match(stderr, /Read-only file system/);
      await removePod(stage, own);
    });

  for (const handler of ['crun', 'runc'])
    it(`masked folders and mounts in a CDI mount below a read-only path are read-only (${handler})`, async () => {
      for (const folder of ['outer/secret', 'outer/inner', 'inner'])
        mkdirSync(join(host, folder), { recursive: true });
      const at = (hostPath: string, containerPath: string): object => ({
        hostPath: join(host, hostPath),
        containerPath,
        options: ['rw', 'rbind'],
      });
      const mounts = [at('inner', '/www/outer/inner'), at('outer', '/www/outer')];
      write('etc/nested.json', { ...vendor({ mounts }), kind: 'vendor.example/nested' });
      const own = await runPod(stage, `nested-${handler}`, {}, handler);
      const id = await runContainer(stage, own, {
        ...ask(cdi('vendor.example/nested=one')),
        security: { readonlyPaths: ['/www'], maskedPaths: ['/www/outer/secret'] },
      });
      for (const place of ['/www/outer', '/www/outer/inner', '/www/outer/secret']) {
        const { stderr } = await execute(stage, id, 'touch', `${place}/file`);
        assert.match(stderr, /Read-only file system/, place);
      }
      await removePod(stage, own);
    });

  for (const handler of ['crun', 'runc'])
    it(`a CDI device adds nothing writable to a profile with read-only volumes (${handler})`, async (t) => {
      mkdirSync(join(host, 'driver/inner'), { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(host, 'driver/inner')]);
      t.after(() => execFileSync('umount', ['-l', join(host, 'driver/inner')]));
      const at = (containerPath: string, options: readonly string[]): object => ({
        hostPath: join(host, 'driver'),
        containerPath,
        options,
      });
      const view = (mounts: readonly object[]): void => {
        write('etc/view.json', { ...vendor({ mounts }), kind: 'vendor.example/view' });
      };
      const annotations = { 'portcullis.dev/profile': 'only-reads' };
      const own = await runPod(stage, `view-${handler}`, { annotations }, handler);
      view([at('/www/driver', ['rw', 'rbind']), at('/www/plain', [])]);
      const id = await runContainer(stage, own, ask(cdi('vendor.example/view=one')));
      for (const place of ['/www/driver', '/www/driver/inner', '/www/plain', '/www/plain/inner']) {
        const { stderr } = await execute(stage, id, 'touch', `${place}/file`);
        assert.match(stderr, /Read-only file system/, place);
      }
      view([at('/www/driver', ['rbind', 'rslave'])]);
      const shared = await failureOf(createContainer(stage, own, ask(cdi('vendor.example/view=one'))));
      assert.equal(shared.code, 'RUNTIME_OUTSIDE_PROFILE');
      await removePod(stage, own);
    });

  it(
    'a command is found in the PATH of a CDI device, also under file rules',
    { skip: !hasFileRules && 'this kernel has neither AppArmor nor Landlock' },
    async () => {
      mkdirSync(join(host, 'tools'));
      writeFileSync(join(host, 'tools/gpu-tool'), '#!/bin/sh\nexit 7\n', { mode: 0o755 });
      const mounts = [{ hostPath: join(host, 'tools'), containerPath: '/gpu', options: ['ro', 'rbind'] }];
      const edits = { env: ['PATH=/gpu:/bin'], mounts };
      write('etc/tools.json', { ...vendor(edits), kind: 'vendor.example/tools' });
      for (const profile of ['default', 'few-files']) {
        const annotations = { 'portcullis.dev/profile': profile };
        const own = await runPod(stage, 'tools', { annotations });
        const asked = ask(cdi('vendor.example/tools=one'));
        const id = await runContainer(stage, own, { ...asked, command: ['gpu-tool'] });
        assert.equal((await exitOf(stage, id)).exitCode, 7, profile);
        await removePod(stage, own);
      }
    },
  );

  it('a group of a CDI device that the user namespace of the pod does not have is refused by its number', async () => {
    write('etc/group.json', { ...vendor({ additionalGids: [70_000] }), kind: 'vendor.example/group' });
    const ids = [{ hostId: 1_000_000, containerId: 0, length: 65_536 }];
    const usernsOptions = { mode: 0, uids: ids, gids: ids } as const;
    const security = { namespaceOptions: { ...namespaceOptions, usernsOptions } };
    const own = await runPod(stage, 'group', { linux: { securityContext: security } });
    const asked = { ...ask(cdi('vendor.example/group=one')), security };
    const refused = await failureOf(createContainer(stage, own, asked));
    assert.equal(refused.code, 'RUNTIME_BAD_USER');
    assert.match(refused.message, /gid 70000/);
    await removePod(stage, own);
  });

  for (const handler of ['crun', 'runc'])
    it(`a CDI device in a volume at a read-only path is read-only, with mounts below it (${handler})`, async (t) => {
      for (const folder of ['library/inner', 'volume']) mkdirSync(join(host, folder), { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(host, 'library/inner')]);
      t.after(() => execFileSync('umount', ['-l', join(host, 'library/inner')]));
      const mounts = [
        { hostPath: join(host, 'library'), containerPath: '/srv/library', options: ['rw', 'rbind'] },
      ];
      write('etc/library.json', { ...vendor({ mounts }), kind: 'vendor.example/library' });
      const own = await runPod(stage, `library-${handler}`, {}, handler);
      const id = await runContainer(stage, own, {
        ...ask({
          ...cdi('vendor.example/library=one'),
          mounts: [{ hostPath: join(host, 'volume'), containerPath: '/srv' }],
        }),
        security: { readonlyPaths: ['/srv'] },
      });
      for (const place of ['/srv', '/srv/library', '/srv/library/inner']) {
        const { stderr } = await execute(stage, id, 'touch', `${place}/file`);
        assert.match(stderr, /Read-only file system/, place);
      }
      await removePod(stage, own);
      rmSync(join(host, 'volume'), { recursive: true });
    });

  it('the folder of higher priority wins; two specs in one folder conflict', async () => {
    write('run/override.json', vendor({ env: ['GPU=from-run'] }));
    const id = await runContainer(stage, pod, ask(cdi('vendor.example/gpu=one')));
    assert.equal((await execute(stage, id, 'sh', '-c', 'echo $GPU')).stdout, 'from-run\n');
    write('run/second.json', vendor({ env: ['GPU=second'] }));
    assert.equal(
      (await failureOf(createContainer(stage, pod, ask(cdi('vendor.example/gpu=one'))))).code,
      'RUNTIME_CDI_CONFLICT',
    );
    rmSync(join(host, 'run/override.json'));
    rmSync(join(host, 'run/second.json'));
  });

  it('specs that users other than root can write are ignored, and hooks that they can change do not run', async () => {
    write('etc/hook.json', {
      ...vendor({}),
      kind: 'vendor.example/hook',
      devices: [
        {
          name: 'one',
          containerEdits: { hooks: [{ hookName: 'createRuntime', path: join(host, 'bin/hook') }] },
        },
      ],
    });
    chmodSync(join(host, 'bin/hook'), 0o777);
    const open = await failureOf(createContainer(stage, pod, ask(cdi('vendor.example/hook=one'))));
    assert.equal(open.code, 'RUNTIME_CDI_UNUSABLE');
    assert.match(open.message, /users other than root may write/);
    chmodSync(join(host, 'bin/hook'), 0o755);
    chmodSync(join(host, 'bin'), 0o777);
    assert.equal(
      (await failureOf(createContainer(stage, pod, ask(cdi('vendor.example/hook=one'))))).code,
      'RUNTIME_CDI_UNUSABLE',
    );
    chmodSync(join(host, 'bin'), 0o755);
    chownSync(join(host, 'etc/hook.json'), 1000, 1000);
    const foreign = await failureOf(createContainer(stage, pod, ask(cdi('vendor.example/hook=one'))));
    assert.equal(foreign.code, 'RUNTIME_CDI_DEVICE_NOT_FOUND');
    assert.match(foreign.message, /belongs to user 1000/);
    rmSync(join(host, 'etc/hook.json'));
  });

  it('unknown devices, broken specs and invalid names are refused, and the error names them', async () => {
    write('etc/broken.json', { ...vendor({ env: ['A=b'] }), kind: 'vendor.example/broken', surprise: true });
    write('etc/old.json', {
      ...vendor({ additionalGids: [1] }),
      kind: 'vendor.example/old',
      cdiVersion: '0.6.0',
    });
    for (const [name, code, text] of [
      ['vendor.example/gpu=two', 'RUNTIME_CDI_DEVICE_NOT_FOUND', /no CDI spec describes it/],
      ['vendor.example/broken=one', 'RUNTIME_CDI_DEVICE_NOT_FOUND', /surprise/],
      ['vendor.example/old=one', 'RUNTIME_CDI_DEVICE_NOT_FOUND', /uses fields of 0.7.0/],
      ['../../etc=one', 'RUNTIME_BAD_CDI_DEVICE', /not a qualified device name/],
      ['vendor.example/gpu', 'RUNTIME_BAD_CDI_DEVICE', /not a qualified device name/],
    ] as const) {
      const failure = await failureOf(createContainer(stage, pod, ask(cdi(name))));
      assert.equal(failure.code, code, name);
      assert.match(failure.message, text);
    }
  });
});
