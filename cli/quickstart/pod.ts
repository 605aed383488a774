import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { CriClient } from './daemon.ts';
import { webPort } from './image.ts';
import { podNamespace, profileName } from './environment.ts';
import type { Environment } from './environment.ts';

/** How long a page or a line may take to appear, in ms. */
const patience = 5000;

/** CRI NamespaceOption: network and IPC namespaces of the pod, PID namespace of the container. */
const namespaceOptions = { network: 0, pid: 1, ipc: 0 } as const;

/** Returns the pod's configuration as a kubelet would send it. crictl gets the same object as JSON. */
export function podConfig(environment: Environment, name: string) {
  const uid = randomUUID();
  return {
    metadata: { name, uid, namespace: podNamespace, attempt: 0 },
    hostname: name,
    logDirectory: join(environment.logs, name),
    labels: podLabels(name, uid),
    annotations: { 'portcullis.dev/profile': profileName },
    linux: { cgroupParent: environment.cgroupParent, securityContext: { namespaceOptions } },
  };
}

export type PodConfig = ReturnType<typeof podConfig>;

/** Labels by which crictl and a kubelet recognize pods and containers. */
function podLabels(name: string, uid: string): Record<string, string> {
  return {
    'io.kubernetes.pod.name': name,
    'io.kubernetes.pod.namespace': podNamespace,
    'io.kubernetes.pod.uid': uid,
  };
}

export function containerConfig(reference: string, imageRef: string, pod: PodConfig) {
  return {
    metadata: { name: 'server', attempt: 0 },
    labels: { ...podLabels(pod.metadata.name, pod.metadata.uid), 'io.kubernetes.container.name': 'server' },
    image: { image: imageRef, userSpecifiedImage: reference },
    logPath: 'server/0.log',
    linux: {
      resources: { memoryLimitInBytes: 64 * 2 ** 20, cpuShares: 256 },
      securityContext: { namespaceOptions },
    },
  };
}

/** Returns the first line of the page that the pod serves. Retries until it answers. */
export async function readPage(address: string): Promise<string> {
  const until = performance.now() + patience;
  let reason = '';
  while (performance.now() < until) {
    try {
      const answer = await fetch(`http://${address}:${webPort}/`, {
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(1000),
      });
      return (await answer.text()).trim();
    } catch (thrown) {
      reason =
        thrown instanceof Error
          ? thrown.cause instanceof Error
            ? thrown.cause.message
            : thrown.message
          : String(thrown);
      await pause(20);
    }
  }
  return `no answer: ${reason}`;
}

/** Returns whether the pod's port accepts a connection within 0.2 s. */
export async function portAnswers(address: string): Promise<boolean> {
  const socket = connect({ host: address, port: webPort });
  // A destroyed socket keeps nothing alive. A fetch that is aborted while it connects would, for ten seconds.
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(200) });
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Returns the lines of the container's log (CRI format), once it holds `text`. */
export async function readLog(file: string, text: string): Promise<readonly string[]> {
  const until = performance.now() + patience;
  let content = '';
  while (performance.now() < until && !content.includes(text)) {
    content = existsSync(file) ? readFileSync(file, 'utf8') : '';
    await pause(10);
  }
  return content.trim().split('\n');
}

export interface Execution {
  readonly exitCode: number;
  readonly output: string;
}

/** Runs a command in the container and returns what it printed, on both streams. */
export async function execute(
  cri: CriClient,
  containerId: string,
  cmd: readonly string[],
): Promise<Execution> {
  const { exitCode, stdout, stderr } = await cri.runtime.execSync({
    containerId,
    cmd: [...cmd],
    timeout: 10,
  });
  return { exitCode, output: `${Buffer.from(stdout).toString()}${Buffer.from(stderr).toString()}`.trim() };
}
