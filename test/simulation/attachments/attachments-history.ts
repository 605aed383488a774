import { isPortcullisError } from '../../../base/errors/index.ts';
import { createClient } from '../engine/client.ts';
import { createTroubles } from '../engine/faults.ts';
import type { HistoryResult, PlayHistory } from '../engine/history.ts';
import { hold } from '../engine/invariants.ts';
import { choicesOf, playSteps } from '../engine/play-steps.ts';
import { createScheduler } from '../engine/scheduler.ts';
import { withClocksOf } from '../engine/timers.ts';
import { bootAttachments } from './attachments-node.ts';
import type { AttachmentsWorld } from './attachments-node.ts';
import { check, checkNothingLeft, checkNothingStands, checkRules } from './check.ts';
import { createHost } from './host.ts';
import type { Host } from './host.ts';
import { useAttachmentsMachine } from './machine.ts';
import { endPod, isOpen } from './pods.ts';
import type { Play } from './pods.ts';
import { addressCall, stepsOf } from './steps.ts';
import { createStoredRows } from './stored-rows.ts';
import { loadNetworkThread } from './threads.ts';

await loadNetworkThread();

/**
 * Failures that faults explain: of the disk, of the kernel, of a lost thread, and of objects whose removal is
 * still in progress.
 */
const passing =
  /^(STORAGE_(DISK_FULL|IO|NO_ACCESS|NO_DESCRIPTORS|NO_MEMORY)|(NETWORK_)?KERNEL_(ENOMEM|ENOBUFS|EMFILE)|NETWORK_ENGINE_LOST|NETWORK_(ADDRESS|HOST_PORT)_TAKEN|NETWORK_ADDRESSES_EXHAUSTED|SIMULATED_FAULT)$/;

/**
 * Stops the faults: objects that another program removed are restored without a request, and nothing is left
 * after everything is removed.
 */
async function finish(play: Play): Promise<void> {
  const { world, client, pods, holders } = play;
  client.stopFaults();
  // The longest pause between two attempts to restore a link.
  await client.wait(65_000);
  const { linksLost } = await client.call('figures', ({ engine }) => engine.figures());
  check(play, false);
  await checkRules(play);
  hold('true attachments', linksLost === 0, `${linksLost} links are shown as lost`);
  for (const pod of pods.values()) {
    await client.call(`detachment of ${pod.id}`, ({ engine }) => engine.detach(pod.id));
    pod.classes = new Set(['deny']);
    pods.delete(pod.id);
    endPod(play, pod);
  }
  await client.wait(6_000);
  for (const id of holders.keys()) {
    await client.call(`end of the lease of ${id}`, ({ engine }) => engine.callPlugin(addressCall('del', id)));
    holders.delete(id);
  }
  check(play, false);
  checkNothingLeft(play);
  await client.call('end of the network', ({ engine }) => engine.close({ removeAll: true }));
  checkNothingStands(play);
  world.report('the network is taken down');
}

/** Plays one history of attachments. */
export const playAttachments: PlayHistory<unknown> = async (decisions, report): Promise<HistoryResult> => {
  const scheduler = createScheduler(decisions);
  decisions.begin('begin');
  const [crash, fail, slow] = [
    decisions.weigh('crashes', [0.5]),
    decisions.weigh('failures', [0.6]),
    decisions.weigh('slowness', [0.3]),
  ];
  const odds = { crash: crash * 0.003, fail: fail * 0.01, slow: slow * 0.01 };
  const count = 6 + decisions.choose('steps', 14);
  let played: Play | undefined;
  const mayPass = (hostInterface: string): boolean =>
    [...(played?.pods.values() ?? [])].some(
      (pod) => pod.hostInterface === hostInterface && (pod.isMeddledWith || [...pod.classes].some(isOpen)),
    );
  const newHost = (): Host => createHost({ scheduler, mayPass, isOpened: () => played?.rulesTaken === true });
  const world: AttachmentsWorld = {
    ...{
      scheduler,
      report,
      troubles: createTroubles(scheduler),
      rows: createStoredRows(),
      host: newHost(),
      bootId: 'boot',
    },
  };
  const restartMachine = async (play: Play): Promise<void> => {
    report('† the machine starts again');
    await play.client.restart(() => {
      world.host = newHost();
      world.bootId = `${world.bootId}'`;
      play.pods.clear();
      play.holders.clear();
      play.rulesTaken = false;
    });
  };
  const { ordinary, rare } = stepsOf(restartMachine);
  const steps = decisions.weigh('rare events', [0.7]) === 1 ? rare : ordinary;
  const open = async (): Promise<Play> => {
    const client = await createClient({
      ...{ scheduler, odds, report, troubles: world.troubles },
      boot: (chosen) => bootAttachments(world, chosen),
      passes: (cause) => isPortcullisError(cause) && passing.test(cause.code),
    });
    return (played = {
      ...{ world, client, pods: new Map(), holders: new Map(), count: 0, rulesTaken: false },
      ...choicesOf(decisions),
    });
  };
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
    useAttachmentsMachine(undefined);
    world.rows.close();
  }
};
