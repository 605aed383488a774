import { isPortcullisError } from '../../../base/errors/index.ts';
import type { LayerMapping } from '../../../runtime/images/types.ts';
import { slowRenames } from '../engine/faults.ts';
import { jumpByHours, troubleAmong } from '../engine/node-steps.ts';
import { Broken, hold } from '../engine/invariants.ts';
import type { Step } from '../engine/play-steps.ts';
import { storeRoot } from './images-node.ts';
import type { ImagesNode, ImagesWorld } from './images-node.ts';
import { shown } from './machine.ts';
import { answered, checkLayer, openPolicy, passes, withoutB } from './play.ts';
import type { OpenPull, Play } from './play.ts';
import { images } from './registry.ts';
import type { SimulatedImage } from './registry.ts';
import { loseWorkers } from './worker.ts';

const host = 'registry.example';
const admits = (world: ImagesWorld, { repository }: SimulatedImage): boolean =>
  repository.startsWith('open/') && (world.policy === openPolicy || repository !== 'open/b');

/** Begins a request next to those that are open. */
function begin(play: Play, what: string, body: () => Promise<void>): void {
  play.world.report(`  ${what} begins`);
  const request = body()
    .catch((cause: unknown) => {
      play.failure ??= { cause };
    })
    .finally(() => play.open.delete(request));
  play.open.add(request);
}

function pull(play: Play): Promise<void> {
  const { client, world, known, removals, removing, pulls, choose } = play;
  // The image of the previous pull is as frequent as all others together: kubelets repeat a pull that has
  // failed.
  const chosen = images[choose('image', 2 * images.length)] ?? play.lastPulled ?? images[0];
  if (chosen === undefined) return Promise.resolve();
  play.lastPulled = chosen;
  const moves = chosen.repository.startsWith('open/') && choose('by a tag that moves', 3) === 1;
  const reference = `${host}/${moves ? 'open/moving' : chosen.repository}:1`;
  if (moves) {
    world.tags.set('open/moving:1', chosen.digest);
    for (const one of known.values()) if (one.reference === reference) one.reference = '';
  }
  const own: OpenPull = { reference, isAlone: true, stop: new AbortController() };
  for (const one of pulls) if (one.reference === reference) own.isAlone = one.isAlone = false;
  pulls.add(own);
  const before = { removals: new Map(removals), policy: play.policyChanges };
  begin(play, `pull of ${reference}`, async () => {
    const pulled = await client
      .start(`pull of ${reference}`, (n) =>
        n.store.pull({ reference, namespace: '', signal: own.stop.signal }),
      )
      .catch((cause: unknown) => {
        if (isPortcullisError(cause) && cause.code === 'IMAGES_CANCELLED' && own.stop.signal.aborted)
          return undefined;
        if (!isPortcullisError(cause) || cause.code !== 'IMAGES_DENIED') throw cause;
        const isTrue = !moves && (!admits(world, chosen) || before.policy !== play.policyChanges);
        hold('verdict before use', isTrue, `pull of ${reference}: ${cause.message}`);
        return undefined;
      })
      .finally(() => pulls.delete(own));
    if (pulled === undefined) return;
    const { id, layers } = pulled.image;
    const image = images.find((one) => one.id === id);
    hold('verdict before use', image?.repository.startsWith('open/') === true, `${reference} was pulled`);
    world.report(`  pull of ${reference} is answered`);
    if (before.removals.get(id) !== removals.get(id) || (removing.get(id) ?? 0) > 0) return;
    for (const layer of layers) checkLayer(world, layer, `${reference}, just pulled,`);
    known.set(id, { image, reference: own.isAlone || !moves ? reference : '' });
  });
  return Promise.resolve();
}

/** Cancels an open pull: it may be done already. */
function cancelPull({ world, pulls, pick }: Play): Promise<void> {
  const one = pick('pull', [...pulls]);
  if (one !== undefined) world.report(`  the pull of ${one.reference} is cancelled`);
  one?.stop.abort(new Error('the client cancelled the call'));
  return Promise.resolve();
}

function forget({ known, removals }: Play, id: string): void {
  removals.set(id, (removals.get(id) ?? 0) + 1);
  known.delete(id);
}

function remove(play: Play): Promise<void> {
  const { client, removing, choose } = play;
  const image = images[choose('image', images.length)];
  if (image === undefined) return Promise.resolve();
  const { id, repository } = image;
  forget(play, id);
  removing.set(id, (removing.get(id) ?? 0) + 1);
  begin(play, `removal of ${repository}`, async () => {
    await client.start(`removal of ${repository}`, (n) => n.store.remove(id));
    forget(play, id);
    removing.set(id, (removing.get(id) ?? 0) - 1);
  });
  return Promise.resolve();
}

const idsOfPod = 65_536;

/**
 * Assigns ids as a kubelet does: the first range that no other pod has, until everything that used it was
 * removed.
 */
function giveIds({ ids, report }: ImagesWorld, container: string): LayerMapping {
  const taken = new Set([...ids.values()].map(({ uids }) => uids.hostId));
  let hostId = idsOfPod;
  while (taken.has(hostId)) hostId += idsOfPod;
  report(`  ${container} has the ids from ${hostId} on`);
  const range = { hostId, length: idsOfPod };
  const mapping = { userNamespace: `/ns/${container}`, uids: range, gids: range };
  ids.set(container, mapping);
  return mapping;
}

