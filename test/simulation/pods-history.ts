import { isPortcullisError } from '../../base/errors/index.ts';
import { createClient } from './client.ts';
import type { Client } from './client.ts';
import type { Odds } from './faults.ts';
import { troubles } from './faults.ts';
import type { HistoryResult, PlayHistory } from './history.ts';
import { Broken, hold } from './invariants.ts';
import { bootPods } from './pods-node.ts';
import type { PodsNode } from './pods-node.ts';
import { containerConfig, podConfig } from './requests.ts';
import { createScheduler } from './scheduler.ts';
import { checkWorld, emptyWorld, endInfra, endProcess, leftovers, reboot } from './world.ts';
import type { World } from './world.ts';

/** What a kubelet knows of its pods and containers. */
interface KnownPod {
  readonly id: string;
  stopped: boolean;
}
interface KnownContainer {
  readonly id: string;
  readonly pod: number;
  started: boolean;
}

/** What all steps work with. */
interface Play {
  /** No fault was decided on: a request that fails is none of theirs. */
  readonly isFaultless: boolean;
  readonly world: World;
  readonly client: Client<PodsNode>;
  readonly pods: Map<number, KnownPod>;
  readonly containers: Map<string, KnownContainer>;
  choose(about: string, count: number): number;
  pick<T>(about: string, values: readonly T[]): T | undefined;
}

const hours = 3_600_000;
/** Failures that faults explain: a stop gives up when what it needs fails, or is slow, for a minute. */
const passing = new Set(['SIMULATED_FAULT', 'RUNTIME_STOP_STUCK', 'RUNTIME_EXIT_UNKNOWN']);

async function runPod({ client, pods, choose }: Play): Promise<void> {
  const index = choose('pod', 4);
  const known = pods.get(index);
  const run = (): Promise<{ readonly id: string }> => client.call(`run of pod ${index}`, (n) => n.sandboxes.run(podConfig(index), ''));
  const { id } = await run().catch(async (cause: unknown) => {
    if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_SANDBOX_NAME_TAKEN') throw cause;
    if (known?.stopped === true) return known;
    // One that was never answered: it was ready on the disk alone when the daemon died. A kubelet sees it in the list, and removes it.
    const unknown = String(cause.failure.details?.['sandboxId']);
    hold('name reservation', known === undefined && String(cause).includes('is not running'), String(cause));
    await client.call(`removal of ${unknown}`, (n) => n.sandboxes.remove(unknown));
    return run();
  });
  hold('idempotence', known === undefined || id === known.id, `run of pod ${index} answered ${id}, before ${known?.id ?? ''}`);
  pods.set(index, { id, stopped: known?.stopped ?? false });
}

/** A kubelet that has given up waiting asks again, while the first request goes on. */
async function runPodTwice(play: Play): Promise<void> {
  const { client, pods, choose } = play;
  const index = choose('pod', 4);
  if (pods.has(index)) return;
  const run = (): Promise<{ readonly id: string }> => client.start(`run of pod ${index}`, (n) => n.sandboxes.run(podConfig(index), ''));
  const answers = await client.drive(Promise.allSettled([run(), run()]));
  const ids = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value.id] : []));
  const refusals = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason as unknown] : []));
  for (const cause of refusals) if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_SANDBOX_NAME_TAKEN') throw cause;
  hold('idempotence', new Set(ids).size < 2, `pod ${index} was run twice: ${ids.join(' and ')}`);
  const [id] = ids;
  if (id !== undefined) pods.set(index, { id, stopped: client.node().sandboxes.require(id).phase !== 'ready' });
}

async function createContainer({ client, pods, containers, choose, pick }: Play): Promise<void> {
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
    client.call(`creation of ${key}`, (n) => n.containers.create(podId, containerConfig(name, 'signed', index < 2)));
  const { id } = await create().catch(async (cause: unknown) => {
    if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_CONTAINER_NAME_TAKEN') throw cause;
    // As above.
    const unknown = String(cause.failure.details?.['containerId']);
    hold('name reservation', client.node().containers.require(unknown).phase === 'exited', String(cause));
    await client.call(`removal of ${unknown}`, (n) => n.containers.remove(unknown));
    return create();
  });
  containers.set(key, { id, pod: index, started: false });
}

