import { isPortcullisError } from '../../../base/errors/index.ts';
import type { Client } from '../engine/client.ts';
import { troubles } from '../engine/faults.ts';
import { troubleAmong } from '../engine/node-steps.ts';
import { hold } from '../engine/invariants.ts';
import type { Choices, Step } from '../engine/play-steps.ts';
import type { PodsNode } from './pods-node.ts';
import { containerConfig, podConfig } from './requests.ts';
import { endInfra, endProcess, reboot } from './world.ts';
import type { World } from './world.ts';

/** A kubelet's knowledge of its pods and containers. */
interface KnownPod {
  readonly id: string;
  stopped: boolean;
}
interface KnownContainer {
  readonly id: string;
  readonly pod: number;
  started: boolean;
}

/** The state that all steps work with. */
export interface Play extends Choices {
  /** No fault was decided: faults do not explain a failed request. */
  readonly isFaultless: boolean;
  readonly world: World;
  readonly client: Client<PodsNode>;
  readonly pods: Map<number, KnownPod>;
  readonly containers: Map<string, KnownContainer>;
}

const hours = 3_600_000;

async function runPod({ client, pods, choose }: Play): Promise<void> {
  const index = choose('pod', 4);
  const known = pods.get(index);
  const run = (): Promise<{ readonly id: string }> =>
    client.call(`run of pod ${index}`, (n) => n.sandboxes.run(podConfig(index), ''));
  const { id } = await run().catch(async (cause: unknown) => {
    if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_SANDBOX_NAME_TAKEN') throw cause;
    if (known?.stopped === true) return known;
    // This pod was never answered: only the disk had it as ready when the daemon died. A kubelet sees it in
    // the list, and removes it.
    const unknown = String(cause.failure.details?.['sandboxId']);
    hold('name reservation', known === undefined && String(cause).includes('is not running'), String(cause));
    await client.call(`removal of ${unknown}`, (n) => n.sandboxes.remove(unknown));
    return run();
  });
  hold(
    'idempotence',
    known === undefined || id === known.id,
    `run of pod ${index} answered ${id}, before ${known?.id ?? ''}`,
  );
  pods.set(index, { id, stopped: known?.stopped ?? false });
}

/** A kubelet that stopped waiting sends the request again, while the first one continues. */
async function runPodTwice(play: Play): Promise<void> {
  const { client, pods, choose } = play;
  const index = choose('pod', 4);
  if (pods.has(index)) return;
  const run = (): Promise<{ readonly id: string }> =>
    client.start(`run of pod ${index}`, (n) => n.sandboxes.run(podConfig(index), ''));
  const answers = await client.drive(Promise.allSettled([run(), run()]));
  const ids = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value.id] : []));
  const refusals = answers.flatMap((answer) =>
    answer.status === 'rejected' ? [answer.reason as unknown] : [],
  );
  for (const cause of refusals)
    if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_SANDBOX_NAME_TAKEN') throw cause;
  hold('idempotence', new Set(ids).size < 2, `pod ${index} was run twice: ${ids.join(' and ')}`);
  const [id] = ids;
  if (id !== undefined)
    pods.set(index, { id, stopped: client.node().sandboxes.require(id).phase !== 'ready' });
}

async function createContainer({ isFaultless, client, pods, containers, choose, pick }: Play): Promise<void> {
  const pod = pick(
    'pod',
    [...pods].filter(([, one]) => !one.stopped),
  );
  if (pod === undefined) return;
  const [index, { id: podId }] = pod;
  const name = `c${choose('name', 3)}`;
  const key = `${index}/${name}`;
  if (containers.has(key)) return;
  const create = (): Promise<{ readonly id: string }> =>
    client.call(`creation of ${key}`, (n) =>
      n.containers.create(podId, containerConfig(name, 'signed', index < 2)),
    );
  const { id } = await create().catch(async (cause: unknown) => {
    if (!isPortcullisError(cause)) throw cause;
    // The infra process ended with an attempt that could not share it, and the write that recorded this was
    // lost: the kubelet creates another pod.
    if (
      cause.code === 'RUNTIME_SANDBOX_NOT_READY' &&
      index < 2 &&
      !isFaultless &&
      client.node().sandboxes.require(podId).phase !== 'ready'
    ) {
      pod[1].stopped = true;
      return { id: undefined };
    }
    if (cause.code !== 'RUNTIME_CONTAINER_NAME_TAKEN') throw cause;
    // This container was never answered: a kubelet sees it in the list, and removes it.
    const unknown = String(cause.failure.details?.['containerId']);
    hold('name reservation', client.node().containers.require(unknown).phase === 'exited', String(cause));
    await client.call(`removal of ${unknown}`, (n) => n.containers.remove(unknown));
    return create();
  });
  if (id !== undefined) containers.set(key, { id, pod: index, started: false });
}

