import { isPortcullisError } from '../../../base/errors/index.ts';
import { createClient } from '../engine/client.ts';
import type { Odds } from '../engine/faults.ts';
import type { HistoryResult, PlayHistory } from '../engine/history.ts';
import { hold } from '../engine/invariants.ts';
import { choicesOf, playSteps } from '../engine/play-steps.ts';
import { bootPods } from './pods-node.ts';
import { ordinary, rare } from './pods-steps.ts';
import type { Play } from './pods-steps.ts';
import { createScheduler } from '../engine/scheduler.ts';
import { checkWorld, emptyWorld, leftovers } from './world.ts';
import type { World } from './world.ts';

/** Failures that faults explain: a stop gives up when a call that it needs fails or is slow for a minute. */
const passing = new Set(['SIMULATED_FAULT', 'RUNTIME_STOP_STUCK', 'RUNTIME_EXIT_UNKNOWN']);

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
    if (started)
      hold(
        'lasting answers',
        ['running', 'exited'].includes(record.phase),
        `started container ${id} is ${record.phase}`,
      );
    if (record.phase !== 'exited' || record.reason === 'StartError') continue;
    const code = world.processes.get(id)?.exit?.code;
    hold(
      'true exits',
      record.exitCode === code,
      `${id}: ${record.exitCode} is recorded, ${code ?? 'nothing'} is true`,
    );
  }
}

/**
 * Stops the faults: work in progress ends, every request succeeds, and nothing is left after everything is
 * removed.
 */
async function finish(play: Play): Promise<void> {
  const { world, client, pods, containers } = play;
  client.stopFaults();
  await client.wait(600_000);
  check(play);
  for (const { id } of containers.values()) {
    const { phase } = client.node().containers.require(id);
    const isDead = world.processes.get(id)?.state === 'dead';
    hold(
      'everything ends',
      !isDead || phase === 'exited',
      `the process of ${id} has ended, and its record says ${phase}`,
    );
  }
  for (const { id, phase } of client.node().containers.list()) {
    const isDead = (world.processes.get(id)?.state ?? 'dead') === 'dead';
    hold('nothing left', phase !== 'exited' || isDead, `${id} is reported as exited, and its process lives`);
  }
  for (const { id } of pods.values()) await client.call(`removal of ${id}`, (n) => n.sandboxes.remove(id));
  // These were never answered, but are listed: a kubelet removes them as well.
  for (const { id } of client.node().sandboxes.list())
    await client.call(`removal of ${id}`, (n) => n.sandboxes.remove(id));
  await client.settle();
  const listed = [...client.node().sandboxes.list(), ...client.node().containers.list()].map(({ id }) => id);
  hold('nothing left', listed.length === 0, `listed: ${listed.join(', ')}`);
  if (play.isFaultless)
    hold('nothing left', leftovers(world).length === 0, () => leftovers(world).join(', '));
  // A failed creation may leave traces until the next start, which removes them.
  await client.restart(() => undefined);
  const rows = world.database
    .read('SELECT id FROM sandbox UNION ALL SELECT id FROM container')
    .map(({ id }) => `row ${String(id)}`);
  hold('nothing left', rows.length + leftovers(world).length === 0, () =>
    [...rows, ...leftovers(world)].join(', '),
  );
}

const oddsOf = ([crash, fail, slow]: readonly number[]): Odds => ({
  crash: crash === 1 ? 0.02 : 0,
  fail: fail === 1 ? 0.03 : 0,
  slow: slow === 1 ? 0.03 : 0,
});

/** Observes the world of a history before anything happens in it. */
type Watch = { readonly pods?: (world: World) => void };

/** Plays one history of pods and containers. */
export const playPods: PlayHistory<Watch> = async (decisions, report, watch): Promise<HistoryResult> => {
  const scheduler = createScheduler(decisions);
  decisions.begin('begin');
  const odds = oddsOf([
    decisions.weigh('crashes', [0.6]),
    decisions.weigh('failures', [0.6]),
    decisions.weigh('slowness', [0.4]),
  ]);
  const steps = decisions.weigh('rare events', [0.6]) === 1 ? rare : ordinary;
  const count = 10 + decisions.choose('steps', 25);
  // Most monitors write at once; some write within the time that the watch allows; a few are lost.
  const world = emptyWorld(scheduler, report, (write, lose) => {
    const fate = decisions.weigh('monitor', [0.3, 0.05]);
    if (fate === 0) write();
    else if (fate === 1) scheduler.later(1 + decisions.choose('monitor is late by', 4_000), write);
    else lose();
  });
  watch?.pods?.(world);
  const open = async (): Promise<Play> => ({
    ...{ world, pods: new Map(), containers: new Map(), ...choicesOf(decisions) },
    client: await createClient({
      ...{ scheduler, odds, report, troubles: world.troubles },
      boot: (chosen) => bootPods(world, chosen),
      passes: (cause) => isPortcullisError(cause) && passing.has(cause.code),
    }),
    isFaultless: odds.crash + odds.fail === 0 && steps === ordinary,
  });
  // Exits are recorded with a delay.
  const settle = ({ client }: Play): Promise<void> => client.settle();
  try {
    return await playSteps({
      ...{ decisions, report, steps, count, open, settle, check, finish },
      crashes: ({ client }) => client.crashes(),
    });
  } finally {
    world.database.close();
  }
};
