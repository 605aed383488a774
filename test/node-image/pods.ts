import { setTimeout as pause } from 'node:timers/promises';
import type { CriClient } from '../../runtime/client.ts';
import type { PodConfig } from '../fixtures/pod.ts';
import type { Machine } from './machine.ts';

/** Time for one request to the emulated machine, in milliseconds. */
const patience = { timeoutMs: 300_000 };

/**
 * Pulls an image, and runs it in a pod as a kubelet does. Port 8080 of the pod is port 8080 of the machine.
 */
export async function runWeb({ cri }: Pick<Machine, 'cri'>, image: string): Promise<string> {
  const { imageRef } = await cri.image.pullImage({ image: { image } }, patience);
  const config: PodConfig = {
    metadata: { name: 'web', uid: `web-${Date.now()}`, namespace: 'shop', attempt: 0 },
    hostname: 'web',
    logDirectory: '/var/log/pods/web',
    portMappings: [{ protocol: 0, containerPort: 8080, hostPort: 8080, hostIp: '' }],
    linux: { cgroupParent: '/pods' },
  };
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config }, patience);
  const container = {
    metadata: { name: 'web', attempt: 0 },
    image: { image: imageRef, userSpecifiedImage: image },
    command: ['httpd', '-f', '-p', '8080', '-h', '/www'],
    logPath: 'web.log',
    linux: {},
  };
  const request = { podSandboxId, config: container, sandboxConfig: config };
  const { containerId } = await cri.runtime.createContainer(request, patience);
  await cri.runtime.startContainer({ containerId }, patience);
  return podSandboxId;
}

/** Removes all pods. */
export async function removePods({ cri }: { readonly cri: CriClient }): Promise<void> {
  const { items } = await cri.runtime.listPodSandbox({}, patience);
  for (const { id } of items) {
    await cri.runtime.stopPodSandbox({ podSandboxId: id }, patience);
    await cri.runtime.removePodSandbox({ podSandboxId: id }, patience);
  }
}

/** Requests a page of the pod from outside the machine, and returns its text. */
export async function page({ ports }: Pick<Machine, 'ports'>): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await fetch(`http://127.0.0.1:${ports.web}/index.html`, {
        signal: AbortSignal.timeout(60_000),
      });
      return `${answer.status} ${await answer.text()}`;
    } catch (thrown) {
      // The server in the container listens a moment after its start.
      if (tries === 30) throw thrown;
      await pause(1_000);
    }
  }
}
