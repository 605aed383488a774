import { expect } from './expect.ts';
import { containerConfig, podConfig, readPage } from './pod.ts';
import type { Scene } from './scene.ts';
import { kernelTraces, newTraces } from './traces.ts';

/** Stops the daemon and checks that it leaves nothing. */
export async function tellStopped({ story, setting, daemon, untouched, image }: Scene): Promise<void> {
  await story.step('RemoveImage', async () => {
    await daemon.cri.image.removeImage({ image: { image: image.manifestDigest } });
    const { images } = await daemon.cri.image.listImages({});
    for (const { id } of images) await daemon.cri.image.removeImage({ image: { image: id } });
  });
  await story.step(
    'portcullisd stops and leaves nothing at all',
    async () => {
      const code = await daemon.stop();
      expect(code === 0, 'exit code 0', String(code));
      const left = newTraces(untouched, kernelTraces(setting.folder, setting.cgroupParent));
      expect(left.length === 0, 'the kernel is as it was before', left.join('\n'));
    },
    () => 'mounts, namespaces, links, rules, cgroups and processes are what they were before it started',
  );
}

/** With --keep: runs the pod again and leaves the endpoint serving. Returns how to look at it. */
export async function tellKept({ story, setting, daemon, reference }: Scene): Promise<readonly string[]> {
  story.chapter('It stays, for you to look at');
  const config = podConfig(setting, 'web');
  const { runtime } = daemon.cri;
  await story.step(
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
    `export CONTAINER_RUNTIME_ENDPOINT=unix://${setting.socket}`,
    'crictl pods; crictl ps; crictl images',
    `crictl pull ${reference.replace(/:1$/, ':forged')}     is refused`,
    `nsenter --target ${process.pid} --net     enters its network; portcullis ps --socket ${setting.socket}`,
    `kill ${process.pid}     stops it and removes everything`,
  ];
}
