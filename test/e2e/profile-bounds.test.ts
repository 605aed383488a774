import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const profile = (name: string, lines: string): string =>
  `---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: ${name} }\n${lines}\n`;

const policy = `${policyOf(
  ['restricted', 'privileged']
    .map(
      (ceiling) =>
        `  - images: ["${registryName}/${ceiling}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`,
    )
    .join(''),
)}${[
  profile('bounded', 'resources: { memory: 64Mi, pids: 40, nofile: { soft: 64, hard: 128 } }'),
  profile('view', 'entitlements: [host.devices.view, host.paths]'),
  profile('own', 'namespaces: { own: [user] }'),
  profile('peers', 'network: { egress: [{ to: 198.51.100.0/24, ports: [8080/tcp] }] }'),
  profile('parent', 'parameters: { open: { type: integer } }\nresources: { nofile: "${open}" }'),
  profile(
    'child',
    'extends: [{ profile: parent, with: { open: 33 } }]\nsyscalls: { drop: [{ ioctl: { arg1: [TIOCSTI] } }] }',
  ),
].join('')}`;

/** Limits that a profile sets through the runtime, as a container sees them. */
describe('a profile', () => {
  let stage: Stage;
  let [image, narrow] = ['', ''];
  const folder = mkdtempSync(join(tmpdir(), 'profile-bounds-'));
  before(async () => {
    stage = await openStage({ policy });
    image = await stage.pull((await stage.publish('privileged/a:1')).reference);
    narrow = await stage.pull((await stage.publish('restricted/a:1')).reference);
    writeFileSync(join(folder, 'file'), 'old');
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  for (const handler of ['crun', 'runc']) {
    describe(`under ${handler}`, () => {
      let pod: Pod;
      const named = async (name: string): Promise<Pod> => {
        pod = await runPod(
          stage,
          `${name}-${handler}`,
          { annotations: { 'portcullis.dev/profile': name } },
          handler,
        );
        return pod;
      };

      it('sets the limits of the cgroup and of the process', async () => {
        const id = await runContainer(stage, await named('bounded'), { image });
        // The limit of the first process, because runc 1.1.5 raises the soft limit of a command to the hard
        // limit.
        const { stdout } = await execute(stage, id, 'grep', 'open files', '/proc/1/limits');
        assert.match(stdout, / 64 +128 /);
        const spawned = await execute(
          stage,
          id,
          'sh',
          '-c',
          'for n in $(seq 60); do sleep 5 & done; echo no end',
        );
        assert.match(spawned.stderr, /fork|Resource temporarily unavailable/);
        await removePod(stage, pod);
      });

      it('applies parameters that a profile sets for the profile that it extends', async () => {
        const id = await runContainer(stage, await named('child'), { image });
        assert.equal((await execute(stage, id, 'sh', '-c', 'ulimit -n')).stdout, '33\n');
        await removePod(stage, pod);
      });

      it('makes volumes read-only, whatever the pod requests', async () => {
        const mounts = [{ containerPath: '/data', hostPath: folder }];
        const id = await runContainer(stage, await named('view'), { image, more: { mounts } });
        const { exitCode, stderr } = await execute(stage, id, 'sh', '-c', 'echo new > /data/file');
        assert.notEqual(exitCode, 0);
        assert.match(stderr, /Read-only/);
        await removePod(stage, pod);
      });

      it('makes volumes read-only that are single files, such as those of a kubelet', async () => {
        const hostPath = join(folder, 'file');
        const mounts = ['/etc/hosts', '/dev/termination-log'].map((containerPath) => ({
          containerPath,
          hostPath,
        }));
        const id = await runContainer(stage, await named('view'), { image, more: { mounts } });
        for (const { containerPath } of mounts) {
          const { stderr } = await execute(stage, id, 'sh', '-c', `echo new > ${containerPath}`);
          assert.match(stderr, /Read-only/, containerPath);
        }
        await removePod(stage, pod);
      });
    });
  }

  const refused: readonly (readonly [
    what: string,
    profile: string | undefined,
    why: RegExp,
    code: string,
  ])[] = [
    ['root under the ceiling restricted', undefined, /user 0 of the host/, 'RUNTIME_OUTSIDE_PROFILE'],
    ['the user namespace of the host', 'own', /hostUsers: false/, 'RUNTIME_OUTSIDE_PROFILE'],
  ];
  for (const [what, name, why, code] of refused) {
    it(`refuses ${what}`, async () => {
      const pod = await runPod(
        stage,
        `no-${name ?? 'root'}`,
        name === undefined ? {} : { annotations: { 'portcullis.dev/profile': name } },
      );
      const failure = await failureOf(
        createContainer(stage, pod, { image: name === undefined ? narrow : image }),
      );
      assert.equal(failure.code, code);
      assert.match(failure.message, why);
      await removePod(stage, pod);
    });
  }

  it('allows a user other than root under the ceiling restricted', async () => {
    const pod = await runPod(stage, 'nobody');
    const id = await runContainer(stage, pod, { image: narrow, security: { runAsUser: { value: 65534 } } });
    assert.match((await execute(stage, id, 'id', '-u')).stdout, /65534/);
    await removePod(stage, pod);
  });
});
