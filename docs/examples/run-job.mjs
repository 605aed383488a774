// Runs one verified container to its end, without Kubernetes, and ends with its exit code:
//   node run-job.mjs /run/portcullis/portcullis.sock registry.example.com/jobs/report:1 /bin/report --today
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ContainerState, createCriClient, entryBytes, followContainerLog } from 'portcullis/runtime';

const [socket = '', image = '', ...command] = process.argv.slice(2);
const cri = createCriClient(socket);
const logDirectory = await mkdtemp(join(tmpdir(), 'job-'));
const sandboxConfig = {
  metadata: { name: 'job', namespace: 'jobs', uid: randomUUID(), attempt: 0 },
  logDirectory,
};
let podSandboxId;
try {
  // Verified before anything of it is unpacked: a denied image ends here, with the verdict's reasons in the message.
  const { imageRef } = await cri.image.pullImage({ image: { image }, sandboxConfig });
  ({ podSandboxId } = await cri.runtime.runPodSandbox({ config: sandboxConfig }));
  const { containerId } = await cri.runtime.createContainer({
    podSandboxId,
    sandboxConfig,
    config: {
      metadata: { name: 'main', attempt: 0 },
      image: { image: imageRef, userSpecifiedImage: image },
      command,
      logPath: 'main.log',
      linux: { resources: { memoryLimitInBytes: 256 * 2 ** 20, cpuQuota: 50_000, cpuPeriod: 100_000 } },
    },
  });
  await cri.runtime.startContainer({ containerId });

  const status = async () => (await cri.runtime.containerStatus({ containerId })).status;
  const running = async () => (await status())?.state === ContainerState.CONTAINER_RUNNING;
  for await (const entry of followContainerLog(join(logDirectory, 'main.log'), {
    follow: true,
    isRunning: running,
  })) {
    (entry.stream === 'stderr' ? process.stderr : process.stdout).write(entryBytes(entry));
  }
  process.exitCode = (await status())?.exitCode ?? 255;
} catch (failure) {
  // Every failure has a stable code, what was attempted, on what, why, and what to do.
  console.error(failure.message);
  process.exitCode = 125;
} finally {
  if (podSandboxId !== undefined) await cri.runtime.removePodSandbox({ podSandboxId });
  cri.close();
  await rm(logDirectory, { recursive: true, force: true });
}
