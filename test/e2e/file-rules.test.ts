import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { detectKernel } from '../../entitlements/index.ts';
import { layerOf } from '../fixtures/image.ts';
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

const rule = (place: string, entitlements: string): string =>
  `  - images: ["${registryName}/${place}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ${entitlements} }\n`;
const profile = (name: string, files: string): string =>
  `---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: ${name} }\nfiles: ${files}\n`;
const policy =
  policyOf(
    rule('kept', 'ceiling: kept') +
      rule('odd', 'ceiling: odd') +
      rule('lax', 'ceiling: odd, onDegraded: allow'),
  ) +
  profile('kept', '{ read: [/bin/**, /proc/**, /app/**], write: [/tmp/**, /app/log], execute: [/bin/**] }') +
  profile('odd', '{ read: [/bin/**, /proc/**, "/app/*.txt"], execute: [/bin/**] }');

const kernel = detectKernel();
const enforcer = kernel.apparmor ? 'AppArmor' : (kernel.landlock ?? 0) >= 3 ? 'Landlock' : undefined;

/** The result of each command under the profile `kept`. */
const tries: readonly (readonly [command: string, works: boolean])[] = [
  ['cat /app/data.txt', true],
  ['cat /app/deep/er', true],
  ['ls /app', true],
  ['cat /secret', false],
  // A link leads to a name that no rule names.
  ['cat /app/sideways', false],
  ['ls /', false],
  ['cat /etc/resolv.conf', false],
  ['echo x > /app/data.txt', false],
  ['echo x > /app/log', true],
  // Two shells run concurrently, each with its own folder.
  ['mkdir /tmp/$$ && echo x > /tmp/$$/x', true],
  // The file can be written there, but not read.
  ['cat /tmp/$$/x', false],
  ['mkdir /tmp/$$/d && rmdir /tmp/$$/d', true],
  ['mv /tmp/$$/x /app/deep/x', false],
  ['ln /app/data.txt /tmp/$$/data', false],
  ['rm /app/data.txt', false],
  ['rm /tmp/$$/x', true],
  ['/app/run.sh', false],
  ['sh -c true', true],
  ['echo x > /dev/null', true],
];
const script = tries
  .map(([command], at) => `(${command}) >/dev/null 2>&1 && echo ${at} works || echo ${at} fails`)
  .join('; ');
const expected = tries.map(([command, works], at) => `${at} ${works ? 'works' : 'fails'}: ${command}`);
const seen = (text: string): string[] =>
  [...text.matchAll(/(\d+) (works|fails)/g)].map(([line, at]) => `${line}: ${tries[Number(at)]?.[0] ?? ''}`);

