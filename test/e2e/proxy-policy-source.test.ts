import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { writeYaml } from '../../base/schema/index.ts';
import { beginFleet } from '../../runtime/policy-delivery/fleet.fixture.ts';
import { startCriProxy } from '../fixtures/cri-proxy.ts';
import type { TestProxy } from '../fixtures/cri-proxy.ts';
import { patience } from '../fixtures/daemon.ts';
import { containerConfig, podConfig } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The policy of the backend, which admits everything. The proxy alone decides. */
const anything = policyOf(
  '  - images: ["**"]\n    allow: unverified\n    entitlements: { ceiling: privileged }\n',
);

/** Opens a backend, and a folder with a policy that admits signed images below `names`. */
async function openBackend(t: TestContext): Promise<{
  readonly stage: Stage;
  readonly pull: (proxy: TestProxy, image: string) => Promise<unknown>;
  readonly start: (config: object) => Promise<TestProxy>;
  readonly policyFolder: (name: string, names: string) => string;
}> {
  const stage = await openStage({ policy: anything });
  t.after(() => stage.close());
  const { folder, socket, policy } = stage.folders;
  const config = join(folder, 'source.yaml');
  return {
    stage,
    pull: ({ cri }, image) => cri.image.pullImage({ image: { image } }, { timeoutMs: 2 * patience }),
    async start(content) {
      writeFileSync(config, writeYaml(content));
      return startCriProxy(folder, socket, undefined, [
        ...['--registry-mirror', `${registryName}=${stage.registry.url}`, '--config', config],
      ]);
    },
    policyFolder(name, names) {
      const path = join(folder, name);
      mkdirSync(path);
      copyFileSync(join(policy, 'k.pub'), join(path, 'k.pub'));
      writeFileSync(
        join(path, 'policy.yaml'),
        policyOf(
          `  - images: ["${names}"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n`,
        ),
      );
      return path;
    },
  };
}

test('a proxy decides by the releases of a subscription: none, the first, the next, and without the source', async (t) => {
  const { stage, pull, start, policyFolder } = await openBackend(t);
  const fleet = await beginFleet(t);
  const root = join(stage.folders.folder, '1.root.json');
  await fleet.publishFolder(policyFolder('first', `${registryName}/team/**`));
  writeFileSync(root, fleet.firstRoot());
  const { reference } = await stage.publish('team/app:1');
  const unsigned = await stage.publish('team/app:2', {}, { sign: false });
  fleet.fault = (_request, response) => {
    response.writeHead(503).end();
    return true;
  };
  const config = { policySubscription: { service: fleet.url, root, interval: 3600 } };
  let proxy = await start(config);
  t.after(() => proxy.stop('SIGKILL'));
  assert.match(
    (await failureOf(pull(proxy, reference))).message,
    /no release of the subscribed policy has arrived/u,
  );

  fleet.fault = () => false;
  const admits = async (isWanted: boolean): Promise<void> => {
    process.kill(proxy.pid, 'SIGHUP');
    for (const end = performance.now() + patience; ; await pause(100)) {
      const admitted = await pull(proxy, reference).then(
        () => true,
        () => false,
      );
      if (admitted === isWanted) return;
      assert.ok(performance.now() < end, proxy.log().slice(-3000));
    }
  };
  await admits(true);
  assert.equal((await failureOf(pull(proxy, unsigned.reference))).code, 'IMAGES_DENIED');

  fleet.fault = (_request, response) => {
    response.destroy();
    return true;
  };
  assert.equal(await proxy.stop(), 0, proxy.log().slice(-3000));
  proxy = await start(config);
  await pull(proxy, reference);

  fleet.fault = () => false;
  await fleet.publishFolder(policyFolder('second', `${registryName}/other/**`));
  await admits(false);
  assert.equal(await proxy.stop(), 0, proxy.log().slice(-3000));
});

test('a release is halted on a proxy if it would refuse containers that run', async (t) => {
  const { stage, pull, start, policyFolder } = await openBackend(t);
  const fleet = await beginFleet(t);
  const root = join(stage.folders.folder, '1.root.json');
  await fleet.publishFolder(policyFolder('first', `${registryName}/team/**`));
  writeFileSync(root, fleet.firstRoot());
  const proxy = await start({ policySubscription: { service: fleet.url, root, interval: 3600 } });
  t.after(() => proxy.stop('SIGKILL'));
  const { reference } = await stage.publish('team/app:1');
  for (const end = performance.now() + patience; ; await pause(100)) {
    if (
      await pull(proxy, reference).then(
        () => true,
        () => false,
      )
    )
      break;
    assert.ok(performance.now() < end, proxy.log().slice(-3000));
  }
  const config = podConfig(stage, 'halting');
  const { podSandboxId } = await proxy.cri.runtime.runPodSandbox({ config }, { timeoutMs: patience });
  await proxy.cri.runtime.createContainer(
    { podSandboxId, config: containerConfig({ image: reference }), sandboxConfig: config },
    { timeoutMs: patience },
  );
  await fleet.publishFolder(policyFolder('second', `${registryName}/other/**`));
  process.kill(proxy.pid, 'SIGHUP');
  for (const end = performance.now() + patience; !/a policy release is halted/u.test(proxy.log());) {
    assert.ok(performance.now() < end, proxy.log().slice(-3000));
    await pause(100);
  }
  await pull(proxy, reference);
  assert.equal(await proxy.stop(), 0, proxy.log().slice(-3000));
});

test('a proxy of a cluster admits nothing until it has read the objects of the cluster', async (t) => {
  const { stage, pull, start } = await openBackend(t);
  const { reference } = await stage.publish('team/app:1');
  const proxy = await start({ cluster: { policies: true, servers: ['https://127.0.0.1:1'] } });
  t.after(() => proxy.stop('SIGKILL'));
  assert.match((await failureOf(pull(proxy, reference))).message, /have not been read yet/u);
  assert.equal(await proxy.stop(), 0, proxy.log().slice(-3000));
});