async function createUnsigned({ client, pods, pick }: Play): Promise<void> {
  const pod = pick(
    'pod',
    [...pods.values()].filter((one) => !one.stopped),
  );
  if (pod === undefined) return;
  const made = await client
    .call(`creation of an unsigned container in ${pod.id}`, (n) => n.containers.create(pod.id, containerConfig('evil', 'unsigned')))
    .catch((cause: unknown) => cause);
  hold('verdict before use', isPortcullisError(made) && made.code === 'DENIED', `an unsigned image: ${String(made)}`);
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
    // A start that failed in the runtime leaves an exited container, at once or when it can be recorded: it cannot be started again.
    if (!isPortcullisError(cause) || !['RUNTIME_CONTAINER_WRONG_STATE', 'RUNTIME_OCI_FAILED'].includes(cause.code)) throw cause;
    for (let turn = 0; turn < 40 && phase() !== 'exited'; turn += 1) await client.wait(30_000);
    hold('everything ends', phase() === 'exited', `${id} is ${phase()} after its start failed: ${String(cause)}`);
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

async function removePod({ client, pods, containers, pick }: Play): Promise<void> {
  const entry = pick('pod', [...pods]);
  if (entry === undefined) return;
  const [index, { id }] = entry;
  await client.call(`removal of ${id}`, (n) => n.sandboxes.remove(id));
  pods.delete(index);
  for (const [key, container] of containers) if (container.pod === index) containers.delete(key);
}

/** A container's own end. */
function processEnds({ world, choose, pick }: Play): Promise<void> {
  const running = pick(
    'process',
    [...world.processes].filter(([, process]) => process.state === 'running'),
  );
  if (running !== undefined) endProcess(world, running[0], choose('code', 256));
  return Promise.resolve();
}

/** A daemon that runs notices: a pod is not ready any more. */
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
  world.tell(`  the infra process of ${pod.id} ends`);
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
  world.tell('† the machine starts again');
  await client.restart(() => reboot(world));
  const listed = new Map(
    client
      .node()
      .containers.list()
      .map((record) => [record.id, record]),
  );
  for (const [id, code] of exits) {
    const record = listed.get(id);
    hold('lasting answers', record?.phase === 'exited' && record.exitCode === code, `${id} had ended with ${code} before the power went`);
  }
  // A container that had not ended need not outlive the boot that it was made in (docs/decisions/0035).
  for (const [key, { id }] of containers) if (!listed.has(id)) containers.delete(key);
  for (const [index, pod] of pods) {
    await isLost(play, index, 'the machine has started again');
    pod.stopped = true;
  }
}

function makeTrouble({ world, choose }: Play): Promise<void> {
  const trouble = troubles[choose('trouble', troubles.length)] ?? 'no descriptors';
  const ms = [2_000, 30_000, 300_000][choose('length', 3)] ?? 2_000;
  world.tell(`  for ${ms / 1_000} s: ${trouble}`);
  world.troubles.begin(trouble, ms);
  return Promise.resolve();
}

