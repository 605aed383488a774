import { linkGroups } from '../../../cni-plugins/database/record.ts';
import type { LinkRule, LinkRules } from '../../../cni-plugins/types.ts';
import { hold } from '../engine/invariants.ts';
import { bridgeName, isOpen } from './pods.ts';
import type { AttachedPod, Play } from './pods.ts';

/** Returns the problem of the link of a pod whose attachment was answered; undefined: none. */
function wrongWith({ world: { host }, rulesTaken }: Play, pod: AttachedPod): string | undefined {
  const link = host.named(pod.hostInterface);
  const { id, ips = [], classes } = pod;
  if (link === undefined) return `${id} has no link`;
  const bridge = host.named(bridgeName);
  if (bridge === undefined || link.master !== bridge.index)
    return `the link of ${id} is not on ${bridgeName}`;
  if (link.group !== linkGroups.pod) return `the link of ${id} is in no group that the rules match`;
  if (!link.up || !bridge.up) return `the link of ${id}, or its bridge, is down`;
  if (link.pod?.namespace !== host.namespace(pod.request.netns))
    return `the link of ${id} leads to another namespace`;
  const addresses = link.pod?.addresses ?? [];
  if (addresses.toSorted().join() !== ips.toSorted().join())
    return `the answer for ${id} was ${ips.join()}, but it has ${addresses.join()}`;
  const [asked, ...others] = classes;
  if (asked === undefined || others.length > 0 || rulesTaken) return undefined;
  if (host.lets(link) !== isOpen(asked))
    return `${id} has the class ${asked}, and its link lets ${host.lets(link) ? '' : 'no '}packets pass`;
  return undefined;
}

/** Notes that the rules are complete again. */
function lookAtRules(play: Play): void {
  const { host } = play.world;
  if (!play.rulesTaken) return;
  const egress = host.nf.tables.get('7 portcullis')?.sets.get('egress');
  const known = new Set(
    [...(egress?.keys() ?? [])].map((place) => Buffer.from(place, 'hex').toString().replace(/\0+$/u, '')),
  );
  const isWhole =
    host.nf.tables.has('2 portcullis') &&
    [...play.pods.values()].every(({ hostInterface }) => known.has(hostInterface));
  if (isWhole || play.pods.size === 0) play.rulesTaken = false;
}

/**
 * Checks the conditions after each step, when every request is answered.
 * @param mayBeLost objects that another program removed may still be missing
 */
export function check(play: Play, mayBeLost = true): void {
  const { world, pods, holders, client } = play;
  hold('true attachments', world.host.wrong.length === 0, () => world.host.wrong.join('; '));
  lookAtRules(play);
  for (const pod of pods.values()) {
    const wrong = wrongWith(play, pod);
    if (wrong === undefined) pod.isMeddledWith = false;
    else hold('true attachments', pod.isMeddledWith && mayBeLost, wrong);
  }
  const rows = world.rows.read(
    "SELECT container_id AS id, class FROM attachment WHERE origin = 'pod' AND state = 'ready'",
  );
  const [recorded, wanted] = [rows.map(({ id }) => String(id)).toSorted(), [...pods.keys()].toSorted()];
  hold(
    'lasting answers',
    recorded.join() === wanted.join(),
    () => `recorded: ${recorded.join()}; attached: ${wanted.join()}`,
  );
  const listed = client
    .node()
    .engine.list()
    .map(({ id }) => id)
    .toSorted();
  hold(
    'lasting answers',
    listed.join() === wanted.join(),
    () => `listed: ${listed.join()}; attached: ${wanted.join()}`,
  );
  for (const { id, class: linkClass } of rows) {
    const { classes } = pods.get(String(id)) ?? {};
    hold(
      'lasting answers',
      classes?.size !== 1 || classes.has(linkClass as never),
      () => `${String(id)} is recorded as ${String(linkClass)}`,
    );
  }
  const leased = world.rows
    .read("SELECT container_id AS id FROM attachment WHERE origin = 'plugin'")
    .map(({ id }) => String(id));
  hold(
    'lasting answers',
    leased.toSorted().join() === [...holders.keys()].toSorted().join(),
    () => `leased by ${leased.join()}`,
  );
}

/**
 * Checks, through the product's own view of the kernel, that the requested class and rules of peers are in
 * force, and that nothing differs from its created state.
 */
export async function checkRules({ client, pods, rulesTaken }: Play): Promise<void> {
  // The product does not notice that another program removed one element until it changes that element: the
  // link is denied until then.
  if (rulesTaken) return;
  for (const { id, classes, rules } of pods.values()) {
    const [asked = 'deny'] = classes;
    const state = await client.call(`state of the link of ${id}`, ({ engine }) => engine.linkState(id));
    const found = `${id} has the class ${asked} and the rules ${JSON.stringify(rules)}; the kernel: ${JSON.stringify(state)}`;
    hold(
      'true attachments',
      state?.problems.length === 0 && state.lets === (isOpen(asked) ? 'own packets' : 'nothing'),
      found,
    );
    const wanted: LinkRules = isOpen(asked) ? rules : {};
    for (const direction of ['egress', 'ingress'] as const)
      hold(
        'true attachments',
        JSON.stringify(peersOf(state[direction])) === JSON.stringify(peersOf(wanted[direction])),
        found,
      );
  }
}

const peersOf = (rules: readonly LinkRule[] | undefined): string[] | undefined =>
  rules?.map(({ cidr, protocol, ports: { low, high } }) => `${cidr} ${protocol} ${low}-${high}`).toSorted();

const perPod =
  /^(egress|ingress|sources6?|own[46]|own_macs|pods[46]|denied_\w+|held|held_links|host_ports|any_host_ports|forwarded)$/u;

/** Checks that nothing is left when every pod is gone. */
export function checkNothingLeft({ world: { host, rows } }: Play): void {
  const left = ['attachment', 'lease', 'host_port', 'part', 'name', 'service_member'].flatMap((table) =>
    rows
      .read(`SELECT * FROM ${table}`)
      .map(
        (row) =>
          `${table} ${JSON.stringify(row, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`,
      ),
  );
  for (const link of host.links.values()) if (link.kind !== 'bridge') left.push(`link ${link.name}`);
  for (const [table, { sets }] of host.nf.tables)
    for (const [name, elements] of sets)
      if (perPod.test(name) && elements.size > 0) left.push(`${elements.size} elements of ${table} ${name}`);
  for (const table of host.nf.tables.keys())
    if (!table.endsWith(' portcullis')) left.push(`rules of peers in ${table}`);
  hold('nothing left', left.length === 0, () => left.join(', '));
}

/** Checks that nothing is left after the network was removed too. */
export function checkNothingStands({ world: { host } }: Play): void {
  const left = [
    ...[...host.links.values()].map(({ name }) => `link ${name}`),
    ...[...host.nf.tables.keys()].map((name) => `table ${name}`),
  ];
  hold('nothing left', left.length === 0, () => left.join(', '));
}
