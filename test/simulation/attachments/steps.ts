import { isPortcullisError } from '../../../base/errors/index.ts';
import { deleteElements, deleteTable } from '../../../base/netlink/index.ts';
import type { PluginCall } from '../../../cni-plugins/calls/plugin-call.ts';
import { bridgeTable, ipTable } from '../../../cni-plugins/links/rules/rules.ts';
import type { LinkClass, LinkRules } from '../../../cni-plugins/types.ts';
import { troubles } from '../engine/faults.ts';
import { hold } from '../engine/invariants.ts';
import { jumpByHours, troubleAmong } from '../engine/node-steps.ts';
import type { Step } from '../engine/play-steps.ts';
import type { AttachmentsNode } from './attachments-node.ts';
import { bridgeName, endPod, hostPortsOf, leasable, newPod } from './pods.ts';
import type { AttachedPod, Play } from './pods.ts';
import { loseThreads } from './threads.ts';

/** The result of an expected refusal. */
const refused = Symbol('refused');

/**
 * Returns {@link refused} for an expected refusal. @param isDue whether the state explains that refusal; if
 * not, the request must succeed
 */
async function orRefused<T>(
  asking: Promise<T>,
  code: string,
  isDue: () => boolean,
): Promise<T | typeof refused> {
  try {
    return await asking;
  } catch (cause) {
    if (isPortcullisError(cause) && cause.code === code && isDue()) return refused;
    throw cause;
  }
}

const isFull = ({ pods, holders }: Play): boolean => pods.size + holders.size > leasable.length;
const isPortHeld = ({ pods }: Play, pod: AttachedPod): boolean =>
  [...pods.values()].some(
    (other) => other !== pod && hostPortsOf(other).some((port) => hostPortsOf(pod).includes(port)),
  );

const attachThrough = ({ engine }: AttachmentsNode, play: Play, pod: AttachedPod) =>
  orRefused(
    orRefused(engine.attach(pod.request), 'NETWORK_ADDRESSES_EXHAUSTED', () => isFull(play)),
    'NETWORK_HOST_PORT_TAKEN',
    () => isPortHeld(play, pod),
  );

/** Starts a pod as a kubelet does: attaches it, and then opens it as far as its profile allows. */
async function start(play: Play, pod: AttachedPod): Promise<void> {
  const answer = await play.client.start(`attachment of ${pod.id}`, (node) => attachThrough(node, play, pod));
  if (answer === refused) return end(play, pod);
  const ips = answer.ips.map(({ address }) => address.replace(/\/\d+$/u, ''));
  hold(
    'idempotence',
    pod.ips === undefined || pod.ips.join() === ips.join(),
    () => `${pod.id} had ${pod.ips?.join()}, and is answered ${ips.join()}`,
  );
  hold('true attachments', ips.length === 2, () => `${pod.id} has the addresses ${ips.join()}`);
  pod.ips = ips;
  play.world.report(`  ${pod.id} has ${ips.join(' and ')}`);
}

const classes: readonly LinkClass[] = ['user', 'none', 'admin', 'deny'];

const web = { cidr: '10.1.0.0/16', protocol: 'tcp', ports: { low: 80, high: 443 } } as const;
const rules: readonly LinkRules[] = [
  {},
  { egress: [web, { ...web, cidr: '10.2.3.4/32', protocol: 'udp' }] },
  { egress: [], ingress: [web] },
];

async function judge(play: Play, pod: AttachedPod, { linkClass, peers }: Judgement): Promise<void> {
  pod.classes.add(linkClass);
  pod.rules = peers;
  await play.client.start(`class ${linkClass} of ${pod.id}`, ({ engine }) =>
    engine.setClass(pod.id, linkClass, peers),
  );
  pod.classes = new Set([linkClass]);
  play.world.report(`  ${pod.id} is of class ${linkClass}, with ${JSON.stringify(peers)}`);
}

interface Judgement {
  readonly linkClass: LinkClass;
  readonly peers: LinkRules;
}

async function detach({ client, world }: Play, pod: AttachedPod): Promise<void> {
  await client.start(`detachment of ${pod.id}`, ({ engine }) => engine.detach(pod.id));
  world.report(`  ${pod.id} is detached`);
  pod.classes = new Set(['deny']);
  pod.rules = {};
  pod.ips = undefined;
}

async function end(play: Play, pod: AttachedPod): Promise<void> {
  await detach(play, pod);
  play.pods.delete(pod.id);
  endPod(play, pod);
}

const chosen = ({ pods, pick }: Play): AttachedPod | undefined => pick('pod', [...pods.values()]);
const drawClass = ({ pick }: Play): Judgement => ({
  linkClass: pick('class', classes) ?? 'user',
  peers: pick('rules of peers', rules) ?? {},
});

async function attach(play: Play): Promise<void> {
  const pod = newPod(play);
  await play.client.drive(start(play, pod));
  if (pod.ips !== undefined && play.choose('it stays closed', 3) === 0)
    await play.client.drive(judge(play, pod, drawClass(play)));
}

