import { isPortcullisError } from '../../../base/errors/index.ts';
import { createClient } from '../engine/client.ts';
import { createTroubles } from '../engine/faults.ts';
import type { HistoryResult, PlayHistory } from '../engine/history.ts';
import { hold } from '../engine/invariants.ts';
import { choicesOf, playSteps } from '../engine/play-steps.ts';
import { createScheduler } from '../engine/scheduler.ts';
import { withClocksOf } from '../engine/timers.ts';
import { wrongServices } from './kernel-check.ts';
import { useServicesMachine } from './machine.ts';
import { createStoredNetwork } from './network-database.ts';
import { createNfTables } from './nf-tables.ts';
import { bootServices } from './services-node.ts';
import type { ServicesWorld } from './services-node.ts';
import { ordinary, rare } from './steps.ts';
import type { Play } from './steps.ts';

/** Failures that faults explain: of the disk, of the kernel, and of a lost thread. */
const passing =
  /^(STORAGE_(DISK_FULL|IO|NO_ACCESS|NO_DESCRIPTORS|NO_MEMORY)|NETWORK_KERNEL_(ENOMEM|ENOBUFS|EMFILE)|NETWORK_SERVICES_FAILED|SIMULATED_FAULT)$/;

/** Checks that each answered request is in the kernel, unless another program has changed it. */
function check({ world, declared, meddling }: Play, mayEnd = true): void {
  if (meddling === 'now') return;
  const wrong = wrongServices(world.kernel, [...declared.values()], {
    mayEnd,
    mayHaveSlots: meddling === 'before',
  });
  hold('true services', wrong.length === 0, () => wrong.join('; '));
}

/**
 * Stops the faults: objects that another program removed are restored without a request, and nothing is left
 * after everything is removed.
 */
async function finish(play: Play): Promise<void> {
  const { world, client, declared } = play;
  client.stopFaults();
  await client.wait(65_000);
  if (play.meddling === 'now') play.meddling = 'before';
  check(play);
  for (const [name, { source }] of declared) {
    await client.call(`removal of ${name}`, ({ services }) => services.remove(source, [name]));
    declared.delete(name);
  }
  check(play);
  // Drains end within the longest grace period.
  await client.wait(40_000);
  check(play, false);
  const rows = ['service', 'service_backend', 'service_drain', 'service_node_port'].flatMap((table) =>
    world.database.read(`SELECT * FROM ${table}`).map((row) => `${table} ${JSON.stringify(row)}`),
  );
  hold('nothing left', rows.length === 0, () => rows.join(', '));
}

/** Plays one history of services. */
export const playServices: PlayHistory<unknown> = async (decisions, report): Promise<HistoryResult> => {
  const scheduler = createScheduler(decisions);
  decisions.begin('begin');
  const [crash, fail, slow] = [
    decisions.weigh('crashes', [0.5]),
    decisions.weigh('failures', [0.6]),
    decisions.weigh('slowness', [0.3]),
  ];
  const odds = { crash: crash * 0.004, fail: fail * 0.02, slow: slow * 0.02 };
  const steps = decisions.weigh('rare events', [0.7]) === 1 ? rare : ordinary;
  const count = 6 + decisions.choose('steps', 14);
  const world: ServicesWorld = {
    ...{
      scheduler,
      report,
      troubles: createTroubles(scheduler),
      database: createStoredNetwork(),
      kernel: createNfTables(),
      bootId: 'boot',
    },
  };
  const open = async (): Promise<Play> => ({
    ...{ world, declared: new Map(), meddling: 'never', ...choicesOf(decisions) },
    client: await createClient({
      ...{ scheduler, odds, report, troubles: world.troubles },
      boot: (chosen) => bootServices(world, chosen),
      passes: (cause) => isPortcullisError(cause) && passing.test(cause.code),
    }),
  });
  const settle = ({ client, choose }: Play): Promise<void> =>
    client.settle([0, 3, 20][choose('turns', 3)] ?? 0);
  try {
    return await withClocksOf(scheduler, () =>
      playSteps({
        ...{ decisions, report, steps, count, open, settle, finish },
        check: (play) => check(play),
        crashes: ({ client }) => client.crashes(),
      }),
    );
  } finally {
    useServicesMachine(undefined);
    world.database.close();
  }
};