async function createUnsigned({ client, pods, pick }: Play): Promise<void> {
  const pod = pick(
    'pod',
    [...pods.values()].filter((one) => !one.stopped),
  );
  if (pod === undefined) return;
  const made = await client
    .call(`creation of an unsigned container in ${pod.id}`, (n) =>
      n.containers.create(pod.id, containerConfig('evil', 'unsigned')),
    )
    .catch((cause: unknown) => cause);
  hold(
    'verdict before use',
    isPortcullisError(made) && made.code === 'DENIED',
    `an unsigned image: ${String(made)}`,
  );
}

async function startContainer({ client, pods, containers, pick }: Play): Promise<void> {
  const container = pick(
    'container',
    [...containers.values()].filter((one) => !one.started && pods.get(one.pod)?.stopped === false),
  );
  if (container === undefined) return;
  const { id } = container;
  const phase = (): string => client.node().containers.require(id).phase;
  try {
    await client.call(`start of ${id}`, (n) => n.containers.start(id));
  } catch (cause) {
    // A start that failed in the runtime leaves an exited container, at once or as soon as that can be
    // recorded: the container cannot be started again.
    if (
      !isPortcullisError(cause) ||
      !['RUNTIME_CONTAINER_WRONG_STATE', 'RUNTIME_OCI_FAILED'].includes(cause.code)
    )
      throw cause;
    for (let turn = 0; turn < 40 && phase() !== 'exited'; turn += 1) await client.wait(30_000);
    hold(
      'everything ends',
      phase() === 'exited',
      `${id} is ${phase()} after its start failed: ${String(cause)}`,
    );
  }
  container.started = true;
}

async function stopContainer({ client, containers, choose, pick }: Play): Promise<void> {
  const container = pick('container', [...containers.values()]);
  if (container === undefined) return;
  await client.call(`stop of ${container.id}`, (n) => n.containers.stop(container.id, choose('seconds', 3)));
  const { phase } = client.node().containers.require(container.id);
  hold('lasting answers', phase === 'exited', `${container.id} is ${phase} after its stop`);
}

async function removeContainer({ client, containers, pick }: Play): Promise<void> {
  const entry = pick('container', [...containers]);
  if (entry === undefined) return;
  const [key, { id }] = entry;
  await client.call(`removal of ${id}`, (n) => n.containers.remove(id));
  containers.delete(key);
}

function stopped({ client, containers }: Play, index: number): void {
  for (const { pod, id } of containers.values())
    if (pod === index) {
      const { phase } = client.node().containers.require(id);
      hold('lasting answers', phase === 'exited', `${id} is ${phase} after its pod was stopped`);
    }
}

async function stopPod(play: Play): Promise<void> {
  const entry = play.pick('pod', [...play.pods]);
  if (entry === undefined) return;
  const [index, pod] = entry;
  await play.client.call(`stop of ${pod.id}`, (n) => n.sandboxes.stop(pod.id));
  pod.stopped = true;
  stopped(play, index);
}

/** The possible errors of a request whose pod or container is stopped or removed concurrently. */
const overtaken = [
  'RUNTIME_CONTAINER_NAME_TAKEN',
  'RUNTIME_CONTAINER_WRONG_STATE',
  'RUNTIME_OCI_FAILED',
  'RUNTIME_SANDBOX_NOT_READY',
  'RUNTIME_CONTAINER_NOT_FOUND',
];

/**
 * Sends requests of two workers of a kubelet: a pod is stopped while its containers are created and started.
 */
async function stopBeside(play: Play): Promise<void> {
  const { client, pods, containers, choose, pick } = play;
  const entry = pick(
    'pod',
    [...pods].filter(([, one]) => !one.stopped),
  );
  if (entry === undefined) return;
  const [index, pod] = entry;
  const mayFail = (cause: unknown): undefined => {
    if (!isPortcullisError(cause) || !overtaken.includes(cause.code)) throw cause;
  };
  const own = [...containers.values()].filter((one) => one.pod === index);
  const starts = own.filter((one) => !one.started);
  const removed = choose('and a container removed', 2) === 1 ? own[0] : undefined;
  await client.drive(
    Promise.all([
      ...starts.map(({ id }) => client.start(`start of ${id}`, (n) => n.containers.start(id)).catch(mayFail)),
      client
        .start(`creation of ${index}/late`, (n) =>
          n.containers.create(pod.id, containerConfig('late', 'signed', index < 2)),
        )
        .catch(mayFail),
      removed === undefined
        ? undefined
        : client.start(`removal of ${removed.id}`, (n) => n.containers.remove(removed.id)),
      client.start(`stop of ${pod.id}`, (n) => n.sandboxes.stop(pod.id)),
    ]),
  );
  pod.stopped = true;
  for (const [key, one] of containers) if (one === removed) containers.delete(key);
  for (const one of starts) one.started = true;
  stopped(play, index);
  const late = client.node().containers.list();
  for (const { id, sandboxId, phase } of late)
    hold(
      'lasting answers',
      sandboxId !== pod.id || phase === 'exited',
      `${id} is ${phase} after its pod was stopped`,
    );
}

