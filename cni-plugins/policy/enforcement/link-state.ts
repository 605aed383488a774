import { append } from '../../../base/lists/index.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { heldLinks, linkGroups } from '../../database/record.ts';
import type { AttachmentRecord, HeldLink } from '../../database/record.ts';
import { classTables, linkLocalOf } from '../../links/rules/ruleset.ts';
import { definitions } from '../../links/rules/rules.ts';
import { attributesOf, interfaceKey, textOf } from '../../../base/netlink/index.ts';
import type { ListedElement, Table, Verdict } from '../../../base/netlink/index.ts';
import { ipTextBytes } from '../../../base/addresses/index.ts';
import type { LinkRule, LinkState } from '../../types.ts';
import { listedOnce } from './listed-once.ts';
import { grantedRules } from '../rules/granted-rules.ts';
import { listLayer, verdictAtEnd } from '../rules/layer-listing.ts';
import type { ListedTable } from '../rules/layer-listing.ts';
import { frameDefinition, frameTable, judgeDefinition, judgeTable } from '../rules/tables.ts';

type Kernel = Pick<HostKernel, 'link' | 'listedElements' | 'listedRules'>;

const directions = ['egress', 'ingress'] as const;

/**
 * Returns what the kernel's tables hold for a pod's links. It reads the tables alone: the record only names
 * the pod's links and addresses. Anything that this engine would not make is a problem in words, and counts
 * as no restriction.
 */
export function linkStateOf({ id, spec }: AttachmentRecord, given: Kernel): LinkState {
  const kernel = { link: given.link, ...listedOnce(given) };
  const { hostInterface } = spec;
  const states = heldLinks(spec).map((link) => stateOf(link, kernel));
  const [first, ...others] = states;
  if (first === undefined)
    return { id, hostInterface, lets: 'unknown', problems: ['the rules do not include any of its links'] };
  const differing = others.filter(
    (state) => JSON.stringify(boundOf(state)) !== JSON.stringify(boundOf(first)),
  );
  const problems = [
    ...states.flatMap((state) => state.problems),
    ...differing.map(
      (state) =>
        `the restrictions of the link ${state.hostInterface} differ from those of the link ${first.hostInterface}`,
    ),
  ];
  return { ...first, id, lets: differing.length > 0 ? 'unknown' : first.lets, problems };
}

const boundOf = ({ lets, egress, ingress }: OneState): unknown => [lets, egress, ingress];

type OneState = Omit<LinkState, 'id'>;

function stateOf(link: HeldLink, kernel: Kernel): OneState {
  const { hostInterface } = link;
  const existing = kernel.link(hostInterface);
  const group = link.bridge === undefined ? linkGroups.routed : linkGroups.pod;
  const problems = [
    ...(existing === undefined ? [`the link ${hostInterface} does not exist`] : []),
    ...(existing === undefined || existing.group === group
      ? []
      : [`the link ${hostInterface} is not in the link group that the rules match`]),
    ...classTables(link).flatMap((table) => {
      const wanted = definitions[table.family].rules.map(([chain, ...expressions]) => ({
        chain,
        expressions,
      }));
      return changedChains(table, wanted, kernel);
    }),
  ];
  const lets = problems.length > 0 ? 'unknown' : letsOf(link, kernel);
  const rules = Object.fromEntries(
    directions.flatMap((direction) => {
      const found = rulesOf(direction, link, kernel, problems);
      return found === undefined ? [] : [[direction, found]];
    }),
  ) as Pick<LinkState, 'egress' | 'ingress'>;
  return { hostInterface, lets, ...rules, problems };
}

/**
 * Combines the tables. If one table lets through what another one denies, the pod gains nothing, but the
 * tables were changed.
 */
function letsOf(link: HeldLink, kernel: Kernel): LinkState['lets'] {
  const found = new Set(classTables(link).map((table) => letsBy(table, link.hostInterface, kernel)));
  const [only] = found;
  return only === undefined || found.size > 1 ? 'unknown' : only;
}

/** Combines both directions: a link that is open in one direction is open. */
function letsBy(table: Table, hostInterface: string, kernel: Kernel): LinkState['lets'] {
  const key = interfaceKey(hostInterface);
  const [egress, ingress] = directions.map((map) =>
    shown(find(kernel.listedElements(table, map), key)?.verdict),
  );
  // Without an element the chains end in a drop.
  if (
    (egress ?? 'goto closed_from') === 'goto closed_from' &&
    (ingress ?? 'goto closed_to') === 'goto closed_to'
  )
    return 'nothing';
  return egress === 'goto from_user' && ingress === 'accept' ? 'own packets' : 'unknown';
}

