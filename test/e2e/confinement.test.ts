import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import {
  createContainer,
  execute,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
  statusField,
} from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const policy = `${policyOf(
  ['baseline', 'restricted', 'privileged', 'web']
    .map(
      (ceiling) =>
        `  - images: ["${registryName}/${ceiling}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`,
    )
    .join(''),
)}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: web }
entitlements: [network.user, host.devices.none, host.processes.none, security.confined]
`;

const NET_ADMIN = 1n << 12n;
const SYS_ADMIN = 1n << 21n;
const SETUID = 1n << 7n;

/** The restrictions of a container, as the kernel enforces them. */
describe('confinement', () => {
  let stage: Stage;
  const image: Record<string, string> = {};
  before(async () => {
    stage = await openStage({ policy });
    for (const ceiling of ['baseline', 'restricted', 'privileged', 'web'])
      image[ceiling] = await stage.pull((await stage.publish(`${ceiling}/a:1`)).reference);
  });
  after(() => stage.close());

  for (const handler of ['crun', 'runc']) {
    describe(`under ${handler}`, () => {
      let pod: Pod;
      let id = '';
      before(async () => {
        pod = await runPod(
          stage,
          `web-${handler}`,
          { annotations: { 'portcullis.dev/profile': 'web' } },
          handler,
        );
        id = await runContainer(stage, pod, { image: image['privileged'] ?? '', command: ['sleep', '600'] });
      });
      after(() => removePod(stage, pod));

      const refused = async (...command: string[]): Promise<void> => {
        const { exitCode, stderr } = await execute(stage, id, ...command);
        assert.notEqual(exitCode, 0, command.join(' '));
        assert.match(stderr, /not permitted|Permission denied|Read-only|not implemented/i, command.join(' '));
      };

      it('runs under the requested handler', async () => {
        const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
        assert.equal(
          (JSON.parse(info['info'] ?? '{}') as { runtimeHandler: string }).runtimeHandler,
          handler,
        );
      });

      it('has filter, capabilities and no_new_privs in its first process and in commands executed in it', async () => {
        const { stdout: first } = await execute(stage, id, 'cat', '/proc/1/status');
        const { stdout: executed } = await execute(stage, id, 'cat', '/proc/self/status');
        for (const status of [first, executed]) {
          const field = (name: string): string =>
            new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
          assert.equal(field('Seccomp'), '2');
          assert.equal(field('NoNewPrivs'), '1');
          const bounding = BigInt(`0x${field('CapBnd')}`);
          assert.equal(bounding & (NET_ADMIN | SYS_ADMIN | SETUID), 0n, field('CapBnd'));
        }
        const value = (status: string, name: string): string | undefined =>
          new RegExp(`^${name}:.*$`, 'm').exec(status)?.[0];
        for (const name of [
          'Seccomp',
          'NoNewPrivs',
          'CapBnd',
          'CapPrm',
          'CapEff',
          'CapInh',
          'CapAmb',
          'Uid',
          'Gid',
          'Groups',
        ])
          assert.equal(value(executed, name), value(first, name), name);
      });

      it('a forbidden system call fails', () => refused('unshare', '--user', 'true'));
      it('a forbidden capability fails', () => refused('ip', 'link', 'set', 'lo', 'down'));
      it('mounting fails', () => refused('mount', '-t', 'tmpfs', 'tmpfs', '/tmp'));
      it('changing the user id fails', () => refused('su', 'web', '-c', 'true'));
      it('writing below /proc/sys fails', () => refused('sh', '-c', 'echo 1 > /proc/sys/kernel/printk'));
      it('opening a device of the host fails', () =>
        refused('sh', '-c', 'mknod /tmp/disk b 254 0 && cat /tmp/disk'));

      it('masked paths are masked', async () => {
        assert.equal(
          (await execute(stage, id, 'sh', '-c', 'wc -c < /proc/timer_list; ls /sys/firmware')).stdout.trim(),
          '0',
        );
        const { stdout } = await execute(stage, id, 'sh', '-c', 'cat /proc/kcore | head -c 10 | wc -c');
        assert.equal(stdout.trim(), '0');
      });

      it('sees its own processes only, and its own host name', async () => {
        const { stdout } = await execute(stage, id, 'sh', '-c', 'ls -d /proc/[0-9]* | wc -l; hostname');
        const [count, name] = stdout.trim().split('\n');
        assert.ok(Number(count) <= 5, stdout);
        assert.equal(name, `web-${handler}`);
      });

      it('the same calls succeed if they are granted', async () => {
        const free = await runPod(
          stage,
          `free-${handler}`,
          { linux: { securityContext: { privileged: true } } },
          handler,
        );
        const open = await runContainer(stage, free, {
          image: image['privileged'] ?? '',
          security: { privileged: true },
        });
        for (const command of [
          ['unshare', '--user', 'true'],
          ['mount', '-t', 'tmpfs', 'tmpfs', '/tmp'],
          ['ip', 'link', 'set', 'lo', 'down'],
        ])
          assert.deepEqual(
            await execute(stage, open, ...command),
            { exitCode: 0, stdout: '', stderr: '' },
            command.join(' '),
          );
        assert.equal(await statusField(stage, open, 'Seccomp'), '0');
        await removePod(stage, free);
      });

      it('a profile for one container restricts only that container', async () => {
        const annotations = { 'portcullis.dev/profile.tight': 'web' };
        const mixed = await runPod(stage, `mixed-${handler}`, { annotations }, handler);
        const tight = await runContainer(stage, mixed, { name: 'tight', image: image['baseline'] ?? '' });
        const loose = await runContainer(stage, mixed, { name: 'loose', image: image['baseline'] ?? '' });
        assert.equal(await statusField(stage, tight, 'NoNewPrivs'), '1');
        assert.equal(await statusField(stage, loose, 'NoNewPrivs'), '0');
        assert.equal(await statusField(stage, loose, 'Seccomp'), '2');
        await removePod(stage, mixed);
      });
    });
  }

  it('a ceiling narrows permissions that the container did not request by name', async () => {
    const pod = await runPod(stage, 'narrow');
    const id = await runContainer(stage, pod, { image: image['web'] ?? '' });
    const bounding = BigInt(`0x${await statusField(stage, id, 'CapBnd')}`);
    assert.equal(bounding & SETUID, 0n);
    assert.equal(await statusField(stage, id, 'NoNewPrivs'), '1');
    await removePod(stage, pod);
  });

  /** Requests by name that exceed the ceiling. */
  const excessive: {
    what: string;
    pod?: object;
    sysctls?: Record<string, string>;
    security: object;
    names: RegExp;
  }[] = [
    {
      what: 'privileged',
      pod: { privileged: true },
      security: { privileged: true },
      names: /ceiling baseline lacks .*privileged/,
    },
    {
      what: 'the host’s network',
      pod: { namespaceOptions: { ...namespaceOptions, network: 2 } },
      security: { namespaceOptions: { ...namespaceOptions, network: 2 } },
      names: /ceiling baseline lacks .*network/,
    },
    {
      what: 'the host’s processes',
      pod: { namespaceOptions: { ...namespaceOptions, pid: 2 } },
      security: { namespaceOptions: { ...namespaceOptions, pid: 2 } },
      names: /ceiling baseline lacks .*pid/,
    },
    {
      what: 'the host’s IPC',
      pod: { namespaceOptions: { ...namespaceOptions, ipc: 2 } },
      security: { namespaceOptions: { ...namespaceOptions, ipc: 2 } },
      names: /ceiling baseline lacks .*ipc/,
    },
    {
      what: 'a capability',
      security: { capabilities: { addCapabilities: ['NET_ADMIN'] } },
      names: /ceiling baseline lacks .*NET_ADMIN/,
    },
    {
      what: 'an unsafe sysctl of the pod',
      sysctls: { 'kernel.msgmax': '16384' },
      security: {},
      names: /ceiling baseline lacks .*kernel\.msgmax/,
    },
  ];
  for (const { what, pod: podSecurity, sysctls = {}, security, names } of excessive) {
    it(`${what} is refused under the ceiling baseline, and granted under privileged`, async () => {
      const pod = await runPod(stage, 'excessive', {
        linux: { sysctls, securityContext: { namespaceOptions, ...podSecurity } },
      });
      const { code, kind, message } = await failureOf(
        createContainer(stage, pod, { image: image['baseline'] ?? '', security }),
      );
      assert.equal(code, 'ENTITLEMENTS_CEILING_EXCEEDED');
      assert.equal(kind, 'denied');
      assert.match(message, names);
      const id = await runContainer(stage, pod, { image: image['privileged'] ?? '', security });
      assert.equal((await execute(stage, id, 'true')).exitCode, 0);
      await removePod(stage, pod);
    });
  }

  it('Unconfined, which a kubelet requests by default, applies the filter of the ceiling', async () => {
    const pod = await runPod(stage, 'unconfined');
    const security = { seccomp: { profileType: 1 } } as const;
    for (const [ceiling, filter] of [
      ['baseline', '2'],
      ['privileged', '0'],
    ] as const) {
      const id = await runContainer(stage, pod, { name: ceiling, image: image[ceiling] ?? '', security });
      assert.equal(await statusField(stage, id, 'Seccomp'), filter);
    }
    await removePod(stage, pod);
  });

  it('a container with the host network namespace uses the network of the host', async () => {
    const options = { ...namespaceOptions, network: 2 } as const;
    const pod = await runPod(stage, 'host-net', {
      linux: { securityContext: { namespaceOptions: options } },
    });
    const id = await runContainer(stage, pod, {
      image: image['privileged'] ?? '',
      security: { namespaceOptions: options },
    });
    const { stdout } = await execute(stage, id, 'cat', '/proc/net/dev');
    const names = (text: string): string[] =>
      [...text.matchAll(/^\s*(\S+):/gm)].map((match) => match[1] ?? '').sort();
    assert.deepEqual(names(stdout), names(readFileSync('/proc/self/net/dev', 'utf8')));
    assert.equal(
      (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id })).status?.network?.ip,
      '',
    );
    await removePod(stage, pod);
  });

  it('a profile that does not exist is refused, and the error names it', async () => {
    const pod = await runPod(stage, 'unknown', { annotations: { 'portcullis.dev/profile': 'wbe' } });
    const { code, message } = await failureOf(
      createContainer(stage, pod, { image: image['baseline'] ?? '' }),
    );
    assert.equal(code, 'RUNTIME_UNKNOWN_PROFILE');
    assert.match(message, /wbe.*web/s, 'the error lists the existing profiles');
    await removePod(stage, pod);
  });

  it('annotations and labels of pod and image never reach the runtime', async () => {
    const annotations = {
      'run.oci.seccomp_bpf_data': 'AAAA',
      'run.oci.hooks.stdout': '/tmp/x',
      'org.systemd.property.ExecStart': 'x',
      'run.oci.keep_original_groups': '1',
    };
    const published = await stage.publish('baseline/labels:1', {
      config: { Labels: { 'run.oci.keep_original_groups': '1' } },
    });
    const pod = await runPod(stage, 'annotated', { annotations });
    const id = await runContainer(stage, pod, {
      image: await stage.pull(published.reference),
      more: { annotations, labels: annotations },
    });
    assert.equal(await statusField(stage, id, 'Seccomp'), '2');
    const config = readFileSync(`${stage.folders.state}/containers/${id}/config.json`, 'utf8');
    const spec = JSON.parse(config) as { annotations: Record<string, string>; hooks?: unknown };
    assert.deepEqual(Object.keys(spec.annotations).sort(), [
      'dev.portcullis.sandbox',
      'dev.portcullis.verdict',
      'run.oci.seccomp_bpf_data',
    ]);
    assert.notEqual(spec.annotations['run.oci.seccomp_bpf_data'], 'AAAA');
    assert.equal(spec.hooks, undefined);
    await removePod(stage, pod);
  });
});