/** Uses an image as the creation of a container does: decides, then mounts. */
function use(play: Play): Promise<void> {
  const { client, world, known, removals, containers, choose, pick } = play;
  const entry = pick('image', [...known.values()]);
  if (entry === undefined) return Promise.resolve();
  const { image, reference } = entry;
  play.serial += 1;
  const container = `c${play.serial}`;
  const asVolume = choose('as a volume', 4) === 1;
  const mapping = choose('ids of its own', 3) === 1 ? giveIds(world, container) : undefined;
  const before = { removals: removals.get(image.id), policy: play.policyChanges };
  containers.set(container, image.id);
  const request = async ({ store }: ImagesNode): Promise<void> => {
    const record = store.find(image.id);
    if (record === undefined)
      throw new Broken('lasting answers', `${image.repository} was pulled, and is not listed`);
    await store.decideForRun({ image: record, userSpecified: '', namespace: '' });
    world.admitted.add(container);
    await (asVolume
      ? store.mountVolume(container, 0, record, mapping)
      : store.mountRootfs(container, record, mapping));
  };
  begin(play, `use of ${image.repository} by ${container}`, async () => {
    try {
      await client.start(`use of ${image.repository} by ${container}`, request);
      world.report(`  ${container} is mounted`);
      const helper = [...world.mounts].find(
        ([at, { source }]) => source !== undefined && at.split('/').includes(container),
      );
      hold(
        'nothing left',
        helper === undefined,
        () => `${helper?.[0] ?? ''} is still mounted although ${container} is mounted`,
      );
      const isDenied =
        before.policy === play.policyChanges && world.policy === withoutB && reference === `${host}/open/b:1`;
      hold('verdict before use', !isDenied, `${container} uses ${reference}, which the policy denies`);
    } catch (cause) {
      const isBeside = before.removals !== removals.get(image.id);
      const isRefused = isPortcullisError(cause) && cause.code === 'IMAGES_DENIED';
      const isRefusal = isRefused && (world.policy !== openPolicy || before.policy !== play.policyChanges);
      const isGone =
        (isPortcullisError(cause) && cause.code === 'IMAGES_NOT_FOUND') || cause instanceof Broken;
      if (!isRefusal && !(isBeside && isGone)) {
        if (isPortcullisError(cause) && isGone)
          throw new Broken('lasting answers', `${image.repository}: ${cause.message}`);
        throw cause;
      }
      await client.start(`removal of ${container}`, (n) => n.store.removeRootfs(container));
      containers.delete(container);
      world.ids.delete(container);
    }
  });
  return Promise.resolve();
}

async function endUse(play: Play): Promise<void> {
  const { client, world, containers, pick } = play;
  await answered(play);
  const container = pick('container', [...containers.keys()]);
  if (container === undefined) return;
  begin(play, `removal of ${container}`, async () => {
    await client.start(`removal of ${container}`, (n) => n.store.removeRootfs(container));
    containers.delete(container);
    world.ids.delete(container);
  });
}

export function changePolicy(play: Play): Promise<void> {
  play.policyChanges += 1;
  play.world.policy = play.world.policy === openPolicy ? withoutB : openPolicy;
  play.world.report(
    `  the policy ${play.world.policy === openPolicy ? 'admits all of open/' : 'denies open/b'}`,
  );
  return Promise.resolve();
}

/** Stops the daemon in an orderly way, and starts it again. */
async function restartDaemon(play: Play): Promise<void> {
  const { client } = play;
  await answered(play);
  await stopInOrder(play);
  await client.restart(() => undefined);
}

/** Whether it succeeds or not, the process ends. */
async function stopInOrder({ client }: Play): Promise<void> {
  await client.call('an orderly stop', (n) =>
    n.store.close().catch((cause: unknown) => {
      if (!passes(cause)) throw cause;
    }),
  );
}

async function killDaemon({ client, world }: Play): Promise<void> {
  world.report('  kill -9');
  await client.restart(() => undefined);
}

async function cutPower(play: Play): Promise<void> {
  const { client, world, choose } = play;
  if (choose('after an orderly stop', 3) === 1) {
    await answered(play);
    await stopInOrder(play);
  }
  const lies = choose('the disk has not kept what it confirmed', 3) === 1;
  world.report(`† the power is lost${lies ? ', and the disk has lied' : ''}`);
  await client.restart(() => {
    world.disk.losePower(world.scheduler.decisions);
    world.database.losePower(world.scheduler.decisions);
    world.mounts.clear();
    world.bootId = `${world.bootId}'`;
    if (lies) damageLayer(play);
  });
}

/** Empties a file of a layer: the layer must be restored from its blob before it is used. */
function damageLayer({ world, pick }: Play): void {
  const path = pick(
    'damaged',
    world.disk.list(`${storeRoot}/layers`).filter((one) => !one.endsWith('/')),
  );
  if (path === undefined) return;
  world.report(`  ${shown(path)} is empty`);
  const file = world.disk.file(`${storeRoot}/layers/${path}`);
  [file.text, file.kept] = ['', ''];
}

function endWorkers({ world }: Play): Promise<void> {
  world.report('  the Workers for layers end');
  loseWorkers();
  return Promise.resolve();
}

export const ordinary: readonly Step<Play>[] = [
  ['', () => Promise.resolve()],
  ['pull', pull],
  ['pull', pull],
  ['pull', pull],
  ['remove', remove],
  ['remove', remove],
  ['use', use],
  ['use', use],
  ['end a use', endUse],
  ['wait for answers', answered],
  ['restart the daemon', restartDaemon],
];
export const rare: readonly Step<Play>[] = [
  ...ordinary,
  ['kill the daemon', killDaemon],
  ['lose the power', cutPower],
  ['lose the power', cutPower],
  ['trouble', troubleAmong(['the disk is full', 'no descriptors', slowRenames])],
  ['jump of the clock', jumpByHours],
  ['loss of the Workers', endWorkers],
  ['cancel a pull', cancelPull],
  ['cancel a pull', cancelPull],
  ['change the policy', changePolicy],
];
