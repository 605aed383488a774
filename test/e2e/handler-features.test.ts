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
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { Reactor, StartProgram } from '../../base/reactor/index.ts';
import { readHandlerFeatures } from '../../runtime/index.ts';
import { openFeatureProbe } from '../../runtime/oci/probe/feature-probe.ts';
import { probeIds, probeRuntime } from '../../runtime/oci/probe/probe.ts';
import type { ProbeDeps } from '../../runtime/oci/probe/probe.ts';
import { openRuntimeHandler } from '../../runtime/oci/runtime-handler.ts';
import type { RuntimeHandler } from '../../runtime/oci/runtime-handler.ts';
import { podNamespaces } from '../../runtime/pods/pod-namespaces.ts';
import { pinUserNamespace } from '../../runtime/pods/user-namespace.ts';
import { newId } from '../../runtime/state/identity.ts';
import { runProgram } from '../fixtures/command.ts';
import { mountsBelow } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

// crun 1.8 refuses hybrid cgroups. A daemon moves out of them.
if (existsSync('/sys/fs/cgroup/unified'))
  execFileSync('sh', ['-c', 'mount --make-rprivate /sys/fs/cgroup && umount /sys/fs/cgroup/unified']);

const hold = setInterval(() => undefined, 1_000);
const debian = '/usr/sbin/runc';
const peers = findTool('runc').path;

