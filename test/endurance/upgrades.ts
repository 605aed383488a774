/**
 * `npm run test:upgrades [-- CHECKOUT] [--pods N] [--upgrades N] [--lanes N]`: see README.md. Runs in its own
 * namespaces.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ContainerState } from '../../runtime/client.ts';
import { exitOf, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import { livePod, newWork } from './lanes.ts';
import type { Ask } from './lanes.ts';

const { values, positionals } = parseArgs({
  options: {
    pods: { type: 'string', default: '100' },
    upgrades: { type: 'string', default: '10' },
    lanes: { type: 'string', default: '4' },
    verbose: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const [checkout] = positionals;
const before = checkout === undefined ? [] : [resolve(checkout, 'packaging/bin/portcullisd')];
const ownCheckout = join(import.meta.dirname, '../..');
/** How long a client repeats one request, as a kubelet does in each of its sync loops. */
const patienceMs = 60_000;

interface Lasting {
  readonly pod: Pod;
  readonly containerId: string;
  readonly pid: number;
  readonly startedAt: bigint;
}

const stage = await openStage({ program: before });
const runtime = () => stage.daemon.cri.runtime;
const work = await newWork(stage);
const failures: string[] = [];
let over = false;
try {
  const image = await stage.pull((await stage.publish('app/a:1')).reference);
  const lasting: Lasting[] = [];
  for (let index = 0; index < Number(values.pods); index += 1) lasting.push(await startLasting(image, index));

  const ask: Ask = async (name, request) => {
    const until = performance.now() + patienceMs;
    for (let tries = 0; ; tries += 1) {
      try {
        const answer = await request();
        if (tries > 0) work.repeated += 1;
        return answer;
      } catch (thrown) {
        if (values.verbose) console.log(`${name}: ${String(thrown)}`);
        if (performance.now() > until)
          throw new Error(`${name} still fails after ${patienceMs / 1000} s`, { cause: thrown });
        await pause(50);
      }
    }
  };
  const lane = async (number: number): Promise<void> => {
    for (let round = 1; !over; round += 1) await livePod(stage, image, number, round, ask, work);
  };
  const load = Promise.allSettled(Array.from({ length: Number(values.lanes) }, (_, number) => lane(number)));
  try {
    for (let turn = 1; turn <= Number(values.upgrades); turn += 1) {
      const ends = await startEnding(lasting[turn % lasting.length]?.pod, image, turn);
      const work0 = { ...work };
      const reported = performance.now();
      await stage.restart({ program: turn % 2 === 1 ? [] : before });
      const serving = performance.now() - reported;
      expectDaemonOf(turn % 2 === 1 || checkout === undefined ? ownCheckout : resolve(checkout));
      await expectAll(lasting);
      for (const [containerId, code] of ends)
        assert.equal((await exitOf(stage, containerId)).exitCode, code, 'it ended meanwhile');
      await pause(2000);
      console.log(
        `upgrade ${turn}: SIGTERM to the first answer of the next daemon ${serving.toFixed(0)} ms; ${lasting.length} containers run on; ` +
          `${work.pods - work0.pods} pods came and went, ${work.repeated - work0.repeated} requests succeeded when repeated`,
      );
    }
  } finally {
    over = true;
    for (const end of await load) if (end.status === 'rejected') failures.push(explain(end.reason));
  }
  for (const { pod } of lasting) {
    const numbers = readFileSync(join(stage.logs, pod.config.metadata?.name ?? '', 'lives/0.log'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => Number(line.split(' ').at(-1)));
    const gap = numbers.findIndex((number, index) => number !== index + 1);
    if (gap !== -1)
      failures.push(
        `line ${gap + 1} of the log of ${pod.config.metadata?.name ?? ''} is missing or was written twice`,
      );
  }
} catch (thrown) {
  failures.push(explain(thrown));
} finally {
  await stage.close().catch((thrown: unknown) => failures.push(explain(thrown)));
}
if (work.pods === 0) failures.push('no pod was created and removed: there was no load');
for (const failure of failures) console.log(`✖ ${failure}`);
console.log(
  `${values.upgrades} ${checkout === undefined ? 'restarts of this checkout alone' : `switches between ${resolve(checkout)} and this checkout`} under ${work.pods} pods that came and went; ${failures.length} failures`,
);
process.exit(failures.length === 0 ? 0 : 1);

/** Checks that the daemon that answers runs the code of this checkout. */
function expectDaemonOf(folder: string): void {
  const command = readFileSync(`/proc/${stage.daemon.pid}/cmdline`, 'utf8');
  assert.ok(command.includes(`${realpathSync(folder)}/`), `the daemon is ${command.replaceAll('\0', ' ')}`);
}

async function startLasting(image: string, index: number): Promise<Lasting> {
  const pod = await runPod(stage, `lasting-${index}`);
  const count = 'i=0; while :; do i=$((i+1)); echo $i; sleep 1; done';
  const containerId = await runContainer(stage, pod, { name: 'lives', image, command: ['sh', '-c', count] });
  return { pod, containerId, ...(await lifeOf(containerId)) };
}

async function lifeOf(containerId: string): Promise<{ readonly pid: number; readonly startedAt: bigint }> {
  const { info, status } = await runtime().containerStatus({ containerId, verbose: true });
  assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
  return { pid: (JSON.parse(info['info'] ?? '') as { pid: number }).pid, startedAt: status?.startedAt ?? 0n };
}

/**
 * Starts three containers that end while no daemon runs, or about then. Returns the exit code of each by id.
 */
async function startEnding(
  pod: Pod | undefined,
  image: string,
  turn: number,
): Promise<ReadonlyMap<string, number>> {
  assert.ok(pod);
  const ends = new Map<string, number>();
  for (let index = 0; index < 3; index += 1) {
    const code = randomInt(1, 120);
    const command = ['sh', '-c', `sleep 0.${randomInt(1, 9)}; exit ${code}`];
    ends.set(await runContainer(stage, pod, { name: `ends-${turn}-${index}`, image, command }), code);
  }
  return ends;
}

/**
 * Checks that each is listed, that its process is the one that was started, and that a command runs in one of
 * them.
 */
async function expectAll(lasting: readonly Lasting[]): Promise<void> {
  const listed = new Set((await runtime().listContainers({})).containers.map(({ id }) => id));
  for (const { containerId, pid, startedAt } of lasting) {
    assert.ok(listed.has(containerId), `${containerId} is listed`);
    assert.deepEqual(await lifeOf(containerId), { pid, startedAt }, `${containerId} was not started again`);
  }
}

function explain(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return `${thrown.message}${thrown.cause instanceof Error ? `: ${thrown.cause.message}` : ''}`;
}
