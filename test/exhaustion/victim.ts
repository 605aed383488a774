import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import packet from 'dns-packet';
import { HttpAgent, httpRequest } from '../../base/connections/index.ts';
import { callAdmin } from '../../cni-plugins/index.ts';
import { createCriClient } from '../../runtime/client.ts';
import { removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Samples } from './samples.ts';
import type { Scene } from './scene.ts';

/** The answers that must stay below the limit: they wait only for the service. */
export const answerKinds = [
  'ContainerStatus',
  'ListContainers',
  'PodSandboxStatus',
  'Version of a new client',
  'DNS over UDP',
  'DNS over TCP',
  'timestamp of the trust service',
  'timestamp over a new connection',
  'request at the admin socket',
  'Plugin.Activate of the driver',
] as const;

const patienceMs = 10_000;

/** Sends one round of all requests, one after the other. */
export async function askRound(scene: Scene, samples: Samples): Promise<void> {
  const { stage, victim } = scene;
  const { runtime } = stage.daemon.cri;
  const { containerId, pod } = victim;
  const timeoutMs = patienceMs;
  await samples.measure('ContainerStatus', () => runtime.containerStatus({ containerId }, { timeoutMs }));
  await samples.measure('ListContainers', () => runtime.listContainers({}, { timeoutMs }));
  await samples.measure('PodSandboxStatus', () =>
    runtime.podSandboxStatus({ podSandboxId: pod.id }, { timeoutMs }),
  );
  await samples.measure('Version of a new client', async () => {
    const client = createCriClient(stage.folders.socket);
    await client.runtime.version({}, { timeoutMs }).finally(() => client.close());
  });
  await samples.measure('DNS over UDP', () => askByUdp(scene));
  await samples.measure('DNS over TCP', () => askByTcp(scene));
  await samples.measure('timestamp of the trust service', () => get(scene, kept));
  await samples.measure('timestamp over a new connection', () => get(scene, false));
  await samples.measure('request at the admin socket', async () => {
    const answer = await callAdmin(join(stage.folders.state, 'admin.sock'), 'links/denials', {}, patienceMs);
    if ('why' in answer) throw new Error(answer.why);
  });
  await samples.measure('Plugin.Activate of the driver', () => activate(scene));
}

/**
 * Runs a command, and now and then a pod from its creation to its removal; these wait for the kernel and the
 * disk as well.
 */
export async function workRound(scene: Scene, samples: Samples, cycle: boolean): Promise<string | undefined> {
  const { stage, victim, image } = scene;
  await samples.measure('ExecSync true', async () => {
    const { exitCode } = await stage.daemon.cri.runtime.execSync({
      containerId: victim.containerId,
      cmd: ['true'],
      timeout: 20,
    });
    if (exitCode !== 0) throw new Error(`exit code ${exitCode}`);
  });
  if (!cycle) return undefined;
  let id: string | undefined;
  await samples.measure('a pod from run to removal', async () => {
    const pod = await runPod(stage, `cycle-${Math.random().toString(36).slice(2, 8)}`);
    id = pod.id;
    await runContainer(stage, pod, { image, command: ['sleep', '60'] });
    await removePod(stage, pod);
  });
  return id;
}

const kept = new HttpAgent({ keepAlive: true, maxSockets: 1 });

function get({ trust, timestampPath }: Scene, agent: InstanceType<typeof HttpAgent> | false): Promise<void> {
  return answered({ host: '127.0.0.1', port: trust.port, path: timestampPath, agent });
}

const activate = ({ driverSocket }: Scene): Promise<void> =>
  answered({ socketPath: driverSocket, path: '/Plugin.Activate', method: 'POST', agent: false });

function answered(options: object): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = httpRequest({ ...options, timeout: patienceMs }, (response) => {
      response
        .resume()
        .on('end', () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`)),
        );
    });
    call.on('timeout', () => call.destroy(new Error('no answer in time')));
    call.on('error', reject);
    call.end();
  });
}

const question = ({ dns }: Scene) =>
  ({
    type: 'query' as const,
    id: Math.floor(Math.random() * 65_536),
    questions: [{ name: dns.name, type: 'A' as const, class: 'IN' as const }],
  }) satisfies packet.Packet;

function askByUdp(scene: Scene): Promise<void> {
  const query = question(scene);
  const socket = createSocket('udp4');
  return new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no answer in time')), patienceMs);
    socket.on('error', reject);
    socket.on('message', (message) => {
      clearTimeout(late);
      verify(message, query.id, resolve, reject);
    });
    socket.send(packet.encode(query), 53, scene.dns.address);
  }).finally(() => socket.close());
}

function askByTcp(scene: Scene): Promise<void> {
  const query = question(scene);
  return new Promise<void>((resolve, reject) => {
    const stream = connect({
      port: 53,
      host: scene.dns.address,
      localAddress: scene.dns.address,
      timeout: patienceMs,
    });
    stream.on('timeout', () => stream.destroy(new Error('no answer in time')));
    stream.on('error', reject);
    stream.on('close', () => reject(new Error('closed without an answer')));
    stream.write(packet.streamEncode(query));
    stream.once('data', (bytes: Buffer) => {
      verify(bytes.subarray(2), query.id, resolve, reject);
      stream.destroy();
    });
  });
}

function verify(message: Buffer, id: number, resolve: () => void, reject: (why: Error) => void): void {
  const answer = packet.decode(message);
  if (answer.id === id && (answer.answers ?? []).length > 0) resolve();
  else reject(new Error(`answer ${answer.id}: ${(answer.answers ?? []).length} records`));
}

/** Sends requests until `over`. @returns the pods of the cycles that succeeded */
export async function askUntil(
  scene: Scene,
  samples: Samples,
  over: () => boolean,
  cycleEveryMs: number,
): Promise<readonly string[]> {
  const cycles: string[] = [];
  const ask = async (): Promise<void> => {
    while (!over()) {
      await askRound(scene, samples);
      await pause(10);
    }
  };
  const work = async (): Promise<void> => {
    let last = performance.now();
    while (!over()) {
      const cycle = performance.now() - last > cycleEveryMs;
      if (cycle) last = performance.now();
      const id = await workRound(scene, samples, cycle);
      if (id !== undefined) cycles.push(id);
      await pause(50);
    }
  };
  await Promise.all([ask(), work()]);
  return cycles;
}