function rulesOf(
  direction: (typeof directions)[number],
  { hostInterface, addresses, mac, bridge }: HeldLink,
  kernel: Kernel,
  problems: string[],
): readonly LinkRule[] | undefined {
  const chain = `${hostInterface}_${direction}_profile`;
  if (kernel.listedRules(judgeTable, chain).length === 0) return undefined;
  const found = [
    ...[frameDefinition, judgeDefinition].flatMap(({ table, rules }) => changedChains(table, rules, kernel)),
    ...linkUnknown(direction, hostInterface, bridge === undefined, kernel),
    ...notLedTo(
      direction,
      chain,
      [...addresses.flatMap(({ ip }) => ipTextBytes(ip) ?? []), ...linkLocal(addresses, mac)],
      kernel,
    ),
  ];
  append(problems, found);
  const granted = grantedRules(chain, tableIn(kernel));
  if (granted === undefined)
    problems.push(`the chains of ${chain} have a rule that Portcullis does not create`);
  return found.length > 0 ? undefined : granted;
}

const tableIn = (kernel: Kernel): ListedTable => ({
  rules: (chain) => kernel.listedRules(judgeTable, chain),
  elements: (set) => kernel.listedElements(judgeTable, set),
});

const has = (kernel: Kernel, table: Table, set: string, key: Buffer): boolean =>
  find(kernel.listedElements(table, set), key) !== undefined;

/**
 * Checks that the rules know the link. Frames of a bridge reach the judgement by the link. Packets of a
 * routed link have no other way.
 */
function linkUnknown(
  direction: (typeof directions)[number],
  hostInterface: string,
  isRouted: boolean,
  kernel: Kernel,
): string[] {
  if (isRouted && direction === 'egress') return [];
  const set = direction === 'egress' ? 'ruled_senders' : 'ruled_receivers';
  return has(kernel, isRouted ? judgeTable : frameTable, set, interfaceKey(hostInterface))
    ? []
    : [`the set ${set} does not contain the link`];
}

/** Layers before the profile, and to which of them each may lead. No layer leads to an earlier one. */
const layersBefore = ['admin', 'policies', 'baseline'] as const;
const layersAfter = { admin: ['policies', 'baseline'], policies: [], baseline: [] } as const;

/** Checks that the pod's addresses lead connections to its chain. */
function notLedTo(
  direction: (typeof directions)[number],
  chain: string,
  addresses: readonly Buffer[],
  kernel: Kernel,
): string[] {
  const table = tableIn(kernel);
  /** The chains of the pod's policies lead on to its profile, or deny. */
  const goesOn = (layer: (typeof layersBefore)[number]): boolean => {
    const listed = listLayer(chain.replace(/profile$/u, layer), table);
    const ends = listed?.rules.map(({ expressions }) => shown(verdictAtEnd(expressions)));
    return (
      ends?.every((end) => {
        const next = layersAfter[layer].find((one) => end === `goto ${chain.replace(/profile$/u, one)}`);
        return end === 'drop' || end === `goto ${chain}` || (next !== undefined && goesOn(next));
      }) === true
    );
  };
  const heads = layersBefore.filter(goesOn).map((layer) => `jump ${chain.replace(/profile$/u, layer)}`);
  return [
    ...addresses.flatMap((key) => {
      const family = key.length === 4 ? 4 : 6;
      const leads = shown(find(kernel.listedElements(judgeTable, `${direction}${family}`), key)?.verdict);
      const right = leads === `jump ${chain}` || (leads !== undefined && heads.includes(leads));
      return [
        ...(right ? [] : [`the map ${direction}${family} does not lead to ${chain}`]),
        ...[frameTable, judgeTable].flatMap((table) =>
          has(kernel, table, `ruled${family}`, key)
            ? []
            : [`the set ruled${family} of ${table.family} does not contain all addresses of the pod`],
        ),
      ];
    }),
  ];
}

/**
 * Compares the constant chains by the names of their rules' expressions, which reveals a removed, added or
 * emptied rule.
 */
function changedChains(
  table: Table,
  wanted: readonly { readonly chain: string; readonly expressions: readonly Buffer[] }[],
  kernel: Kernel,
): string[] {
  return [...new Set(wanted.map(({ chain }) => chain))].flatMap((chain) => {
    const want = wanted
      .filter((rule) => rule.chain === chain)
      .map(({ expressions }) => expressions.map(nameOf).join(' '));
    const found = kernel
      .listedRules(table, chain)
      .map(({ expressions }) => expressions.map(({ name }) => name).join(' '));
    return want.join('\n') === found.join('\n')
      ? []
      : [`the chain ${chain} of table ${table.family} ${table.name} was changed`];
  });
}

function nameOf(expression: Buffer): string {
  return textOf(attributesOf(attributesOf(expression).get(1) ?? expression).get(1));
}

function find(elements: readonly ListedElement[], key: Buffer): ListedElement | undefined {
  return elements.find((element) => element.key.equals(key));
}

function shown(verdict: Verdict | undefined): string | undefined {
  if (verdict === undefined || typeof verdict === 'string') return verdict;
  return 'goto' in verdict ? `goto ${verdict.goto}` : `jump ${verdict.jump}`;
}

function linkLocal(addresses: readonly { readonly ip: string }[], mac: string): Buffer[] {
  return addresses.some(({ ip }) => ip.includes(':')) ? [linkLocalOf(mac)] : [];
}