describe(
  `file rules, enforced by ${enforcer ?? 'no module'}`,
  { skip: enforcer === undefined && 'this kernel has neither AppArmor nor Landlock' },
  () => {
    let stage: Stage;
    const image: Record<string, string> = {};
    before(async () => {
      stage = await openStage({ policy });
      const layer = await layerOf([
        ...['app/', 'app/deep/', 'tmp/'].map((name) => ({ name, type: 'directory' as const, mode: 0o777 })),
        { name: 'app/data.txt', body: 'data\n', mode: 0o666 },
        { name: 'app/deep/er', body: 'deep\n' },
        { name: 'app/log', body: '', mode: 0o666 },
        { name: 'app/run.sh', body: '#!/bin/sh\necho ran\n', mode: 0o755 },
        { name: 'app/sideways', type: 'symlink', linkname: '../secret' },
        { name: 'secret', body: 'secret\n' },
      ]);
      for (const place of ['kept', 'odd', 'lax']) {
        image[place] = await stage.pull((await stage.publish(`${place}/a:1`, { layers: [layer] })).reference);
      }
    });
    after(() => stage.close());

    for (const handler of ['crun', 'runc']) {
      it(`apply to a container and to commands executed in it (${handler})`, async () => {
        const pod = await runPod(stage, `kept-${handler}`, {}, handler);
        const command = ['sh', '-c', `${script}; sleep 600`];
        const container = await runContainer(stage, pod, { image: image['kept'] ?? '', command });
        const { stdout } = await execute(stage, container, 'sh', '-c', script);
        assert.deepEqual(seen(stdout), expected);
        const log = (): readonly string[] =>
          seen(
            readFileSync(join(stage.logs, `kept-${handler}`, 'main/0.log'), 'utf8').replace(
              /^\S+ std(out|err) F /gm,
              '',
            ),
          );
        for (let waited = 0; waited < 60_000 && log().length < expected.length; waited += 50) await pause(50);
        assert.deepEqual(log(), expected);
        await removePod(stage, pod);
      });

      it(`apply to an unprivileged user, in a read-only root, and to a command without a path (${handler})`, async () => {
        const pod = await runPod(stage, `user-${handler}`, {}, handler);
        const container = await runContainer(stage, pod, {
          image: image['kept'] ?? '',
          command: ['sleep', '600'],
          security: { runAsUser: { value: 65534 }, readonlyRootfs: true },
        });
        const { stdout } = await execute(
          stage,
          container,
          'sh',
          '-c',
          'id -u; cat /secret || echo kept; cat /app/data.txt',
        );
        assert.equal(stdout, '65534\nkept\ndata\n');
        // A started container may still run the launcher, which executes the program a moment later.
        const program = async (): Promise<string> =>
          (await execute(stage, container, 'sh', '-c', 'tr "\\0" " " < /proc/1/cmdline')).stdout;
        for (let waited = 0; waited < 60_000 && (await program()) !== 'sleep 600 '; waited += 50)
          await pause(50);
        assert.equal(await program(), 'sleep 600 ');
        const missing = await execute(stage, container, 'no-such-command').catch((error: unknown) =>
          String(error),
        );
        if (typeof missing !== 'string') assert.equal(missing.exitCode, 127);
        await removePod(stage, pod);
      });
    }

    // The images of the virtual machine are on tmpfs, which its kernel cannot map.
    it(
      'apply in a user namespace',
      { skip: enforcer === 'AppArmor' && 'images cannot be mapped there' },
      async () => {
        const ids = [{ hostId: 300_000, containerId: 0, length: 65_536 }];
        const inNamespace = {
          namespaceOptions: { ...namespaceOptions, usernsOptions: { mode: 0, uids: ids, gids: ids } },
        } as const;
        const pod = await runPod(stage, 'userns', { linux: { securityContext: inNamespace } });
        const container = await runContainer(stage, pod, {
          image: image['kept'] ?? '',
          command: ['sleep', '600'],
          security: inNamespace,
        });
        const { stdout } = await execute(
          stage,
          container,
          'sh',
          '-c',
          'cat /secret || echo kept; cat /app/data.txt',
        );
        assert.equal(stdout, 'kept\ndata\n');
        await removePod(stage, pod);
      },
    );

    it(
      'are refused if Landlock cannot express them, and the error names the rules that would apply instead',
      { skip: enforcer !== 'Landlock' && 'AppArmor can express them' },
      async () => {
        const pod = await runPod(stage, 'odd');
        const refused = await failureOf(createContainer(stage, pod, { image: image['odd'] ?? '' }));
        assert.equal(refused.code, 'ENTITLEMENTS_UNENFORCEABLE');
        assert.match(
          refused.message,
          /read of `\/app\/\*\.txt` would become `\/app\/\*\*`, which also gives read of \/app\//,
        );
        assert.match(refused.message, /onDegraded: allow/);
        await removePod(stage, pod);
      },
    );

    it(
      'are enforced as closely as Landlock can if the policy allows this, and the status reports it',
      { skip: enforcer !== 'Landlock' && 'AppArmor can express them' },
      async () => {
        const pod = await runPod(stage, 'lax');
        const container = await runContainer(stage, pod, {
          image: image['lax'] ?? '',
          command: ['sleep', '600'],
        });
        const { stdout } = await execute(
          stage,
          container,
          'sh',
          '-c',
          'cat /app/data.txt; cat /secret || echo kept',
        );
        assert.equal(stdout, 'data\nkept\n');
        const { info } = await stage.daemon.cri.runtime.containerStatus({
          containerId: container,
          verbose: true,
        });
        const reported = JSON.stringify(info);
        assert.match(
          reported,
          /Landlock supports only files and whole folders: read of `\/app\/\*\.txt` would become `\/app\/\*\*`/,
        );
        assert.match(reported, /Landlock needs no_new_privs/);
        await removePod(stage, pod);
      },
    );
  },
);
