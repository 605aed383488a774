import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startCriProxy } from '../fixtures/cri-proxy.ts';
import { patience } from '../fixtures/daemon.ts';
import { containerConfig, podConfig } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';

const mib = 1024 * 1024;
/** The policy of the backend, which admits everything and limits nothing. */
const anything = policyOf(
  '  - images: ["**"]\n    allow: unverified\n    entitlements: { ceiling: privileged }\n',
);
const policy = `${policyOf(`  - images: ["${registryName}/**"]
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: small }
`)}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: small }
extends: [baseline]
resources: { memory: 64Mi }
`;

/** Passes bytes on to a socket. Holds its answers back once the bytes of a request have the mark. */
async function relay(path: string, to: string, mark: string): Promise<() => void> {
  const sockets: Socket[] = [];
  const server = createServer((client) => {
    const backend = connect(to);
    client.on('data', (bytes) => {
      if (bytes.includes(mark)) backend.unpipe(client).pause();
    });
    client.pipe(backend).pipe(client);
    for (const socket of [client, backend]) socket.on('error', () => undefined);
    sockets.push(client, backend);
  }).listen(path);
  await once(server, 'listening');
  return () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
}

it('limits a container that its backend created while the proxy was killed', async () => {
  const stage = await openStage({ policy: anything });
  const policies = join(stage.folders.folder, 'proxy-policy');
  mkdirSync(policies);
  copyFileSync(join(stage.folders.policy, 'k.pub'), join(policies, 'k.pub'));
  writeFileSync(join(policies, 'policy.yaml'), policy);
  const backend = join(stage.folders.folder, 'relay.sock');
  const endRelay = await relay(backend, stage.folders.socket, 'held-answer');
  const start = () =>
    startCriProxy(stage.folders.folder, backend, policies, [
      ...['--registry-mirror', `${registryName}=${stage.registry.url}`, '--no-lock-backend'],
    ]);
  let proxy = await start();
  try {
    const { reference } = await stage.publish('team/app:1');
    const config = podConfig(stage, 'killed');
    await proxy.cri.image.pullImage({ image: { image: reference }, sandboxConfig: config });
    const { podSandboxId } = await proxy.cri.runtime.runPodSandbox({ config });
    const asked = containerConfig({ name: 'held-answer', image: reference });
    const lost = proxy.cri.runtime.createContainer({ podSandboxId, config: asked, sandboxConfig: config });
    lost.catch(() => undefined);
    const created = async () => (await stage.daemon.cri.runtime.listContainers({})).containers[0]?.id;
    while ((await created()) === undefined) await pause(20);
    await proxy.stop('SIGKILL');
    proxy = await start();
    const containerId = (await created()) ?? '';
    const update = (memoryLimitInBytes: number): Promise<unknown> =>
      proxy.cri.runtime.updateContainerResources(
        { containerId, linux: { memoryLimitInBytes } },
        { timeoutMs: patience },
      );
    assert.match((await failureOf(update(128 * mib))).message, /memory of 134217728 bytes/);
    await update(32 * mib);
  } finally {
    await proxy.stop();
    endRelay();
    await stage.close();
  }
});