function jumpClock({ world, choose }: Play): Promise<void> {
  const ms = [1_000, -1_000, 20 * hours, -20 * hours, 90_000 * hours, -90_000 * hours][choose('jump', 6)] ?? 0;
  world.tell(`  the clock jumps by ${ms / 1_000} s`);
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

type Step = readonly [name: string, act: (play: Play) => Promise<void>];
/** The first is nothing: what a step becomes that is left out. */
const ordinary: readonly Step[] = [
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
  ['remove a pod', removePod],
  ['a process ends', processEnds],
  ['an infra process ends', infraEnds],
  ['wait', pause],
];
const rare: readonly Step[] = [
  ...ordinary,
  ['restart the machine', restartMachine],
  ['trouble', makeTrouble],
  ['jump of the clock', jumpClock],
  ['loss of a Worker', loseWorkers],
];

function check({ world, client, pods, containers }: Play): void {
  const node = client.node();
  checkWorld(world);
  for (const { id, stopped: isStopped } of pods.values()) {
    const record = node.sandboxes.require(id);
    hold('lasting answers', (record.phase === 'ready') === !isStopped, `sandbox ${id} is ${record.phase}`);
    if (record.phase !== 'ready' || record.attachment === undefined) continue;
    const address = record.attachment.ips[0]?.address;
    const isTrue = world.links.has(id) && address === `10.0.0.${world.leases.get(id) ?? 0}/24`;
    hold('true attachments', isTrue, `sandbox ${id} is recorded with ${address ?? 'no address'}`);
  }
  for (const { id, started } of containers.values()) {
    const record = node.containers.require(id);
    if (started) hold('lasting answers', ['running', 'exited'].includes(record.phase), `started container ${id} is ${record.phase}`);
    if (record.phase !== 'exited' || record.reason === 'StartError') continue;
    const code = world.processes.get(id)?.exit?.code;
    hold('true exits', record.exitCode === code, `${id}: ${record.exitCode} is recorded, ${code ?? 'nothing'} is true`);
  }
}

/** Faults cease: what goes on comes to its end, every request succeeds, and nothing is left when all is removed. */
async function finish(play: Play): Promise<void> {
  const { world, client, pods, containers } = play;
  world.scheduler.decisions.begin('end');
  world.tell('faults cease');
  client.calm();
  await client.wait(600_000);
  check(play);
  for (const { id } of containers.values()) {
    const { phase } = client.node().containers.require(id);
    const isDead = world.processes.get(id)?.state === 'dead';
    hold('everything ends', !isDead || phase === 'exited', `the process of ${id} has ended, and its record says ${phase}`);
  }
  for (const { id, phase } of client.node().containers.list()) {
    const isDead = (world.processes.get(id)?.state ?? 'dead') === 'dead';
    hold('nothing left', phase !== 'exited' || isDead, `${id} is reported as exited, and its process lives`);
  }
  for (const { id } of pods.values()) await client.call(`removal of ${id}`, (n) => n.sandboxes.remove(id));
  // Never answered, and listed: a kubelet removes them as well.
  for (const { id } of client.node().sandboxes.list()) await client.call(`removal of ${id}`, (n) => n.sandboxes.remove(id));
  await client.settle();
  const listed = [...client.node().sandboxes.list(), ...client.node().containers.list()].map(({ id }) => id);
  hold('nothing left', listed.length === 0, `listed: ${listed.join(', ')}`);
  if (play.isFaultless) hold('nothing left', leftovers(world).length === 0, () => leftovers(world).join(', '));
  // A failed creation may leave its traces until the next start, which removes them.
  await client.restart(() => undefined);
  const rows = world.database.read('SELECT id FROM sandbox UNION ALL SELECT id FROM container').map(({ id }) => `row ${String(id)}`);
  hold('nothing left', rows.length + leftovers(world).length === 0, () => [...rows, ...leftovers(world)].join(', '));
}

const oddsOf = ([crash, fail, slow]: readonly number[]): Odds => ({
  crash: crash === 1 ? 0.02 : 0,
  fail: fail === 1 ? 0.03 : 0,
  slow: slow === 1 ? 0.03 : 0,
});

/** One history of pods and containers. */
export const playPods: PlayHistory = async (decisions, tell): Promise<HistoryResult> => {
  const scheduler = createScheduler(decisions);
  decisions.begin('begin');
  const odds = oddsOf([decisions.weigh('crashes', [0.6]), decisions.weigh('failures', [0.6]), decisions.weigh('slowness', [0.4])]);
  const steps = decisions.weigh('rare events', [0.6]) === 1 ? rare : ordinary;
  const count = 10 + decisions.choose('steps', 25);
  // Most monitors write at once; some within the time that the watch gives them; a few are lost.
  const world = emptyWorld(scheduler, tell, (write, lose) => {
    const fate = decisions.weigh('monitor', [0.3, 0.05]);
    if (fate === 0) write();
    else if (fate === 1) scheduler.later(1 + decisions.choose('monitor is late by', 4_000), write);
    else lose();
  });
  try {
    const client = await createClient({
      ...{ scheduler, odds, tell, troubles: world.troubles },
      boot: (chosen) => bootPods(world, chosen),
      passes: (cause) => isPortcullisError(cause) && passing.has(cause.code),
    });
    const play: Play = {
      ...{ world, client, pods: new Map(), containers: new Map(), choose: decisions.choose },
      isFaultless: odds.crash + odds.fail === 0 && steps === ordinary,
      pick: (about, values) => values[decisions.choose(about, values.length)],
    };
    for (let step = 1; step <= count; step += 1) {
      decisions.begin(String(step));
      const [name, act] = steps[decisions.choose('step', steps.length)] ?? ['', pause];
      if (name !== '') tell(`${step} ${name}`);
      await act(play);
      // Exits reach the record in their own time.
      await client.settle();
      check(play);
    }
    await finish(play);
    return { steps: count, crashes: client.crashes() };
  } catch (cause) {
    if (!isPortcullisError(cause)) throw cause;
    throw new Broken('everything ends', `a request fails for good: ${cause.message}`);
  } finally {
    world.database.close();
  }
};
