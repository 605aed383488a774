import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { portcullis } from '../fixtures/command.ts';
import { watchContainerEvents } from '../fixtures/container-events.ts';
import { uniqueLayer } from '../fixtures/image.ts';
import { startCriProxy } from '../fixtures/cri-proxy.ts';
import type { TestProxy } from '../fixtures/cri-proxy.ts';
import { patience } from '../fixtures/daemon.ts';
import { containerConfig, podConfig } from '../fixtures/pod.ts';
import type { ContainerConfig, PodConfig } from '../fixtures/pod.ts';
import { failureOf, openStage, podNamespace, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The policy of the backend, which admits everything. The proxy alone decides. */
const anything = policyOf(
  '  - images: ["**"]\n    allow: unverified\n    entitlements: { ceiling: privileged }\n',
);
const signed = (entitlements = '{ ceiling: privileged }'): string =>
  policyOf(
    `  - images: ["${registryName}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: ${entitlements}\n`,
  );

const metricsAddress = '127.0.0.1:9465';

describe('portcullis proxy, with our own daemon behind it', () => {
  let stage: Stage;
  let proxy: TestProxy;
  let policyFile: string;

  const start = (): Promise<TestProxy> =>
    startCriProxy(stage.folders.folder, stage.folders.socket, join(stage.folders.folder, 'proxy-policy'), [
      ...['--registry-mirror', `${registryName}=${stage.registry.url}`],
      ...['--config', join(stage.folders.folder, 'metrics.yaml')],
    ]);
  /** Returns the values of `/metrics`, by their names and labels. */
  const scrape = async (): Promise<Map<string, number>> => {
    const answer = await fetch(`http://${metricsAddress}/metrics`);
    assert.equal(answer.status, 200);
    const lines = (await answer.text()).split('\n').filter((line) => /^portcullis_/u.test(line));
    return new Map(
      lines.map((line): [string, number] => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
    );
  };
  const inForce = async (policy: string): Promise<void> => {
    writeFileSync(policyFile, policy);
    await proxy.reload();
  };
  const pull = (image: string, namespace = podNamespace) =>
    proxy.cri.image.pullImage(
      { image: { image }, sandboxConfig: { metadata: { name: 'p', uid: 'u', namespace, attempt: 0 } } },
      { timeoutMs: 2 * patience },
    );
  const runPod = async (name: string, more: Partial<PodConfig> = {}) => {
    const config = podConfig(stage, name, more);
    const { podSandboxId } = await proxy.cri.runtime.runPodSandbox({ config }, { timeoutMs: patience });
    return { config, podSandboxId };
  };
  const create = async (
    pod: { readonly config: PodConfig; readonly podSandboxId: string },
    config: ContainerConfig,
  ): Promise<string> => {
    const { containerId } = await proxy.cri.runtime.createContainer(
      { podSandboxId: pod.podSandboxId, config, sandboxConfig: pod.config },
      { timeoutMs: patience },
    );
    return containerId;
  };
  const status = async (containerId: string, name: string): Promise<string> => {
    const { stdout } = await proxy.cri.runtime.execSync(
      { containerId, cmd: ['sh', '-c', `grep ^${name}: /proc/self/status`] },
      { timeoutMs: patience },
    );
    return Buffer.from(stdout).toString().split(':')[1]?.trim() ?? '';
  };

  before(async () => {
    stage = await openStage({ policy: anything });
    const policies = join(stage.folders.folder, 'proxy-policy');
    writeFileSync(join(stage.folders.folder, 'metrics.yaml'), `metrics: { address: '${metricsAddress}' }\n`);
    mkdirSync(policies);
    copyFileSync(join(stage.folders.policy, 'k.pub'), join(policies, 'k.pub'));
    policyFile = join(policies, 'policy.yaml');
    writeFileSync(policyFile, signed());
    const root = join(stage.folders.folder, 'proxy');
    mkdirSync(root);
    chmodSync(root, 0o777);
    chownSync(root, 1000, 1000);
    proxy = await start().catch(async (thrown: unknown) => {
      await stage.close();
      throw thrown;
    });
  });
  after(async () => {
    assert.equal(await proxy.stop(), 0, proxy.log().slice(-3000));
    await stage.close();
  });

  it("keeps other users from the backend's socket", () => {
    assert.equal(lstatSync(stage.folders.socket).mode & 0o777, 0o600);
  });

  it('takes over a root folder that another user owns or may write to', () => {
    const { uid, mode } = lstatSync(join(stage.folders.folder, 'proxy'));
    assert.deepEqual([uid, mode & 0o777], [0, 0o700]);
  });

  it('forwards a verified pull by digest, and answers with the tag', async () => {
    const { reference, image } = await stage.publish('team/app:1');
    const { imageRef } = await pull(reference);
    assert.equal(imageRef, image.configDigest);
    const [held] = (await stage.daemon.cri.image.listImages({})).images;
    assert.deepEqual(held?.repoTags, [], 'the backend pulled by digest');
    assert.deepEqual(held.repoDigests, [`${registryName}/team/app@${image.manifestDigest}`]);
    const { image: shown } = await proxy.cri.image.imageStatus({ image: { image: reference } });
    assert.deepEqual(shown?.repoTags, [reference]);
    const listed = (await proxy.cri.image.listImages({ filter: { image: { image: reference } } })).images;
    assert.deepEqual(
      listed.map(({ id, repoTags }) => [id, repoTags]),
      [[image.configDigest, [reference]]],
    );
  });

  it('counts calls and decisions, and reports whether the backend answers', async () => {
    const before = await scrape();
    assert.equal(before.get('portcullis_proxy_backend_up'), 1);
    assert.equal(before.get('portcullis_policy_in_force'), 1);
    assert.ok((before.get('portcullis_proxy_images') ?? 0) >= 1);
    const { reference } = await stage.publish('team/counted:1', {}, { sign: false });
    assert.equal((await failureOf(pull(reference))).code, 'IMAGES_DENIED');
    await assert.rejects(proxy.cri.runtime.containerStatus({ containerId: 'none' }, { timeoutMs: patience }));
    const after = await scrape();
    const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    assert.equal(grown('portcullis_verdicts_total{outcome="deny",act="pull"}'), 1);
    assert.equal(grown('portcullis_rpc_duration_seconds_count{method="PullImage",code="UNKNOWN"}'), 1);
    assert.equal(
      grown('portcullis_rpc_duration_seconds_count{method="ContainerStatus",code="NOT_FOUND"}'),
      1,
    );
    assert.equal(after.get('portcullis_rpcs_in_flight{method="PullImage"}'), 0);
    assert.equal(grown('portcullis_proxy_backend_connections'), 0, 'a scrape leaves no connection');
    assert.equal((await fetch(`http://${metricsAddress}/healthz`)).status, 200);
  });

  it('exits and serves nothing if the address of its metrics is in use', { timeout: patience }, async () => {
    const other = join(stage.folders.folder, 'other');
    mkdirSync(other);
    const { code, output } = await portcullis([
      ...['proxy', '--backend', `unix://${stage.folders.socket}`, '--no-lock-backend'],
      ...['--socket', join(other, 'proxy.sock'), '--root', join(other, 'proxy')],
      ...['--policy', policyFile, '--config', join(stage.folders.folder, 'metrics.yaml')],
    ]);
    assert.equal(code, 4, output);
    assert.match(output, /RUNTIME_METRICS_LISTEN/u);
    assert.ok(!existsSync(join(other, 'proxy.sock')));
  });

  it('does not report its own connection to a backend that does not answer at the start', async () => {
    const folder = join(stage.folders.folder, 'slow');
    mkdirSync(folder);
    const backend = join(folder, 'backend.sock');
    // The proxy looks for connections of others every two seconds.
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      setTimeout(() => {
        socket.destroy();
        server.close();
      }, 5_000);
    }).listen(backend);
    await once(server, 'listening');
    const slow = await startCriProxy(folder, backend, policyFile);
    while (!slow.log().includes('the records could not be compared with the backend')) await pause(20);
    assert.doesNotMatch(slow.log(), /other processes of root/u);
    assert.equal(await slow.stop(), 0);
  });

  it('refuses an image without a signature, and sends no request to the backend', async () => {
    const { reference } = await stage.publish('team/unsigned:1', {}, { sign: false });
    const before = (await stage.daemon.cri.image.listImages({})).images.length;
    const refused = await failureOf(pull(reference));
    assert.equal(refused.code, 'IMAGES_DENIED');
    assert.match(refused.message, /^SignatureValidationFailed/);
    assert.equal((await stage.daemon.cri.image.listImages({})).images.length, before);
    assert.equal((await proxy.cri.image.imageStatus({ image: { image: reference } })).image, undefined);
  });

  it('runs a container from the verified image, even if the tag refers to another image by then', async () => {
    const first = await stage.publish('team/moves:1', { layers: [await uniqueLayer()] });
    await pull(first.reference);
    const second = await stage.publish('team/moves:1', { layers: [await uniqueLayer()] });
    // As an attacker who is root on the node: the backend's own tag now refers to the other image.
    await stage.daemon.cri.image.pullImage({ image: { image: second.reference } });
    const { image: shown } = await proxy.cri.image.imageStatus({ image: { image: first.reference } });
    assert.equal(shown?.id, first.image.configDigest);
    for (const { id, repoTags } of (await proxy.cri.image.listImages({})).images)
      assert.equal(repoTags.includes(first.reference), id === first.image.configDigest);
    const pod = await runPod('moves');
    const id = await create(pod, containerConfig({ name: 'c', image: first.reference }));
    const made = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.equal(made.status?.imageId, first.image.configDigest);
    await proxy.cri.runtime.startContainer({ containerId: id });
    assert.equal(await status(id, 'Seccomp'), '0', 'the ceiling is privileged, and no filter is requested');
    await proxy.cri.runtime.removePodSandbox(pod);
  });

  it('decides about an image that was pulled directly through the backend', async () => {
    const unsigned = await stage.publish('team/behind:1', { layers: [await uniqueLayer()] }, { sign: false });
    const good = await stage.publish('team/good:1', { layers: [await uniqueLayer()] });
    for (const { reference } of [unsigned, good])
      await stage.daemon.cri.image.pullImage({ image: { image: reference } });
    const pod = await runPod('behind');
    for (const image of [unsigned.reference, unsigned.image.configDigest]) {
      const refused = await failureOf(create(pod, containerConfig({ name: 'c', image })));
      assert.equal(refused.code, 'IMAGES_DENIED');
    }
    await create(pod, containerConfig({ name: 'good', image: good.reference }));
    const absent = await failureOf(create(pod, containerConfig({ name: 'x', image: 'good.test/none:1' })));
    assert.equal(absent.code, 'RUNTIME_IMAGE_NOT_FOUND');
    await proxy.cri.runtime.removePodSandbox(pod);
  });

  it('keeps a container within its ceiling', async () => {
    const { reference } = await stage.publish('team/bound:1');
    await pull(reference);
    await inForce(signed('{ ceiling: baseline }'));
    const pod = await runPod('bound');
    const id = await create(pod, containerConfig({ name: 'c', image: reference }));
    await proxy.cri.runtime.startContainer({ containerId: id });
    assert.equal(await status(id, 'Seccomp'), '2');
    // docker's 14 capabilities without NET_RAW (13).
    const held = BigInt(`0x${await status(id, 'CapBnd')}`);
    assert.equal((held >> 13n) & 1n, 0n);
    assert.equal(held & 1n, 1n);
    const asks = { name: 'more', image: reference };
    const capability = { securityContext: { capabilities: { addCapabilities: ['SYS_ADMIN'] } } };
    const more = await failureOf(create(pod, { ...containerConfig(asks), linux: capability }));
    assert.equal(more.code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    const mounts = [{ containerPath: '/host', hostPath: '/etc' }];
    const path = await failureOf(create(pod, { ...containerConfig(asks), mounts }));
    assert.equal(path.code, 'RUNTIME_HOST_PATH_NOT_GRANTED');
    await proxy.cri.runtime.removePodSandbox(pod);
    const namespaceOptions = { network: 2, pid: 1, ipc: 0 } as const;
    const host = await runPod('host', { linux: { securityContext: { namespaceOptions } } });
    // The request for the container does not mention what its pod has.
    const lying = { config: podConfig(stage, 'host'), podSandboxId: host.podSandboxId };
    const shared = await failureOf(create(lying, containerConfig({ name: 'c', image: reference })));
    assert.equal(shared.code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    await proxy.cri.runtime.removePodSandbox(host);
  });

  it('names the paths of the host that it checked, and not the links that led to them', async () => {
    await inForce(signed());
    const { reference } = await stage.publish('team/links:1');
    await pull(reference);
    const [folder, link] = ['checked', 'link'].map((name) => join(stage.folders.folder, name)) as [
      string,
      string,
    ];
    mkdirSync(folder);
    symlinkSync(folder, link);
    symlinkSync('/dev/null', `${link}-device`);
    const pod = await runPod('links');
    const id = await create(pod, {
      ...containerConfig({ name: 'c', image: reference }),
      mounts: [
        { containerPath: '/plain', hostPath: folder },
        { containerPath: '/linked', hostPath: link },
      ],
      devices: [{ containerPath: '/dev/nothing', hostPath: `${link}-device`, permissions: 'r' }],
    });
    // Another container with a part of this folder can replace the link by now.
    rmSync(link);
    symlinkSync('/etc', link);
    const made = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.deepEqual(
      made.status?.mounts.map(({ hostPath }) => hostPath),
      [folder, folder],
    );
    await proxy.cri.runtime.removePodSandbox(pod);
  });

  it('refuses a profile that it cannot enforce, unless the rule allows the degraded form', async () => {
    const { reference } = await stage.publish('team/closed:1');
    await pull(reference);
    const profile = `---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: closed }
entitlements: [network.none]
`;
    await inForce(signed('{ ceiling: closed }') + profile);
    const pod = await runPod('closed');
    const ask = containerConfig({ name: 'c', image: reference });
    const refused = await failureOf(create(pod, ask));
    assert.equal(refused.code, 'PROXY_NOT_ENFORCED');
    assert.match(refused.message, /network\.none/);
    await inForce(signed('{ ceiling: closed, onDegraded: allow }') + profile);
    await create(pod, ask);
    await proxy.cri.runtime.removePodSandbox(pod);
  });

  it('has the same images after kill -9, and admits nothing under a policy that denies', async () => {
    await inForce(signed());
    const { reference, image } = await stage.publish('team/kept:1');
    await pull(reference);
    await proxy.stop('SIGKILL');
    proxy = await start();
    const { image: shown } = await proxy.cri.image.imageStatus({ image: { image: reference } });
    assert.equal(shown?.id, image.configDigest);
    assert.deepEqual(shown.repoTags.includes(reference), true);
    const pod = await runPod('kept');
    await create(pod, containerConfig({ name: 'c', image: reference }));
    await inForce(policyOf('  - images: ["**"]\n    deny: everything\n'));
    while (!proxy.log().includes('would not admit the image of this container')) await pause(20);
    for (const asked of [reference, image.configDigest]) {
      const refused = await failureOf(create(pod, containerConfig({ name: 'd', image: asked })));
      assert.equal(refused.code, 'IMAGES_DENIED');
    }
    assert.equal((await failureOf(pull(reference))).code, 'IMAGES_DENIED');
    await proxy.cri.runtime.removePodSandbox(pod);
    await inForce(signed());
    await proxy.cri.image.removeImage({ image: { image: reference } });
    assert.equal((await proxy.cri.image.imageStatus({ image: { image: reference } })).image, undefined);
  });

  it('forwards events', async () => {
    const first = Promise.withResolvers<string>();
    const watched = await watchContainerEvents(proxy.cri, ({ containerId }) => first.resolve(containerId));
    const pod = await runPod('events');
    assert.equal(await Promise.race([first.promise, watched.ended]), pod.podSandboxId);
    await watched.stop();
    await proxy.cri.runtime.removePodSandbox(pod);
  });
});
