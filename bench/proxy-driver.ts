/** Runs in the namespaces of a peer, which proxy.ts started: measures calls alone and through a proxy. */
import { createCriClient } from '../runtime/client.ts';
import type { CriClient } from '../runtime/client.ts';
import { proxyBefore } from '../test/proxy/before-peer.ts';

const pods = 10;
const readings = 300;
const writes = 30;

const [backend = ''] = process.argv.slice(2);
const { proxy, images, close } = await proxyBefore(backend);
const direct = createCriClient(backend);
const image = `gcr.io/${images.find(({ name }) => name.startsWith('k8s-staging'))?.name ?? ''}`;
const { imageRef } = await proxy.cri.image.pullImage({ image: { image } });
let count = 0;
const podConfig = () => {
  count += 1;
  const metadata = { name: `p${count}`, uid: `u${count}`, namespace: 'default', attempt: 0 };
  return { metadata, linux: { cgroupParent: '/bench-proxy' } };
};
const runPod = async (cri: CriClient) => {
  const config = podConfig();
  return { config, ...(await cri.runtime.runPodSandbox({ config })) };
};
const running = [];
for (let pod = 0; pod < pods; pod += 1) running.push(await runPod(proxy.cri));
const [first] = running;
const created = async (cri: CriClient): Promise<string> => {
  count += 1;
  const config = { metadata: { name: `c${count}`, attempt: 0 }, image: { image: imageRef }, linux: {} };
  const request = { podSandboxId: first?.podSandboxId ?? '', config, sandboxConfig: first?.config ?? {} };
  return (await cri.runtime.createContainer(request)).containerId;
};

await compare('Version', readings, (cri) => cri.runtime.version({}));
await compare('ListPodSandbox, 10 pods', readings, (cri) => cri.runtime.listPodSandbox({}));
await compare('ListContainers', readings, (cri) => cri.runtime.listContainers({}));
await compare('PodSandboxStatus', readings, (cri) =>
  cri.runtime.podSandboxStatus({ podSandboxId: first?.podSandboxId ?? '' }),
);
await compare('ImageStatus', readings, (cri) => cri.image.imageStatus({ image: { image: imageRef } }));
await compare('ListImages', readings, (cri) => cri.image.listImages({}));
await compare('RunPodSandbox', writes, runPod);
const containers = new Map<CriClient, string[]>([
  [direct, []],
  [proxy.cri, []],
]);
await compare('CreateContainer', writes, async (cri) => containers.get(cri)?.push(await created(cri)));
await compare('RemoveContainer', writes, (cri) =>
  cri.runtime.removeContainer({ containerId: containers.get(cri)?.pop() ?? '' }),
);
for (const { id } of (await direct.runtime.listPodSandbox({})).items)
  await direct.runtime.removePodSandbox({ podSandboxId: id });
direct.close();
await close();

/** Measures in turns, so that other load of the machine affects both alike. Both are warmed up first. */
async function compare(
  name: string,
  rounds: number,
  call: (cri: CriClient) => Promise<unknown>,
): Promise<void> {
  const pairs: { readonly alone: number; readonly through: number }[] = [];
  const timed = async (cri: CriClient): Promise<number> => {
    const started = performance.now();
    await call(cri);
    return performance.now() - started;
  };
  for (let round = -Math.ceil(rounds / 2); round < rounds; round += 1) {
    const pair = { alone: await timed(direct), through: await timed(proxy.cri) };
    if (round >= 0) pairs.push(pair);
  }
  const alone = median(pairs.map((pair) => pair.alone));
  const through = median(pairs.map((pair) => pair.through));
  const added = median(pairs.map((pair) => pair.through - pair.alone));
  const cells = [name, ...[alone, through, added].map((value) => value.toFixed(2))];
  console.log(`::  | ${cells.join(' | ')} |`);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