async function removePod({ client, pods, containers, pick }: Play): Promise<void> {
  const entry = pick('pod', [...pods]);
  if (entry === undefined) return;
  const [index, { id }] = entry;
  await client.call(`removal of ${id}`, (n) => n.sandboxes.remove(id));
  pods.delete(index);
  for (const [key, container] of containers) if (container.pod === index) containers.delete(key);
}

/** Ends a container's process without a request. */
function processEnds({ world, choose, pick }: Play): Promise<void> {
  const running = pick(
    'process',
    [...world.processes].filter(([, process]) => process.state === 'running'),
  );
  if (running !== undefined) endProcess(world, running[0], choose('code', 256));
  return Promise.resolve();
}

/** A running daemon notices: a pod is no longer ready. */
async function isLost({ client, pods }: Play, index: number, why: string): Promise<void> {
  const { id } = pods.get(index) ?? { id: '' };
  const isReady = (): boolean => client.node().sandboxes.require(id).phase === 'ready';
  for (let turn = 0; turn < 60 && isReady(); turn += 1) await client.wait(20_000);
  hold('everything ends', !isReady(), `${id} is ready although ${why}`);
}

async function infraEnds(play: Play): Promise<void> {
  const { world, client, pods, pick } = play;
  const held = pick(
    'pod',
    [...pods].filter(([, { id }]) => world.infra.get(id)?.alive === true),
  );
  if (held === undefined) return;
  const [index, pod] = held;
  world.report(`  the infra process of ${pod.id} ends`);
  endInfra(world, pod.id);
  await isLost(play, index, 'the process that held its PID namespace has ended');
  await client.call(`stop of ${pod.id}`, (n) => n.sandboxes.stop(pod.id));
  pod.stopped = true;
  stopped(play, index);
}

async function restartMachine(play: Play): Promise<void> {
  const { world, client, pods, containers } = play;
  const exits = new Map(
    client
      .node()
      .containers.list()
      .flatMap(({ id, phase, exitCode }) => (phase === 'exited' ? [[id, exitCode] as const] : [])),
  );
  world.report('† the machine starts again');
  await client.restart(() => reboot(world));
  const listed = new Map(
    client
      .node()
      .containers.list()
      .map((record) => [record.id, record]),
  );
  for (const [id, code] of exits) {
    const record = listed.get(id);
    hold(
      'lasting answers',
      record?.phase === 'exited' && record.exitCode === code,
      `${id} had ended with ${code} before the power went`,
    );
  }
  // A container that had not ended need not outlive the boot in which it was created (docs/decisions/0035).
  for (const [key, { id }] of containers) if (!listed.has(id)) containers.delete(key);
  for (const [index, pod] of pods) {
    await isLost(play, index, 'the machine has started again');
    pod.stopped = true;
  }
}

function jumpClock({ world, choose }: Play): Promise<void> {
  const ms =
    [1_000, -1_000, 20 * hours, -20 * hours, 90_000 * hours, -90_000 * hours][choose('jump', 6)] ?? 0;
  world.report(`  the clock jumps by ${ms / 1_000} s`);
  world.scheduler.jump(ms);
  return Promise.resolve();
}

function loseWorkers({ client }: Play): Promise<void> {
  client.node().loseWorkers();
  return Promise.resolve();
}

function pause({ client, choose }: Play): Promise<void> {
  return client.wait([100, 5_000, 100_000][choose('pause', 3)] ?? 100);
}

export const ordinary: readonly Step<Play>[] = [
  ['', () => Promise.resolve()],
  ['run a pod', runPod],
  ['run a pod', runPod],
  ['run a pod twice at once', runPodTwice],
  ['create a container', createContainer],
  ['create a container', createContainer],
  ['create an unsigned container', createUnsigned],
  ['start a container', startContainer],
  ['start a container', startContainer],
  ['stop a container', stopContainer],
  ['remove a container', removeContainer],
  ['stop a pod', stopPod],
  ['stop a pod beside other requests', stopBeside],
  ['remove a pod', removePod],
  ['a process ends', processEnds],
  ['an infra process ends', infraEnds],
  ['wait', pause],
];
export const rare: readonly Step<Play>[] = [
  ...ordinary,
  ['restart the machine', restartMachine],
  ['trouble', troubleAmong(troubles)],
  ['jump of the clock', jumpClock],
  ['loss of a Worker', loseWorkers],
];
