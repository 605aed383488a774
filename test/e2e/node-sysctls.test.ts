import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** A kubelet with `defaultPodSysctls` sends its sysctls as a part of every pod. */
describe('sysctls that the node sets in every pod', () => {
  let stage: Stage;
  let image = '';
  const folder = mkdtempSync(join(tmpdir(), 'node-sysctls-'));
  before(async () => {
    const config = join(folder, 'config.yaml');
    writeFileSync(
      config,
      "sysctls: { net.core.somaxconn: '777', kernel.shmmni: '99', kernel.domainname: shop.test }\n",
    );
    const rule = `  - images: ["${registryName}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: baseline }\n`;
    stage = await openStage({ policy: policyOf(rule), flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });
  const read = async (id: string, name: string): Promise<string> =>
    (await execute(stage, id, 'cat', `/proc/sys/${name}`)).stdout.trim();

  it('are in effect without a request, and after a restart of the daemon', async () => {
    const pod = await runPod(stage, 'plain');
    await stage.restart();
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    assert.deepEqual(
      [
        await read(id, 'net/core/somaxconn'),
        await read(id, 'kernel/shmmni'),
        await read(id, 'kernel/domainname'),
      ],
      ['777', '99', 'shop.test'],
    );
    await removePod(stage, pod);
  });

  it('are within every ceiling when a kubelet sends them, and another value is not', async () => {
    const sysctls = { 'net.core.somaxconn': '777', 'net.ipv4.tcp_syncookies': '0' };
    const pod = await runPod(stage, 'sent', { linux: { sysctls } });
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    assert.equal(await read(id, 'net/core/somaxconn'), '777');
    assert.equal(await read(id, 'net/ipv4/tcp_syncookies'), '0', 'a safe sysctl of the pod');
    await removePod(stage, pod);

    const other = await runPod(stage, 'other', { linux: { sysctls: { 'net.core.somaxconn': '778' } } });
    const failure = await failureOf(createContainer(stage, other, { image }));
    assert.equal(failure.code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    assert.match(failure.message, /lacks the sysctl net\.core\.somaxconn/);
    await removePod(stage, other);
  });

  it('do not change a namespace that a pod shares with the host', async () => {
    const namespaceOptions = { network: 0, pid: 1, ipc: 2 } as const;
    const pod = await runPod(stage, 'host-ipc', { linux: { securityContext: { namespaceOptions } } });
    const { info } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
    assert.match(
      info['info'] ?? '',
      /"sysctls":\{"net\.core\.somaxconn":"777","kernel\.domainname":"shop\.test"\}/,
    );
    await removePod(stage, pod);
  });
});
