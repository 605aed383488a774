import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { MountPropagation, ProfileType } from '../../runtime/cri/contract/contract.types.ts';
import { mountDeadServer, noDeadServer } from '../fixtures/dead-server.ts';
import type { DeadServer } from '../fixtures/dead-server.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { ContainerAsk, Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

const address = '127.0.0.1:19467';

describe('a file server that does not answer', { skip: noDeadServer }, () => {
  let server: DeadServer;
  let stage: Stage;
  let image = '';
  let flags: string[] = [];
  before(async () => {
    server = mountDeadServer();
    stage = await openStage();
    const config = join(stage.folders.folder, 'config.yaml');
    const cdi = join(stage.folders.folder, 'cdi');
    mkdirSync(cdi);
    writeFileSync(config, `metrics: { address: "${address}" }\ncdi: { specDirs: ["${cdi}"] }\n`);
    flags = ['--config', config];
    await stage.restart({ flags });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    symlinkSync(server.folder, join(stage.folders.folder, 'link'));
  });
  after(async () => {
    try {
      await stage.close();
    } finally {
      server.close();
    }
  });

  const inServer = (name: string): string => join(server.folder, name);
  /** Every field in which a request names a path of the host. */
  const ways = (): Readonly<Record<string, Omit<ContainerAsk, 'image'>>> => ({
    mount: { more: { mounts: [{ hostPath: inServer('mount'), containerPath: '/m' }] } },
    link: { more: { mounts: [{ hostPath: join(stage.folders.folder, 'link/link'), containerPath: '/m' }] } },
    device: {
      more: { devices: [{ hostPath: inServer('device'), containerPath: '/dev/d', permissions: 'r' }] },
    },
    seccomp: {
      security: { seccomp: { profileType: ProfileType.Localhost, localhostRef: inServer('seccomp') } },
    },
  });
  /** Processes of the daemon that resolve paths. */
  const lookingUp = (): string[] =>
    readdirSync('/proc').filter((pid) => {
      try {
        // proc_pid_stat(5): the parent follows the name and the state.
        const [, parent] = /\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
        return (
          parent === String(stage.daemon.pid) &&
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('portcullis-look-up')
        );
      } catch {
        return false;
      }
    });
  const health = async (): Promise<number> => (await fetch(`http://${address}/healthz`)).status;

  it(
    'makes requests for its paths fail within the time limit, with the path in the error; meanwhile other pods are created and answer',
    { timeout: 240_000 },
    async () => {
      const stuck = Object.entries(ways()).map(async ([way, ask]) => {
        const pod = await runPod(stage, `stuck-${way}`);
        const failure = await failureOf(createContainer(stage, pod, { image, ...ask }));
        assert.deepEqual(
          [failure.code, failure.kind],
          ['RUNTIME_PATH_NO_ANSWER', 'deadline'],
          `${way}: ${failure.message}`,
        );
        assert.match(failure.message, new RegExp(`/${way}\\b`));
        return pod;
      });
      const log = runPod(stage, 'stuck-log', { logDirectory: inServer('logs') }).then(async (pod) => {
        const failure = await failureOf(createContainer(stage, pod, { image }));
        assert.equal(failure.code, 'RUNTIME_PATH_NO_ANSWER', failure.message);
        return pod;
      });
      let ended = false;
      const all = Promise.all([...stuck, log]).finally(() => (ended = true));
      all.catch(() => undefined);
      let before = 0;
      for (let number = 0; number < 20; number += 1) {
        const pod = await runPod(stage, `well-${number}`);
        const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
        assert.equal((await execute(stage, id, 'hostname')).stdout, `well-${number}\n`);
        await removePod(stage, pod);
        if (!ended) before += 1;
        assert.equal(await health(), 200);
      }
      assert.ok(before > 0, 'some pods were created while the requests waited');
      for (const pod of await all) await removePod(stage, pod);
      assert.ok(lookingUp().length <= 4);
    },
  );

  it(
    'does not block commands of other containers whose working directory is on it',
    { timeout: 120_000 },
    async () => {
      const volume = join(stage.folders.folder, 'volume');
      mkdirSync(join(volume, 'shared/in'), { recursive: true });
      const mounts = [
        {
          hostPath: volume,
          containerPath: '/data',
          propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
        },
      ];
      const runIn = async (name: string, more: object): Promise<[Pod, string]> => {
        const pod = await runPod(stage, name);
        return [pod, await runContainer(stage, pod, { image, command: ['sleep', '600'], more })];
      };
      const held: [Pod, string][] = [];
      for (let number = 0; number < 4; number += 1)
        held.push(await runIn(`held-${number}`, { workingDir: '/data/shared/in', mounts }));
      const [wellPod, well] = await runIn('well', {});
      const dead = mountDeadServer(join(volume, 'shared'));
      try {
        // Through ExecSync and Exec: each has its own thread in the daemon, and all share the four threads of
        // libuv.
        const refused = held.map(async ([, containerId], index) => {
          if (index % 2 === 0) return (await failureOf(execute(stage, containerId, 'true'))).message;
          const asked = { tty: false, stdin: false, stdout: true, stderr: true };
          const client = await openCommand(
            (await stage.daemon.cri.runtime.exec({ containerId, cmd: ['true'], ...asked })).url,
          );
          return (await client.status).message ?? '';
        });
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        // This call reads files of the host with those threads.
        assert.equal(await health(), 200);
        assert.equal((await execute(stage, well, 'hostname')).stdout, 'well\n');
        for (const message of await Promise.all(refused))
          assert.match(message, /a volume of the container cannot be checked: .*did not answer/);
      } finally {
        dead.close();
      }
      for (const [pod] of [...held, [wellPod] as const]) await removePod(stage, pod);
    },
  );

  it(
    'makes a request for a CDI device whose specs are on it fail within the time limit; the pod can be removed',
    { timeout: 120_000 },
    async () => {
      const dead = mountDeadServer(join(stage.folders.folder, 'cdi'));
      try {
        const pods = await Promise.all([0, 1, 2, 3].map((number) => runPod(stage, `cdi-${number}`)));
        const asked = pods.map(async (pod) => {
          const more = { CDIDevices: [{ name: 'vendor.example/class=device' }] };
          assert.equal(
            (await failureOf(createContainer(stage, pod, { image, more }))).code,
            'RUNTIME_PATH_NO_ANSWER',
          );
          await removePod(stage, pod);
        });
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        // This call reads files of the host with the four threads of libuv.
        assert.equal(await health(), 200);
        await Promise.all(asked);
      } finally {
        dead.close();
      }
    },
  );

  it('does not prevent the daemon from stopping, and no process remains', { timeout: 120_000 }, async () => {
    const pod = await runPod(stage, 'hangs');
    const asked = failureOf(createContainer(stage, pod, { image, ...ways()['mount'] }));
    while (lookingUp().length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const left = lookingUp();
    // This fails unless the daemon exits with 0 without a kill.
    await stage.restart({ flags });
    await asked;
    for (const pid of left) assert.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' });
    await removePod(stage, pod);
  });
});
