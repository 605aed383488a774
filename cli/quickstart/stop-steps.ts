import { expect } from './expect.ts';
import { containerConfig, podConfig, readPage } from './pod.ts';
import type { Context } from './context.ts';
import { kernelTraces, newTraces } from './traces.ts';

/** Stops the daemon and checks that it leaves nothing. */
export async function stopSteps({ report, environment, daemon, untouched, image }: Context): Promise<void> {
  await report.step('RemoveImage', async () => {
    await daemon.cri.image.removeImage({ image: { image: image.manifestDigest } });
    const { images } = await daemon.cri.image.listImages({});
    for (const { id } of images) await daemon.cri.image.removeImage({ image: { image: id } });
  });
  await report.step(
    'portcullisd stops and leaves nothing behind',
    async () => {
      const code = await daemon.stop();
      expect(code === 0, 'exit code 0', String(code));
      const left = newTraces(untouched, kernelTraces(environment.folder, environment.cgroupParent));
      expect(left.length === 0, 'the kernel is as it was before', left.join('\n'));
    },
    () => 'mounts, namespaces, links, rules, cgroups and processes are what they were before it started',
  );
}

/** With --keep: runs the pod again and leaves the endpoint serving. Returns how to look at it. */
export async function keepSteps({
  report,
  environment,
  daemon,
  reference,
}: Context): Promise<readonly string[]> {
  report.chapter('It stays, for you to look at');
  const config = podConfig(environment, 'web');
  const { runtime } = daemon.cri;
  await report.step(
    'the pod runs again',
    async () => {
      const { podSandboxId } = await runtime.runPodSandbox({ config });
      const { containerId } = await runtime.createContainer({
        podSandboxId,
        config: containerConfig(reference, reference, config),
        sandboxConfig: config,
      });
      await runtime.startContainer({ containerId });
      const { status } = await runtime.podSandboxStatus({ podSandboxId });
      const address = status?.network?.ip ?? '';
      await readPage(address);
      return address;
    },
    (address) => `http://${address}:8080/`,
  );
  return [
    `export CONTAINER_RUNTIME_ENDPOINT=unix://${environment.socket}`,
    'crictl pods; crictl ps; crictl images',
    `crictl pull ${reference.replace(/:1$/, ':forged')}     is refused`,
    `nsenter --target ${process.pid} --net     enters its network; portcullis ps --socket ${environment.socket}`,
    `kill ${process.pid}     stops it and removes everything`,
  ];
}
