import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { portcullis } from '../fixtures/command.ts';
import { mountDeadServer, noDeadServer } from '../fixtures/dead-server.ts';
import { expectServing, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { conflist, failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const address = '127.0.0.1:19471';
const policyList = JSON.stringify({
  apiVersion: 'v1',
  kind: 'List',
  items: [
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'closed', namespace: 'other' },
      spec: { podSelector: {}, policyTypes: ['Ingress'] },
    },
  ],
});

const service = `apiVersion: portcullis.dev/v1alpha1
kind: Service
metadata: { name: web }
addresses: [10.215.0.1]
ports: [80:8080/tcp]
backends: [10.214.0.2]
`;

describe(
  'network configuration folders on a file server that does not answer',
  { skip: noDeadServer },
  () => {
    let stage: Stage;
    let image = '';
    let flags: string[] = [];
    const policies = (): string => join(stage.folders.folder, 'network-policies');
    const services = (): string => join(stage.folders.folder, 'services');
    before(async () => {
      stage = await openStage();
      const config = join(stage.folders.folder, 'config.yaml');
      mkdirSync(policies());
      mkdirSync(services());
      writeFileSync(join(policies(), 'policies.json'), policyList);
      writeFileSync(
        config,
        `metrics: { address: "${address}" }\nnetwork: { policies: "${policies()}", services: { folder: "${services()}" } }\n`,
      );
      flags = ['--config', config];
      await stage.restart({ flags });
      image = await stage.pull((await stage.publish('app/a:1')).reference);
    });
    after(() => stage.close());

    const network = async () => {
      const { status } = await stage.daemon.cri.runtime.status({}, { timeoutMs: 5_000 });
      return status?.conditions.find(({ type }) => type === 'NetworkReady');
    };
    const metrics = async (): Promise<string> => (await fetch(`http://${address}/metrics`)).text();
    const until = async (what: string, isSo: () => Promise<boolean>): Promise<void> => {
      for (let waited = 0; !(await isSo()); waited += 100) {
        assert.ok(waited < 30_000, what);
        await pause(100);
      }
    };

    it(
      'CNI configurations: Status reports the failure, new pods are refused at once, and running pods are served; everything recovers later',
      { timeout: 120_000 },
      async () => {
        const pod = await runPod(stage, 'lasting');
        const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
        const dead = mountDeadServer(stage.folders.cniConf);
        try {
          for (let times = 0; times < 8; times += 1) {
            const condition = await network();
            assert.equal(condition?.status, false);
            assert.ok(condition.message.includes(stage.folders.cniConf), condition.message);
            await pause(times * 100);
          }
          const started = performance.now();
          const failure = await failureOf(runPod(stage, 'refused'));
          assert.equal(failure.code, 'NETWORK_FOLDER_NO_ANSWER', failure.message);
          assert.ok(performance.now() - started < 10_000);
          assert.equal((await execute(stage, id, 'hostname')).stdout, 'lasting\n');
          assert.equal((await fetch(`http://${address}/healthz`)).status, 200);
          await removePod(stage, pod);
          // It does not prevent a daemon from stopping and starting either.
          await stage.restart({ flags });
          assert.equal((await network())?.status, false);
        } finally {
          dead.close();
        }
        await until('the network is ready again', async () => (await network())?.status === true);
        await expectServing(stage, image);
      },
    );

    it(
      'NetworkPolicies: the last policies stay in force, and this is reported; everything recovers later',
      { timeout: 120_000 },
      async () => {
        const problems = async (): Promise<number> =>
          Number(/^portcullis_network_policy_problems (\d+)$/m.exec(await metrics())?.[1]);
        const inForce = async (): Promise<number> =>
          Number(/^portcullis_network_policies (\d+)$/m.exec(await metrics())?.[1]);
        assert.deepEqual([await inForce(), await problems()], [1, 0]);
        for (const restart of [false, true]) {
          const dead = mountDeadServer(policies());
          try {
            if (restart) await stage.restart({ flags });
            await until('it is reported', async () => (await problems()) === 1);
            assert.equal(await inForce(), 1);
            assert.equal((await network())?.status, true);
            await expectServing(stage, image);
          } finally {
            dead.close();
          }
          await until('it is read again', async () => (await problems()) === 0);
          assert.equal(await inForce(), 1);
        }
      },
    );

    it(
      'services: a daemon without services continues to serve, and existing services stay; everything recovers later',
      { timeout: 120_000 },
      async () => {
        const listed = async (): Promise<{ services: { name: string }[]; problems: string[] }> => {
          const { stdout, stderr } = await portcullis([
            'service',
            'ls',
            '-o',
            'json',
            '--admin-socket',
            join(stage.folders.state, 'admin.sock'),
          ]);
          assert.equal(stderr, '');
          return JSON.parse(stdout) as never;
        };
        for (const has of [false, true]) {
          const dead = mountDeadServer(services());
          try {
            if (has)
              await until('it is reported', async () =>
                (await listed()).problems.some((problem) => problem.includes(services())),
              );
            await stage.restart({ flags });
            await expectServing(stage, image);
            if (has)
              assert.deepEqual(
                (await listed()).services.map(({ name }) => name),
                ['web'],
              );
            assert.equal((await fetch(`http://${address}/healthz`)).status, 200);
          } finally {
            dead.close();
          }
          writeFileSync(join(services(), 'web.yaml'), service);
          await until('it is read', async () => {
            const { services: found, problems } = await listed();
            return found.length === 1 && problems.length === 0;
          });
        }
      },
    );

    it(
      'a symlink to a file on the file server: nothing is blocked, and everything recovers later',
      { timeout: 120_000 },
      async () => {
        const dead = mountDeadServer();
        const links = [stage.folders.cniConf, policies(), services()].map((folder) =>
          join(folder, '20-linked.json'),
        );
        try {
          for (const link of links) symlinkSync(join(dead.folder, 'file.json'), link);
          for (const restart of [false, true]) {
            if (restart) await stage.restart({ flags });
            await until('Status says so', async () => (await network())?.status === false);
            const started = performance.now();
            const failure = await failureOf(runPod(stage, 'refused'));
            assert.equal(failure.code, 'NETWORK_FOLDER_NO_ANSWER', failure.message);
            assert.ok(performance.now() - started < 10_000);
            await until('the policies stay, with a problem', async () => {
              const report = await metrics();
              return (
                /^portcullis_network_policies 1$/m.test(report) &&
                /^portcullis_network_policy_problems 1$/m.test(report)
              );
            });
            assert.equal((await fetch(`http://${address}/healthz`)).status, 200);
          }
        } finally {
          for (const link of links) rmSync(link, { force: true });
          dead.close();
        }
        await until('the network is ready again', async () => (await network())?.status === true);
        await until('the policies are read again', async () =>
          /^portcullis_network_policy_problems 0$/m.test(await metrics()),
        );
        await expectServing(stage, image);
      },
    );

    it(
      'a file server that answers is read through copies of its files, and changes take effect',
      { timeout: 120_000 },
      async () => {
        // Any file system type works that is not in the list of local types and needs no program, such as
        // ext3.
        const disk = join(stage.folders.folder, 'ext3.img');
        execFileSync('truncate', ['-s', '8M', disk]);
        execFileSync('mkfs.ext3', ['-q', disk]);
        execFileSync('mount', ['-t', 'ext3', '-o', 'loop', disk, stage.folders.cniConf]);
        try {
          await until('an empty folder has no network', async () =>
            /has no/.test((await network())?.message ?? ''),
          );
          stage.writeConflist(conflist);
          await until('the file is noticed', async () => (await network())?.status === true);
          await expectServing(stage, image);
          rmSync(join(stage.folders.cniConf, '10-e2e.conflist'));
          await until('the removal of the file is noticed', async () => (await network())?.status === false);
        } finally {
          execFileSync('umount', ['--lazy', stage.folders.cniConf]);
        }
        await until('the network is ready again', async () => (await network())?.status === true);
      },
    );
  },
);