/** Repeats a request: the answer was lost, or the kubelet asks twice. */
async function attachAgain(play: Play): Promise<void> {
  const pod = chosen(play);
  if (pod !== undefined) await play.client.drive(Promise.all([start(play, pod), start(play, pod)]));
}

async function changeClass(play: Play): Promise<void> {
  const pod = chosen(play);
  if (pod !== undefined) await play.client.drive(judge(play, pod, drawClass(play)));
}

async function remove(play: Play): Promise<void> {
  const pod = chosen(play);
  if (pod !== undefined) await play.client.drive(end(play, pod));
}

/**
 * The namespace exists again before the link is gone. A link that another program renamed a moment ago is not
 * found by its name, and is in the way.
 */
async function removeAndAttach(play: Play): Promise<void> {
  const pod = chosen(play);
  if (pod === undefined || pod.isMeddledWith) return;
  await play.client.drive(detach(play, pod));
  await play.client.drive(start(play, pod));
}

/** Sends requests for several pods at a time. */
async function beside(play: Play): Promise<void> {
  const [gone, changed] = [chosen(play), chosen(play)];
  const judgement = drawClass(play);
  const fresh = [newPod(play), newPod(play)];
  await play.client.drive(
    Promise.all([
      ...fresh.map((pod) => start(play, pod)),
      ...(gone === undefined ? [] : [end(play, gone)]),
      ...(changed === undefined || changed === gone ? [] : [judge(play, changed, judgement)]),
    ]),
  );
}

/** Removes the pods that are unknown to a kubelet after its absence. */
async function collect(play: Play): Promise<void> {
  const { client, pods, choose } = play;
  const gone = [...pods.values()].filter(() => choose('nobody knows it', 3) === 1);
  const valid = new Set([...pods.keys()].filter((id) => !gone.some((pod) => pod.id === id)));
  await client.call('collection', ({ engine }) => engine.gc(valid));
  for (const pod of gone) {
    pod.classes = new Set(['deny']);
    pods.delete(pod.id);
    endPod(play, pod);
  }
}

const addressConfig = JSON.stringify({
  ...{ cniVersion: '1.0.0', name: 'pods', type: 'bridge' },
  ipam: {
    type: 'host-local',
    ranges: [[{ subnet: '10.9.0.0/29' }]],
    dataDir: '/nonexistent/of-the-simulation',
  },
});

export const addressCall = (verb: PluginCall['verb'], containerId: string, wanted = ''): PluginCall => ({
  ...{ verb, type: 'host-local', caller: {}, key: { network: 'pods', containerId, interface: 'eth0' } },
  ...{
    netns: `/run/netns/${containerId}`,
    args: wanted === '' ? {} : { IP: wanted },
    path: [],
    config: addressConfig,
  },
});

/**
 * Another runtime requests an address from our address plugin, also one that it names. As the specification
 * requires, DEL comes before a second ADD.
 */
async function lease(play: Play): Promise<void> {
  const { client, holders, pods, choose, pick } = play;
  play.count += 1;
  const id = `h${play.count}`;
  const wanted = choose('a fixed address', 2) === 1 ? (pick('address', leasable) ?? '') : '';
  const isTaken = (): boolean =>
    [...holders.values(), ...[...pods.values()].flatMap(({ ips = [] }) => ips)].includes(wanted);
  holders.set(id, '');
  const answer = await client.call(`address ${wanted} of ${id}`, async ({ engine }) => {
    await engine.callPlugin(addressCall('del', id));
    const adding = engine.callPlugin(addressCall('add', id, wanted));
    return orRefused(
      orRefused(adding, 'NETWORK_ADDRESSES_EXHAUSTED', () => isFull(play)),
      'NETWORK_ADDRESS_TAKEN',
      isTaken,
    );
  });
  if (answer === refused) return void holders.delete(id);
  const given = answer?.ips[0]?.address.replace(/\/\d+$/u, '') ?? '';
  hold(
    'true attachments',
    leasable.includes(given) && (wanted === '' || given === wanted),
    `${id} asks for ${wanted}, and has ${given}`,
  );
  holders.set(id, given);
  play.world.report(`  ${id} has ${given}`);
}

async function giveUpLease({ client, holders, pick }: Play): Promise<void> {
  const id = pick('holder', [...holders.keys()]);
  if (id === undefined) return;
  await client.call(`end of the lease of ${id}`, ({ engine }) => engine.callPlugin(addressCall('del', id)));
  holders.delete(id);
}

/**
 * Another program changes the link of a pod. It does one thing at a time: a link that lost both its group and
 * its name cannot be recognized.
 */
