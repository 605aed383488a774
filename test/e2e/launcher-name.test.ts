import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { detectKernel } from '../../entitlements/index.ts';
import { layerOf } from '../fixtures/image.ts';
import type { Entry } from '../fixtures/image.ts';
import {
  createContainer,
  execute,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';
import { findTool } from '../fixtures/tools.ts';

const rule = (place: string, more = ''): string =>
  `  - images: ["${registryName}/${place}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${place}${more} }\n`;
const files =
  'files: { read: [/bin/**, /proc/**, /app/**, /mnt/**], write: [/app/**, /mnt/**, /.portcullis-launcher], execute: [/bin/**, /app/**] }';
const profile = (name: string, lines: string): string =>
  `---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: ${name} }\n${lines}\n`;
const policy =
  policyOf(rule('kept') + rule('admin')) +
  profile('kept', files) +
  profile('admin', `entitlements: [kernel.mounts, kernel.user-namespaces]\n${files}`);

const kernel = detectKernel();
const held = !kernel.apparmor && (kernel.landlock ?? 0) >= 3;

const tools = {
  crun: findTool('crun'),
  runc: findTool('runc'),
  shim: findTool('containerd-shim-runc-v2'),
};
const noShim = tools.shim.skip === false ? tools.runc.skip : tools.shim.skip;

/** Possible entries of an image at the name of the launcher, or on the path to it. */
const squatters: readonly { readonly what: string; readonly entries: readonly Entry[] }[] = [
  {
    what: 'a link to a place in a folder that the container may move',
    // The runtime creates it.
    entries: [{ name: '.portcullis-launcher', type: 'symlink', linkname: '/app/x/y' }],
  },
  {
    what: 'a dangling link',
    entries: [{ name: '.portcullis-launcher', type: 'symlink', linkname: '/not/there' }],
  },
  {
    what: 'a link to itself',
    entries: [{ name: '.portcullis-launcher', type: 'symlink', linkname: '.portcullis-launcher' }],
  },
  {
    what: 'a file',
    entries: [{ name: '.portcullis-launcher', mode: 0o755, body: '#!/bin/sh\ncat /secret\n' }],
  },
  { what: 'an empty file', entries: [{ name: '.portcullis-launcher', mode: 0o755, body: '' }] },
  { what: 'a hard link', entries: [{ name: '.portcullis-launcher', type: 'link', linkname: 'bin/busybox' }] },
  { what: 'a folder', entries: [{ name: '.portcullis-launcher/', type: 'directory' }] },
  {
    what: 'a device',
    entries: [{ name: '.portcullis-launcher', type: 'character-device', devmajor: 1, devminor: 3 }],
  },
  { what: 'a FIFO', entries: [{ name: '.portcullis-launcher', type: 'fifo' }] },
];

describe(
  'the name of the launcher that sets up Landlock',
  { skip: !held && 'this kernel does not restrict files by Landlock' },
  () => {
    let stage: Stage;
    let serial = 0;
    const image = async (place: string, entries: readonly Entry[]): Promise<string> => {
      serial += 1;
      const layer = await layerOf([
        { name: 'app/', type: 'directory', mode: 0o777 },
        { name: 'mnt/', type: 'directory', mode: 0o777 },
        { name: 'secret', body: 'the secret\n' },
        ...entries,
      ]);
      return stage.pull((await stage.publish(`${place}/a${serial}:1`, { layers: [layer] })).reference);
    };
    const folder = mkdtempSync(join(tmpdir(), 'pc-launcher-'));
    before(async () => {
      const config = join(folder, 'config.yaml');
      const { crun, runc, shim } = tools;
      const runtimes = {
        crun: { path: crun.path },
        ...(runc.skip === false && { runc: { path: runc.path } }),
        ...(noShim === false && { shim: { type: 'shim', path: shim.path, runtimePath: runc.path } }),
      };
      writeFileSync(config, JSON.stringify({ runtimes, defaultRuntime: 'crun' }));
      stage = await openStage({ policy, flags: ['--config', config] });
    });
    after(async () => {
      await stage.close();
      rmSync(folder, { recursive: true });
    });

    /** Returns the output of a command, or the reason why it was refused. */
    const attempt = async (id: string, ...command: string[]): Promise<string> => {
      const done = await execute(stage, id, ...command).catch((thrown: unknown) => String(thrown));
      return typeof done === 'string' ? done : done.stdout + done.stderr;
    };

    for (const [handler, skip] of [
      ['crun', tools.crun.skip],
      ['runc', tools.runc.skip],
      ['shim', noShim],
    ] as const) {
      for (const { what, entries } of squatters) {
        it(`is refused if the image contains ${what} (${handler})`, { skip }, async () => {
          const pod = await runPod(stage, `name-${serial}-${handler}`, {}, handler);
          const ask = { image: await image('kept', entries), command: ['sleep', '600'] };
          const created = await createContainer(stage, pod, ask).catch(
            (thrown: unknown) => thrown as { code: string },
          );
          if (typeof created === 'string') {
            // The effect of the attack if it is not refused: the exec below must not escape the file rules.
            await stage.daemon.cri.runtime.startContainer({ containerId: created }).catch(() => undefined);
            const plant =
              'mv /app/x /app/z; mkdir /app/x; echo "#!/bin/sh" > /app/x/y; echo cat /secret >> /app/x/y; chmod 755 /app/x/y';
            await attempt(created, 'sh', '-c', plant);
            assert.doesNotMatch(await attempt(created, 'true'), /the secret/);
          }
          assert.equal(typeof created === 'string' ? '' : created.code, 'RUNTIME_LAUNCHER_NAME_TAKEN');
          await removePod(stage, pod);
        });
      }

      it(
        `cannot be changed by processes of the container, even with CAP_SYS_ADMIN (${handler})`,
        { skip },
        async () => {
          const pod = await runPod(
            stage,
            `admin-${handler}`,
            { annotations: { 'portcullis.dev/profile': 'admin' } },
            handler,
          );
          const id = await runContainer(stage, pod, {
            image: await image('admin', []),
            command: ['sleep', '600'],
          });
          const name = '/.portcullis-launcher';
          const attempts = [
            `umount ${name}`,
            `umount -l ${name}`,
            `mount --bind /bin/busybox ${name}`,
            `mount --move ${name} /app`,
            'mount --bind / /mnt',
            'mount -t tmpfs x /mnt',
            'pivot_root /app /app/x',
            `mv ${name} /app/launcher`,
            `rm -f ${name} && test ! -e ${name}`,
            `ln -sf /app/own ${name}`,
            `echo x > ${name}`,
            `unshare -m umount ${name}`,
            `unshare -U -r -m umount ${name}`,
            `unshare -m sh -c 'umount ${name}; rm -f ${name}; test ! -e ${name}'`,
            `mv /proc/1/root${name} /app/launcher`,
          ];
          const script = `grep CapEff /proc/self/status; ${attempts.map((one, at) => `(${one}) >/dev/null 2>&1 && echo works ${at}`).join('; ')}; true`;
          const { stdout } = await execute(stage, id, 'sh', '-c', script);
          assert.notEqual(
            BigInt(`0x${/CapEff:\s*(\w+)/.exec(stdout)?.[1] ?? '0'}`) & (1n << 21n),
            0n,
            'CAP_SYS_ADMIN',
          );
          assert.doesNotMatch(stdout, /works/);
          assert.equal((await execute(stage, id, 'sh', '-c', 'cat /secret || echo kept')).stdout, 'kept\n');
          await removePod(stage, pod);
        },
      );

      it(
        `is checked before each command: another program there does not run (${handler})`,
        { skip },
        async () => {
          const pod = await runPod(stage, `other-${handler}`, {}, handler);
          const id = await runContainer(stage, pod, {
            image: await image('kept', []),
            command: ['sleep', '600'],
          });
          assert.equal((await execute(stage, id, 'sh', '-c', 'cat /secret || echo kept')).stdout, 'kept\n');
          const pid = initOf(
            await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true }),
          );
          const inside = (script: string): void =>
            void execFileSync('nsenter', ['-m', '-p', '-t', String(pid), '/bin/sh', '-c', script]);
          // Like a process in this mount namespace without file rules.
          const name = '/.portcullis-launcher';
          const plant = `printf "#!/bin/sh\\ncat /secret\\n" > ${name}; chmod 755 ${name}`;
          const changes: readonly (readonly [says: RegExp, change: string])[] = [
            [/is mounted writable/, `mount -o remount,rw,bind ${name}`],
            [/is mounted writable/, `mount --bind /bin/busybox ${name}`],
            [/is another program/, `mount -o remount,ro,bind ${name}`],
            [/is not the mount/, `umount ${name}; umount ${name}; ${plant}`],
            [/is not the mount/, `rm ${name}; mkdir ${name}; mount -t tmpfs x ${name}`],
            [/is not the mount/, `umount ${name}; rmdir ${name}; ln -s /bin/busybox ${name}`],
            [/is gone/, `rm ${name}`],
          ];
          for (const [says, change] of changes) {
            inside(change);
            const failure = await failureOf(
              stage.daemon.cri.runtime.execSync({ containerId: id, cmd: ['true'], timeout: 10 }),
            );
            assert.equal(failure.code, 'RUNTIME_LAUNCHER_REPLACED');
            assert.match(failure.message, says);
            const streams = { stdin: false, stdout: true, stderr: true, tty: false };
            const client = await openCommand(
              (await stage.daemon.cri.runtime.exec({ containerId: id, cmd: ['true'], ...streams })).url,
            );
            const status = await client.status;
            assert.equal(status.status, 'Failure');
            assert.match(status.message ?? '', says);
            assert.doesNotMatch(client.stdout(), /the secret/);
          }
          await removePod(stage, pod);
        },
      );
    }

    it('belongs to the container in a user namespace as well', async () => {
      const ids = [{ hostId: 300_000, containerId: 0, length: 65_536 }];
      const inNamespace = {
        namespaceOptions: { ...namespaceOptions, usernsOptions: { mode: 0, uids: ids, gids: ids } },
      } as const;
      const pod = await runPod(stage, 'userns', { linux: { securityContext: inNamespace } });
      const first = await createContainer(stage, pod, {
        image: await image('kept', squatters[0]?.entries ?? []),
        security: inNamespace,
      }).catch((thrown: unknown) => thrown as { code: string });
      assert.equal(typeof first === 'string' ? '' : first.code, 'RUNTIME_LAUNCHER_NAME_TAKEN');
      const id = await runContainer(stage, pod, {
        name: 'good',
        image: await image('kept', []),
        command: ['sleep', '600'],
        security: inNamespace,
      });
      assert.equal((await execute(stage, id, 'sh', '-c', 'cat /secret || echo kept')).stdout, 'kept\n');
      await removePod(stage, pod);
    });
  },
);

/** Returns the first process, from the verbose status. */
function initOf({ info }: { readonly info: Readonly<Record<string, string>> }): number {
  return Number(/"pid":\s*(\d+)/.exec(info['info'] ?? JSON.stringify(info))?.[1] ?? 0);
}