/** Features of OCI runtimes, as detected in the kernel's table of mounts. */
describe('features of runtime handlers', () => {
  let folder = '';
  let kernel: Kernel;
  let reactor: Reactor;
  let startProgram: StartProgram;
  let deps: ProbeDeps;
  let looks = 0;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-probe-'));
    for (const name of ['state', 'bundles', 'ns', 'layers']) mkdirSync(join(folder, name));
    [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
    startProgram = programStarter(reactor, kernel);
    deps = {
      startProgram,
      bundle: (id) => join(folder, 'bundles', id),
      newId,
      userNamespace: {
        make: async () => {
          looks += 1;
          const dir = join(folder, 'ns', newId().slice(0, 8));
          await pinUserNamespace({
            dir,
            types: podNamespaces,
            plan: probeIds,
            hostname: 'probe',
            sysctls: {},
            kernel,
            startProgram,
          });
          return dir;
        },
        release: (dir) => kernel.unpinNamespaces(dir),
      },
      layers: join(folder, 'layers'),
      checkLayers: (userNamespace) => kernel.checkIdmap(join(folder, 'layers'), userNamespace),
    };
  });
  after(async () => {
    await Promise.all([reactor.close(), kernel.close()]);
    clearInterval(hold);
    assert.deepEqual(
      [...readdirSync(join(folder, 'bundles')), ...readdirSync(join(folder, 'ns')), ...mountsBelow(folder)],
      [],
    );
    rmSync(folder, { recursive: true });
  });
  const open = async (path: string): Promise<RuntimeHandler> => {
    const handler = await openRuntimeHandler({
      startProgram,
      name: 'probed',
      path,
      stateDir: join(folder, 'state'),
    });
    return handler;
  };

  it('crun has all features, and before 1.9 omits submounts of a bind mount in a user namespace', async () => {
    const crun = await open('/usr/bin/crun');
    const features = await probeRuntime(crun, deps);
    const [major = 0, minor = 0] = crun.version.split('.').map(Number);
    assert.deepEqual(features, {
      recursiveReadOnlyMounts: true,
      idmappedMounts: true,
      userNamespaces: true,
      bindsKeepSubmounts: major > 1 || minor >= 9,
      // crun 1.8 fails to create a time namespace together with a PID namespace.
      timeNamespaces: features.timeNamespaces && (major > 1 || minor > 8),
      whyNoUserNamespaces: '',
    });
    assert.deepEqual(readdirSync(join(folder, 'state')), [], 'no container is left');
  });

  it(
    'runc before 1.2 has no id-mapped mounts, user or time namespaces, whatever a specification requests',
    { skip: existsSync(debian) ? false : `no ${debian}` },
    async (t) => {
      const runc = await open(debian);
      if (!runc.version.startsWith('1.1')) return t.skip('not runc 1.1');
      const features = await probeRuntime(runc, deps);
      assert.equal(features.recursiveReadOnlyMounts, true);
      assert.equal(features.idmappedMounts, false);
      assert.deepEqual([features.userNamespaces, features.timeNamespaces], [false, false]);
      assert.match(features.whyNoUserNamespaces, /user ?namespace|mappings/i);
    },
  );

  it(
    'runc 1.2 or later has all features',
    { skip: peers.startsWith('/usr/') || peers === '' ? 'test/peers/get runc' : false },
    async () => {
      const features = await probeRuntime(await open(peers), deps);
      assert.deepEqual(features, {
        recursiveReadOnlyMounts: true,
        idmappedMounts: true,
        userNamespaces: true,
        bindsKeepSubmounts: true,
        timeNamespaces: true,
        whyNoUserNamespaces: '',
      });
    },
  );

  it('a probe signals no process in the PID namespace of the daemon', async () => {
    // Process 2 belongs to a container, or to another service if the daemon itself runs in a container.
    const script = `
      import { existsSync, readFileSync, readdirSync } from 'node:fs';
      import { startKernelWorker } from '${join(import.meta.dirname, '../../base/kernel/index.ts')}';
      import { programStarter, startReactor } from '${join(import.meta.dirname, '../../base/reactor/index.ts')}';
      import { probeRuntime } from '${join(import.meta.dirname, '../../runtime/oci/probe/probe.ts')}';
      import { openRuntimeHandler } from '${join(import.meta.dirname, '../../runtime/oci/runtime-handler.ts')}';
      import { newId } from '${join(import.meta.dirname, '../../runtime/state/identity.ts')}';
      const hold = setInterval(() => undefined, 1_000);
      const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
      const startProgram = programStarter(reactor, kernel);
      const folder = '${folder}';
      const ids = [];
      const handler = await openRuntimeHandler({ startProgram, name: 'probed', path: '/usr/bin/crun', stateDir: folder + '/state' });
      const features = await probeRuntime(handler, {
        startProgram,
        newId: () => ids[ids.push(newId()) - 1],
        bundle: (id) => folder + '/bundles/' + id,
        userNamespace: { make: () => Promise.reject(new Error('none here')), release: () => Promise.resolve() },
        layers: folder + '/layers',
        checkLayers: () => Promise.resolve(),
      });
      await Promise.all([reactor.close(), kernel.close()]);
      clearInterval(hold);
      // A killed process exists until it is reaped.
      if (!/^State:\\s+S/m.test(readFileSync('/proc/2/status', 'utf8'))) throw new Error('process 2 was killed');
      // Without cgroup version 2 crun creates plain files at its mount point.
      const roots = ['', ...readdirSync('/sys/fs/cgroup')].filter((root) => root !== 'unified');
      const here = () => ids.filter((id) => roots.some((root) => existsSync('/sys/fs/cgroup/' + root + '/portcullis/' + id)));
      // The cgroup of a process killed a moment ago disappears with it.
      for (let waited = 0; here().length > 0 && waited < 60_000; waited += 50) await new Promise((resolve) => setTimeout(resolve, 50));
      const left = here();
      if (ids.length === 0 || left.length > 0) throw new Error('cgroups are left: ' + left);
      process.stdout.write(JSON.stringify(features));
    `;
    const inside = `sleep 600 >/dev/null 2>&1 & [ $! = 2 ] || exit 9; exec "$@"`;
    const { code, stdout, output } = await runProgram(
      'unshare',
      [
        ...['--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', inside, 'sh'],
        process.execPath,
        '--input-type=module',
        '-e',
        script,
      ],
      process.env,
    );
    assert.equal(code, 0, output);
    assert.equal(
      (JSON.parse(stdout) as { recursiveReadOnlyMounts: boolean }).recursiveReadOnlyMounts,
      true,
      'the runtime was probed',
    );
  });

  it('a program that is not a runtime has no features, and the reason is reported', async () => {
    const path = join(folder, 'no-runtime');
    writeFileSync(
      path,
      '#!/bin/sh\n[ "$1" = --version ] && echo odd version 1.0 && exit 0\necho never >&2\nexit 1\n',
      { mode: 0o755 },
    );
    const features = await probeRuntime(await open(path), deps);
    assert.equal(
      features.userNamespaces || features.recursiveReadOnlyMounts || features.idmappedMounts,
      false,
    );
    assert.match(features.whyNoUserNamespaces, /never/);
  });

  it('a runtime that does not answer in time keeps its known features, and nothing new is stored', async () => {
    const path = join(folder, 'slow');
    const write = (pauseS: number): void => {
      writeFileSync(path, `#!/bin/sh\n[ "$1" = --version ] || sleep ${pauseS}\nexec /usr/bin/crun "$@"\n`, {
        mode: 0o755,
      });
      // The same program for the stored features.
      utimesSync(path, 1, 1);
    };
    write(0);
    const handlers = new Map([['', await open(path)]]);
    const root = join(folder, 'slow-root');
    mkdirSync(root);
    const file = join(root, 'handler-features.json');
    const log = createLogger({ level: 'silent' });
    const first = await openFeatureProbe({ ...deps, handlers, root, log });
    first.begin();
    assert.equal((await first.of('')).userNamespaces, true);
    await first.close();
    // One feature is missing, so the next start probes the runtime again.
    const stored = readFileSync(file, 'utf8').replace('"idmappedMounts": true', '"idmappedMounts": false');
    writeFileSync(file, stored);
    write(3);
    const second = await openFeatureProbe({ ...deps, handlers, root, log, timeoutMs: 500 });
    second.begin();
    assert.equal((await second.of('')).userNamespaces, true);
    await second.close();
    assert.equal(readFileSync(file, 'utf8'), stored);
    assert.deepEqual(readdirSync(join(folder, 'bundles')), [], 'no container of the probe is left');
  });

  it('if layers cannot be mapped, this is the reason why user namespaces are not supported', async () => {
    const unable = { ...deps, checkLayers: () => Promise.reject(new Error('an old file system')) };
    const features = await probeRuntime(await open('/usr/bin/crun'), unable);
    assert.equal(features.idmappedMounts, true);
    assert.equal(features.userNamespaces, false);
    assert.equal(features.whyNoUserNamespaces, 'an old file system');
  });

  it('detected features are stored by program and kernel; missing features are probed again', async () => {
    const path = join(folder, 'wrapped');
    writeFileSync(path, '#!/bin/sh\nexec /usr/bin/crun "$@"\n', { mode: 0o755 });
    const handler = await open(path);
    const handlers = new Map([
      ['', handler],
      ['probed', handler],
    ]);
    const root = join(folder, 'root');
    mkdirSync(root);
    const file = join(root, 'handler-features.json');
    const abandoned = join(root, '.handler-features.json.0123456789ab.tmp');
    writeFileSync(abandoned, '{');
    const openProbe = () =>
      openFeatureProbe({ ...deps, handlers, root, log: createLogger({ level: 'silent' }) });
    looks = 0;
    const first = await openProbe();
    assert.equal(existsSync(abandoned), false, 'the temporary file of an interrupted write is removed');
    assert.equal(
      (await first.within('', 1)).userNamespaces,
      false,
      'no feature is reported before it was detected',
    );
    first.begin();
    assert.equal((await first.of('probed')).userNamespaces, true);
    assert.equal((await first.within('', 1)).userNamespaces, true);
    await first.requireUserNamespaces('');
    await first.close();
    assert.equal(looks, 1, 'each program is probed once');

    assert.deepEqual(await readHandlerFeatures(root), { [path]: await first.of('') });
    assert.deepEqual(await readHandlerFeatures(join(folder, 'none')), {});
    const damaged = join(folder, 'damaged');
    mkdirSync(damaged);
    writeFileSync(join(damaged, 'handler-features.json'), 'null');
    assert.deepEqual(await readHandlerFeatures(damaged), {});
    const second = await openProbe();
    assert.equal((await second.within('', 1)).userNamespaces, true, 'known at once');
    second.begin();
    await second.of('');
    await second.close();
    assert.equal(looks, 1);

    utimesSync(path, 1, 1);
    const third = await openProbe();
    assert.equal((await third.within('', 1)).userNamespaces, false, 'another program, perhaps');
    third.begin();
    await third.of('');
    await third.close();
    assert.equal(looks, 2);

    writeFileSync(
      file,
      readFileSync(file, 'utf8').replaceAll('"userNamespaces": true', '"userNamespaces": false'),
    );
    const fourth = await openProbe();
    await assert.rejects(
      Promise.all([fourth.requireUserNamespaces('none'), Promise.resolve(fourth.begin())]),
      { code: 'RUNTIME_NO_USER_NAMESPACES' },
      'an unknown handler has no user namespaces',
    );
    assert.equal((await fourth.of('')).userNamespaces, true, 'the host may have changed');
    await fourth.close();
    assert.equal(looks, 3);
  });

  it('a probe that is closed before it began does not probe', async () => {
    const handler = await open('/usr/bin/crun');
    const probe = await openFeatureProbe({
      ...deps,
      handlers: new Map([['', handler]]),
      root: join(folder, 'none'),
      log: createLogger({ level: 'silent' }),
    });
    const before = looks;
    await probe.close();
    assert.equal((await probe.of('')).userNamespaces, false);
    assert.equal(looks, before);
  });
});