function meddleWithLink(play: Play): Promise<void> {
  const { world, choose } = play;
  const { host } = world;
  const pod = chosen(play);
  const link = pod && host.named(pod.hostInterface);
  if (pod === undefined || link === undefined || pod.isMeddledWith) return Promise.resolve();
  const ways: readonly (readonly [string, () => void])[] = [
    ['deletes', () => host.remove(link)],
    ['takes off its bridge', () => host.change(link, { master: 0 })],
    ['takes down', () => host.change(link, { up: false })],
    ['renames', () => host.change(link, { name: `x${link.index}` })],
    ['gives another group to', () => host.change(link, { group: 0 })],
  ];
  const [what, act] = ways[choose('what', ways.length)] ?? ['', () => undefined];
  world.report(`  another program ${what} ${pod.hostInterface} of ${pod.id}`);
  pod.isMeddledWith = true;
  act();
  if (choose('events are lost', 4) === 1) host.overrun();
  return Promise.resolve();
}

/** The next request notices the change, and its repair may fail. */
async function meddleAndCollect(play: Play): Promise<void> {
  await meddleWithLink(play);
  await collect(play);
}

/** The looks at the events that notice the change fail. */
async function meddleWithLittleMemory(play: Play): Promise<void> {
  const { world, client } = play;
  await meddleWithLink(play);
  world.report('  for 2 s: the kernel has little memory');
  world.troubles.begin('the kernel has little memory', 2_000);
  await client.wait(2_500);
}

function deleteBridge({ world, pods }: Play): Promise<void> {
  const bridge = world.host.named(bridgeName);
  if (bridge === undefined) return Promise.resolve();
  world.report(`  another program deletes ${bridgeName}`);
  for (const pod of pods.values()) pod.isMeddledWith = true;
  world.host.remove(bridge);
  return Promise.resolve();
}

/** Removes rules as `nft flush ruleset` does, or those of one table. */
function takeRules(play: Play): Promise<void> {
  const { world, pick } = play;
  const { nf } = world.host;
  const table = pick('table', [bridgeTable, ipTable]) ?? bridgeTable;
  if (!nf.tables.has(`${table === bridgeTable ? 7 : 2} ${table.name}`)) return Promise.resolve();
  world.report(`  another program removes the rules of family ${table.family}`);
  play.rulesTaken = true;
  world.host.commit([deleteTable(table)]);
  return Promise.resolve();
}

/** Removes one element: the product notices it when it changes that element. */
function takeElement(play: Play): Promise<void> {
  const { world } = play;
  const pod = chosen(play);
  const place = pod && Buffer.from(pod.hostInterface.padEnd(16, '\0'));
  const egress = world.host.nf.tables.get('7 portcullis')?.sets.get('egress');
  if (pod === undefined || place === undefined || egress?.has(place.toString('hex')) !== true)
    return Promise.resolve();
  world.report(`  another program removes the element of ${pod.hostInterface}`);
  play.rulesTaken = true;
  world.host.commit(deleteElements(bridgeTable, 'egress', [{ key: place }]));
  return Promise.resolve();
}

function loseThread({ world }: Play): Promise<void> {
  world.report('  the network thread is lost');
  loseThreads();
  return Promise.resolve();
}

async function killDaemon({ world, client }: Play): Promise<void> {
  world.report('  kill -9');
  await client.restart(() => undefined);
}

async function restartDaemon({ client }: Play): Promise<void> {
  await client.call('stop of the network', ({ engine }) => engine.close({ removeAll: false }));
  await client.restart(() => undefined);
}

const pause = ({ client, choose }: Play): Promise<void> =>
  client.wait([100, 1_500, 20_000][choose('pause', 3)] ?? 100);

/** @param restartMachine the history knows what is lost with the machine */
export function stepsOf(restartMachine: (play: Play) => Promise<void>): {
  readonly ordinary: readonly Step<Play>[];
  readonly rare: readonly Step<Play>[];
} {
  const ordinary: readonly Step<Play>[] = [
    ['', () => Promise.resolve()],
    ['attach a pod', attach],
    ['attach a pod', attach],
    ['attach a pod', attach],
    ['attach a pod again', attachAgain],
    ['attach and detach pods beside each other', beside],
    ['change a class', changeClass],
    ['change a class', changeClass],
    ['detach a pod', remove],
    ['detach a pod', remove],
    ['detach a pod, and attach it again', removeAndAttach],
    ['collect', collect],
    ['lease an address', lease],
    ['give up an address', giveUpLease],
    ['wait', pause],
  ];
  const rare: readonly Step<Play>[] = [
    ...ordinary,
    ['another program meddles with a link', meddleWithLink],
    ['another program meddles with a link', meddleWithLink],
    ['another program meddles with a link, then collect', meddleAndCollect],
    ['another program meddles with a link while the kernel has little memory', meddleWithLittleMemory],
    ['another program deletes the bridge', deleteBridge],
    ['another program takes rules', takeRules],
    ['another program takes an element', takeElement],
    ['lose the thread', loseThread],
    ['kill the daemon', killDaemon],
    ['stop the daemon, and start it', restartDaemon],
    ['restart the machine', restartMachine],
    ['trouble', troubleAmong(troubles)],
    ['jump of the clock', jumpByHours],
  ];
  return { ordinary, rare };
}
