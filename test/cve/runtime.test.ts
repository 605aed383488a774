import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Another user of the host. Its working directory is one that it can enter, because `find` returns there. */
const asOther = { uid: 65_534, gid: 65_534, cwd: '/' } as const;
/** Programs that a runtime or its helpers look up by name. */
const helpers = [
  'gzip',
  'unpigz',
  'igzip',
  'zstd',
  'tar',
  'nft',
  'ip',
  'iptables',
  'mount',
  'umount',
  'newuidmap',
  'unshare',
  'nsenter',
];
const runtimes = ['crun', 'runc', 'conmon', 'apparmor_parser', 'openssl', 'id', 'getent'];

/** Published flaws of other runtimes that no other suite covers. One daemon serves all tests. */
describe('flaws of other runtimes', () => {
  let stage: Stage;
  let image = '';
  /** Files appear here if the host runs a program of an image. */
  let prey = '';
  before(async () => {
    stage = await openStage();
    prey = join(stage.folders.folder, 'prey');
    mkdirSync(prey, { mode: 0o777 });
    image = await stage.pull((await stage.publish('plain/a:1')).reference);
  });
  after(() => stage.close());

  it('line feeds in HOME, variables and names add no lines to files of the container (CVE-2022-4318, CVE-2026-15809)', async () => {
    const pod = await runPod(stage, 'lines');
    const plain = await runContainer(stage, pod, { name: 'plain', image, command: ['sleep', '600'] });
    const files = async (id: string): Promise<string> =>
      (await execute(stage, id, 'sh', '-c', 'cat /etc/passwd /etc/group /etc/hosts')).stdout;
    const intact = await files(plain);
    const values = [
      '/tmp\nevil:x:0:0::/:/bin/sh',
      '/tmp\r\nevil:x:0:0::/:/bin/sh',
      '/tmp\\nevil:x:0:0::/:/bin/sh',
      '/tmp:evil:x:0',
    ];
    for (const [index, home] of values.entries()) {
      const envs = [
        { key: 'HOME', value: Buffer.from(home) },
        { key: 'USER', value: Buffer.from(home) },
      ];
      const ask = {
        name: `home-${index}`,
        image,
        command: ['sleep', '600'],
        security: { runAsUser: { value: 4321 } },
        more: { envs },
      };
      // The container may be refused; if it runs, no user is added.
      const id = await runContainer(stage, pod, ask).catch(() => undefined);
      if (id !== undefined) assert.equal(await files(id), intact, JSON.stringify(home));
    }
    // A NUL is not valid text in a CRI message. The others are not valid names.
    for (const runAsUsername of ['root\nevil:x:0:0', 'root\r', 'web\n', '\nroot', 'web\u0000']) {
      const { code, kind } = await failureOf(
        createContainer(stage, pod, { name: 'named', image, security: { runAsUsername } }),
      );
      assert.ok(
        ['RUNTIME_BAD_USER', 'CRI_BAD_REQUEST'].includes(code) && kind === 'invalid',
        `${JSON.stringify(runAsUsername)}: ${code}`,
      );
    }
    await removePod(stage, pod);
  });

  it('the user id that status reports is the one that runs, in any spelling of USER (CVE-2026-46680)', async () => {
    const pod = await runPod(stage, 'not-root');
    for (const [index, user] of [
      '+0',
      '00',
      '0x0',
      ' 0',
      '0 ',
      '1e0',
      '4294967296',
      ':1000',
      '1000:0',
    ].entries()) {
      const passwd = ['+0', '0x0', ' 0', '0 ', '1e0'].map((name) => `${name}:x:0:0::/:/bin/sh\n`).join('');
      const layers = [await layerOf([{ name: 'etc/passwd', body: passwd }])];
      const reference = (await stage.publish(`user/a${index}:1`, { layers, config: { User: user } }))
        .reference;
      const pulled = await stage.pull(reference);
      const { image: status } = await stage.daemon.cri.image.imageStatus({ image: { image: pulled } });
      const reported = status?.uid?.value;
      const id = await runContainer(stage, pod, {
        name: `user-${index}`,
        image: pulled,
        command: ['sleep', '600'],
      }).catch(() => undefined);
      if (id === undefined) continue;
      const had = Number((await execute(stage, id, 'id', '-u')).stdout);
      // A kubelet refuses a user name, and treats an absent user as root. It relies only on an id.
      if (reported !== undefined) assert.equal(had, reported, JSON.stringify(user));
      else assert.ok(had === 0 || status?.username !== '', JSON.stringify(user));
    }
    await removePod(stage, pod);
  });

  it('another user of the host reads nothing below root and state (CVE-2021-41103, CVE-2024-25621)', async () => {
    const pod = await runPod(stage, 'walked');
    await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    const { root, state, socket } = stage.folders;
    for (const folder of [root, state]) {
      assert.ok(readdirSync(folder).length > 0);
      const walk = spawnSync('find', [folder, '-mindepth', '1'], { ...asOther, encoding: 'utf8' });
      // Entering a folder whose names cannot be listed is how CVE-2021-41103 was used: known names count as
      // well.
      const known = spawnSync('find', [folder, '-maxdepth', '3'], { encoding: 'utf8' })
        .stdout.trim()
        .split('\n')
        .slice(1);
      assert.ok(known.length > 3);
      const script =
        'for path; do if [ -r "$path" ] || [ -x "$path" ] || [ -w "$path" ]; then echo "$path"; fi; done';
      const reached = spawnSync('sh', ['-c', script, 'sh', ...known], { ...asOther, encoding: 'utf8' });
      assert.equal(reached.status, 0, reached.stderr);
      assert.deepEqual([walk.stdout, reached.stdout], ['', ''], folder);
    }
    const connect = spawnSync('busybox', ['nc', `local:${socket}`], {
      ...asOther,
      encoding: 'utf8',
      timeout: 5_000,
    });
    assert.notEqual(connect.status, 0);
    await removePod(stage, pod);
  });

  it('no socket of the daemon or its monitors is abstract (CVE-2020-15257)', async () => {
    const pod = await runPod(stage, 'sockets');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    await execute(stage, id, 'true');
    await stage.daemon.cri.runtime.exec({
      containerId: id,
      cmd: ['cat'],
      stdin: true,
      stdout: true,
      stderr: true,
    });
    const sockets = readFileSync(`/proc/${stage.daemon.pid}/net/unix`, 'utf8');
    assert.ok(sockets.includes(stage.folders.socket), 'the table contains the sockets of the daemon');
    const held = inodes([stage.daemon.pid, ...monitors(stage)]);
    const abstract = sockets
      .split('\n')
      .filter((line) => line.includes(' @') && held.has(line.trim().split(/\s+/)[6] ?? ''));
    assert.deepEqual(abstract, []);
    await removePod(stage, pod);
  });

  it('programs of an image never run on the host in place of ours (CVE-2019-14271, CVE-2026-41567)', async () => {
    const traps = [...helpers, ...runtimes].flatMap((name) =>
      ['usr/bin', 'usr/sbin', 'trap'].map((folder) => ({
        name: `${folder}/${name}`,
        mode: 0o755,
        body: `#!/bin/sh\necho "$0" >> ${prey}/ran\n`,
      })),
    );
    const source = {
      layers: [
        await layerOf(traps),
        await layerOf([{ name: 'lib/libnss_files.so.2', mode: 0o755, body: 'not a library' }]),
      ],
      config: {
        Env: ['PATH=/trap:/usr/bin:/bin', 'LD_PRELOAD=/lib/libnss_files.so.2', 'LD_LIBRARY_PATH=/lib'],
        User: 'web',
      },
    };
    const trapped = await stage.pull((await stage.publish('trap/a:1', source)).reference);
    for (const handler of ['crun', 'runc']) {
      const pod = await runPod(stage, `trap-${handler}`, {}, handler);
      const ask = {
        name: 'trap',
        image: trapped,
        command: ['/bin/sleep', '600'],
        more: { workingDir: '/trap' },
      };
      const id = await runContainer(stage, pod, ask);
      assert.equal((await execute(stage, id, '/bin/sh', '-c', 'echo ran inside')).stdout, 'ran inside\n');
      await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 0 });
      await removePod(stage, pod);
    }
    assert.equal(existsSync(join(prey, 'ran')), false);
  });

  it('a container of a pod with a user namespace is in the cgroup of its pod (CVE-2025-47291)', async (t) => {
    const mapping = { hostId: 200_000, containerId: 0, length: 65_536 } as const;
    const usernsOptions = { mode: 0, uids: [mapping], gids: [mapping] } as const;
    const namespaces = { network: 0, pid: 1, ipc: 0, usernsOptions } as const;
    let pod: Pod;
    try {
      pod = await runPod(stage, 'mapped', { linux: { securityContext: { namespaceOptions: namespaces } } });
    } catch (thrown) {
      t.skip(String(thrown));
      return;
    }
    const id = await runContainer(stage, pod, {
      image,
      command: ['sleep', '600'],
      security: { namespaceOptions: namespaces },
    });
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
    const { pid } = JSON.parse(info['info'] ?? '{}') as { pid?: number };
    assert.ok(pid !== undefined && pid > 1);
    const [line = ''] = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
      .split('\n')
      .filter((one) => one.includes(stage.cgroupParent));
    assert.ok(line.includes(`${stage.cgroupParent}/`), readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
    await removePod(stage, pod);
  });
});

function monitors(stage: Stage): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return line.includes('conmon') && line.includes(stage.folders.state);
      } catch {
        return false;
      }
    });
}

/** The inodes of all sockets that the processes hold. */
function inodes(pids: readonly number[]): Set<string> {
  const script = 'for pid; do ls -l /proc/$pid/fd; done';
  const { stdout } = spawnSync('sh', ['-c', script, 'sh', ...pids.map(String)], { encoding: 'utf8' });
  return new Set([...stdout.matchAll(/socket:\[(\d+)\]/g)].map((match) => match[1] ?? ''));
}
