import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { portcullis } from '../fixtures/command.ts';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
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

/**
 * Containers get exactly the filter of their profile: it is proved before they are created, and read back
 * from the kernel.
 */
describe('proof', () => {
  describe('of running containers', () => {
    let stage: Stage;
    let image = '';
    let free = '';
    let withLinks = '';
    let profiles = '';
    before(async () => {
      stage = await openStage({ policy, flags: ['--runtime', 'secondary=/usr/sbin/runc'] });
      image = await stage.pull((await stage.publish('baseline/a:1')).reference);
      const links = await layerOf([
        { name: 'to-passwd', type: 'symlink', linkname: '/etc/passwd' },
        { name: 'to-www', type: 'symlink', linkname: 'www' },
      ]);
      withLinks = await stage.pull((await stage.publish('baseline/b:1', { layers: [links] })).reference);
      free = await stage.pull((await stage.publish('privileged/a:1')).reference);
    });
    after(() => stage.close());
    before(() => {
      // runc lists a folder between loading the filter and starting the program, and crun does not.
      profiles = mkdtempSync(join(tmpdir(), 'pc-profiles-'));
      writeFileSync(
        join(profiles, 'list.yaml'),
        'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: list }\nextends: [default]\nsyscalls: { drop: [getdents64] }\n',
      );
    });
    after(() => rmSync(profiles, { recursive: true }));

    const prove = (...words: string[]) =>
      portcullis(['entitlements', 'prove', '--socket', stage.folders.socket, ...words]);

    // The name of a handler need not contain the name of its program.
    for (const handler of ['crun', 'secondary']) {
      describe(`under ${handler}`, () => {
        let pod: Pod;
        let id = '';
        before(async () => {
          pod = await runPod(stage, `proved-${handler}`, {}, handler);
          id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
        });
        after(() => removePod(stage, pod));

        it('the kernel has the filter that the profile compiles to', async () => {
          const inspected = await portcullis([
            'entitlements',
            'inspect',
            id,
            '--socket',
            stage.folders.socket,
          ]);
          assert.equal(inspected.code, 0, inspected.stdout + inspected.stderr);
          assert.match(inspected.stdout, /^(held|unreadable) +devices /m);
          assert.match(inspected.stdout, /^held +network class +\w+: the link lets through /m);
          const { code, stdout, stderr } = await prove('--container', id);
          assert.equal(code, 0, stderr + stdout);
          // runc returns ENOSYS for calls that are newer than its libseccomp.
          const verdict = handler === 'crun' ? /^equal: the filter of / : /^(equal|narrower): the filter of /;
          assert.match(stdout, verdict);
        });

        it('masked and read-only paths of the image that are links are held', async () => {
          const linked = await runContainer(stage, pod, {
            name: 'linked',
            image: withLinks,
            command: ['sleep', '600'],
            security: { maskedPaths: ['/to-passwd'], readonlyPaths: ['/to-www'] },
          });
          const { code, stdout } = await portcullis([
            ...['entitlements', 'inspect', linked, '--socket', stage.folders.socket],
          ]);
          assert.equal(code, 0, stdout);
        });

        it('the kernel has the filter of the default profile', async () => {
          const { code, stdout, stderr } = await prove('--container', id, '--profile', 'default');
          assert.equal(code, 0, stderr + stdout);
          // libseccomp knows fewer system calls than we do, and runc returns ENOSYS for unknown ones.
          assert.match(stdout, handler === 'crun' ? /^equal: / : /^(equal|narrower): /);
        });

        it('the calls that the runtime itself needs are granted, and not those of another runtime', async () => {
          const { code, stdout } = await prove('--container', id, '--profile', 'list', '--policy', profiles);
          assert.equal(code, handler === 'crun' ? 1 : 0, stdout);
        });

        it('a filter looser than a profile is reported with a system call that shows it', async () => {
          const { code, stdout } = await prove(
            '--container',
            id,
            '--profile',
            'restricted',
            '--output',
            'json',
          );
          assert.equal(code, 1);
          const { verdict, witness } = JSON.parse(stdout) as {
            verdict: string;
            witness: { sentence: string };
          };
          assert.equal(verdict, 'looser');
          assert.match(
            witness.sentence,
            /^x86_64 \w+\(.*\): the filter answers allow, the profile says errno 1$/,
          );
        });
      });
    }

    it('a container that has mounted another /proc over its masked paths is looser', async () => {
      const pod = await runPod(stage, 'unmasked');
      const id = await runContainer(stage, pod, {
        image: free,
        command: ['sh', '-c', 'mount -t proc proc /proc && exec sleep 600'],
        security: {
          capabilities: { addCapabilities: ['SYS_ADMIN'], dropCapabilities: [], addAmbientCapabilities: [] },
          maskedPaths: ['/proc/keys'],
          readonlyPaths: ['/proc/sys'],
        },
      });
      // The shell has mounted it once it is another program.
      while (!(await execute(stage, id, 'cat', '/proc/1/cmdline')).stdout.startsWith('sleep')) continue;
      const { code, stdout } = await portcullis([
        ...['entitlements', 'inspect', id, '--socket', stage.folders.socket],
      ]);
      assert.equal(code, 1, stdout);
      assert.match(stdout, /^looser +masked paths +not masked: \/proc\/keys$/m);
      assert.match(stdout, /^looser +read-only paths +writable: \/proc\/sys$/m);
      await removePod(stage, pod);
    });

    it('an unfiltered container is looser than any profile, and equal to privileged', async () => {
      const pod = await runPod(stage, 'free', { linux: { securityContext: { privileged: true } } });
      const id = await runContainer(stage, pod, {
        image: free,
        command: ['sleep', '600'],
        security: { privileged: true },
      });
      assert.equal((await prove('--container', id, '--profile', 'default')).code, 1);
      assert.match((await prove('--container', id, '--profile', 'privileged')).stdout, /^equal: /);
      assert.match((await prove('--container', id)).stdout, /^equal: /);
      await removePod(stage, pod);
    });
  });

  it('of a program in a file: reports that it is equal, or looser with an example, or refuses it with the instruction', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-prove-'));
    try {
      const compiled = await portcullis(['entitlements', 'compile', 'default', '--output', 'json']);
      const { seccomp } = JSON.parse(compiled.stdout) as { seccomp: { bpf: string } };
      const file = join(folder, 'filter.bpf');
      const bpf = Buffer.from(seccomp.bpf, 'base64');
      const prove = (bytes: Uint8Array, ...words: string[]) => {
        writeFileSync(file, bytes);
        return portcullis(['entitlements', 'prove', '--bpf', file, ...words]);
      };
      assert.match((await prove(bpf, '--profile', 'default')).stdout, /^equal: /);
      const looser = await prove(bpf, '--profile', 'restricted');
      assert.deepEqual(
        [looser.code, /the filter answers allow, the profile says errno 1/.test(looser.stdout)],
        [1, true],
      );
      const cut = await prove(bpf.subarray(0, bpf.length - 8 * 12), '--profile', 'default');
      assert.equal(cut.code, 2);
      assert.match(cut.stderr, /read seccomp filter instruction \d+: .*ENTITLEMENTS_BAD_FILTER/);
      assert.equal((await portcullis(['entitlements', 'prove'])).code, 2);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  describe('of the program that a profile with rules on paths compiles to', () => {
    let folder = '';
    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'pc-prove-paths-'));
    });
    after(() => rmSync(folder, { recursive: true, force: true }));

    const profileOf = (name: string, rules: string): string => {
      const file = join(folder, `${name}.yaml`);
      const head = `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: ${name} }\n`;
      writeFileSync(file, `${head}extends: [default]\n${rules}`);
      return file;
    };
    const bpfOf = async (profile: string): Promise<string> => {
      const { stdout, stderr } = await portcullis(['entitlements', 'compile', profile, '--output', 'json']);
      assert.equal(stderr, '');
      const file = `${profile}.bpf`;
      const { seccomp } = JSON.parse(stdout) as { seccomp: { bpf: string } };
      writeFileSync(file, Buffer.from(seccomp.bpf, 'base64'));
      return file;
    };
    const prove = (bpf: string, profile: string) =>
      portcullis(['entitlements', 'prove', '--bpf', bpf, '--profile', profile]);

    it('the calls that set up Landlock are granted where Landlock enforces the rules on files', async () => {
      const drops = 'syscalls: { drop: [landlock_create_ruleset, openat2] }\n';
      const profile = profileOf('files', `${drops}files: { read: ["/etc/**"] }\n`);
      const { stdout, stderr } = await prove(await bpfOf(profile), profile);
      assert.match(stdout, /^equal: /, stderr);
    });

    it('mount calls that would evade the rules on mounts are reported', async () => {
      const mounting =
        'capabilities: { add: [SYS_ADMIN] }\nsyscalls: { add: [mount, fsmount, move_mount] }\n';
      const profile = profileOf('mounts', `${mounting}mounts: []\n`);
      assert.match((await prove(await bpfOf(profile), profile)).stdout, /^equal: /);
      const { code, stdout } = await prove(await bpfOf(profileOf('free', mounting)), profile);
      assert.equal(code, 1, stdout);
      assert.match(stdout, /^looser: /);
    });
  });

  describe('with a faulty generator', () => {
    let stage: Stage;
    before(async () => {
      stage = await openStage({
        policy,
        program: [process.execPath, join(import.meta.dirname, '../fixtures/miscompiling-daemon.ts')],
      });
    });
    after(() => stage.close());

    it('no filtered container is created, and the error names the call that it would allow; an unfiltered one is created', async () => {
      const image = await stage.pull((await stage.publish('baseline/a:1')).reference);
      const free = await stage.pull((await stage.publish('privileged/a:1')).reference);
      const pod = await runPod(stage, 'planted');
      for (let times = 0; times < 2; times++) {
        const failure = await failureOf(createContainer(stage, pod, { image, command: ['true'] }));
        assert.equal(failure.code, 'ENTITLEMENTS_MISCOMPILED');
        assert.match(failure.message, /x86_64 bpf\(\): the profile says errno 1, the program answers allow/);
      }
      assert.deepEqual((await stage.daemon.cri.runtime.listContainers({})).containers, []);
      await removePod(stage, pod);
      const unfiltered = await runPod(stage, 'unfiltered', {
        linux: { securityContext: { privileged: true } },
      });
      await createContainer(stage, unfiltered, {
        image: free,
        command: ['true'],
        security: { privileged: true },
      });
      await removePod(stage, unfiltered);
    });
  });
});
