import { createClient } from '../engine/client.ts';
import { createStoredDatabase } from '../engine/database.ts';
import { createTroubles } from '../engine/faults.ts';
import type { HistoryResult, PlayHistory } from '../engine/history.ts';
import { Broken, hold } from '../engine/invariants.ts';
import { choicesOf, playSteps } from '../engine/play-steps.ts';
import { createScheduler } from '../engine/scheduler.ts';
import { createDisk } from './disk.ts';
import type { Inode } from './disk.ts';
import { bootImages, isWhole, storeRoot } from './images-node.ts';
import type { ImagesWorld } from './images-node.ts';
import { shown, useMachine } from './machine.ts';
import { answered, checkLayer, openPolicy, passes } from './play.ts';
import type { Play } from './play.ts';
import { images, layersByFolder } from './registry.ts';
import { changePolicy, ordinary, rare } from './steps.ts';
import { withTimersOf } from '../engine/timers.ts';

/** Returns the folders that have a name outside of the trash. */
function named(at: Inode | undefined, found: Set<Inode>): Set<Inode> {
  if (at === undefined) return found;
  found.add(at);
  if (at.kind === 'folder') for (const below of at.entries.values()) named(below, found);
  return found;
}

/** Checks the conditions that hold at every moment. */
function check({ world, client, known, failure }: Play): void {
  if (failure !== undefined) throw failure.cause;
  const { database, disk, mounts } = world;
  const unadmitted = database.read(
    `SELECT image_name.name AS name FROM image_name WHERE NOT EXISTS
       (SELECT 1 FROM verdict_log WHERE verdict_log.id = image_name.verdict_id AND outcome = 'admit')`,
  );
  hold(
    'verdict before use',
    unadmitted.length === 0,
    () => `recorded without a verdict: ${unadmitted.map(({ name }) => String(name)).join(', ')}`,
  );
  const { store } = client.node();
  for (const { image, reference } of known.values()) {
    hold(
      'lasting answers',
      store.find(image.id)?.id === image.id,
      `${image.repository} was pulled, and is not listed`,
    );
    if (reference !== '')
      hold(
        'name reservation',
        store.find(reference)?.id === image.id,
        `${reference} refers to another image`,
      );
  }
  if (mounts.size === 0) return;
  const given = new Set([...world.ids.values()].map(({ userNamespace }) => userNamespace));
  for (const [target, { ids }] of mounts)
    hold(
      'true ids',
      ids === undefined || given.has(ids),
      `${target} shows ids that were released, and may belong to another pod`,
    );
  const found = named(disk.find(storeRoot), new Set());
  const trash = named(disk.find(`${storeRoot}/trash`), new Set());
  for (const [target, { lowers }] of mounts)
    for (const lower of lowers) {
      const exists =
        found.has(lower) &&
        !trash.has(lower) &&
        [...layersByFolder.values()].some((layer) => isWhole(lower, layer));
      hold('whole images', exists, `a layer below ${target} was removed`);
    }
}

/**
 * Stops the faults: every request succeeds, every image is whole, and nothing is left after everything is
 * removed.
 */
async function finish(play: Play): Promise<void> {
  const { world, client, known, containers } = play;
  client.stopFaults();
  await answered(play);
  await client.wait(600_000);
  check(play);
  if (world.policy !== openPolicy) await changePolicy(play);
  await client.call('the check of all layers', (n) => n.store.checkLayers());
  for (const { id, layers } of client.node().store.list())
    for (const layer of layers) checkLayer(world, layer, `listed image ${shown(id)}`);
  for (const { image } of known.values()) {
    const container = `last-${image.repository.replace('/', '-')}`;
    containers.set(container, image.id);
    await client.call(`use of ${image.repository}`, async ({ store }) => {
      const record = store.find(image.id);
      if (record === undefined)
        throw new Broken('lasting answers', `${image.repository} was pulled, and is not listed`);
      await store.decideForRun({ image: record, userSpecified: '', namespace: '' });
      world.admitted.add(container);
      await store.mountRootfs(container, record);
    });
  }
  check(play);
  for (const container of containers.keys()) {
    await client.call(`removal of ${container}`, (n) => n.store.removeRootfs(container));
    world.ids.delete(container);
  }
  for (const { id } of client.node().store.list()) await client.call('removal', (n) => n.store.remove(id));
  containers.clear();
  await client.wait(1_000);
  // The next start removes everything that a failed request could not roll back.
  await client.restart(() => undefined);
  await client.wait(1_000);
  const files = [
    'ingest',
    'staging',
    'blobs/sha256',
    'layers',
    'rootfs',
    'volumes',
    'mapped',
    'trash',
  ].flatMap((name) => world.disk.list(`${storeRoot}/${name}`).map((path) => `${name}/${shown(path)}`));
  const rows = world.database
    .read(
      'SELECT id FROM image UNION ALL SELECT name FROM image_name UNION ALL SELECT folder FROM image_layer',
    )
    .map(({ id }) => `row ${shown(String(id))}`);
  const mounts = [...world.mounts.keys()].map((target) => `mount ${target}`);
  hold('nothing left', files.length + rows.length + mounts.length === 0, () =>
    [...files, ...rows, ...mounts].join(', '),
  );
}

/** Observes the world of a history before anything happens in it. */
type Watch = { readonly images?: (world: ImagesWorld) => void };

/** Plays one history of images. */
export const playImages: PlayHistory<Watch> = async (decisions, report, watch): Promise<HistoryResult> => {
  const scheduler = createScheduler(decisions);
  decisions.begin('begin');
  const [crash, fail, slow] = [
    decisions.weigh('crashes', [0.5]),
    decisions.weigh('failures', [0.5]),
    decisions.weigh('slowness', [0.3]),
  ];
  const odds = { crash: crash * 0.004, fail: fail * 0.01, slow: slow * 0.01 };
  const steps = decisions.weigh('rare events', [0.7]) === 1 ? rare : ordinary;
  const count = 6 + decisions.choose('steps', 15);
  const world: ImagesWorld = {
    ...{
      scheduler,
      report,
      troubles: createTroubles(scheduler),
      database: createStoredDatabase(),
      disk: createDisk(),
    },
    ...{ mounts: new Map(), policy: openPolicy, bootId: 'boot', admitted: new Set(), ids: new Map() },
    tags: new Map(images.map(({ repository, digest }) => [`${repository}:1`, digest])),
  };
  const containers = new Map<string, string>();
  watch?.images?.(world);
  const open = async (): Promise<Play> => ({
    client: await createClient({
      ...{ scheduler, odds, report, passes, troubles: world.troubles },
      boot: (chosen) => bootImages(world, chosen, () => new Set(containers.keys())),
    }),
    ...{
      world,
      containers,
      known: new Map(),
      removals: new Map(),
      open: new Set(),
      policyChanges: 0,
      serial: 0,
    },
    ...{
      removing: new Map(),
      pulls: new Set(),
      lastPulled: undefined,
      failure: undefined,
      ...choicesOf(decisions),
    },
  });
  const settle = ({ client, choose }: Play): Promise<void> =>
    client.settle([0, 3, 20, 80][choose('turns', 4)] ?? 0);
  try {
    return await withTimersOf(scheduler, () =>
      playSteps({
        ...{ decisions, report, steps, count, open, settle, check, finish },
        crashes: ({ client }) => client.crashes(),
      }),
    );
  } finally {
    useMachine(undefined);
    world.database.close();
  }
};
