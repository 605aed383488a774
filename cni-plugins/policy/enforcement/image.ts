import {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  deleteChain,
  deleteElements,
  deleteSet,
  flushChain,
  interfaceKey,
} from '../../../base/netlink/index.ts';
import type { NamedSet, Table, Request } from '../../../base/netlink/index.ts';
import { macBytes } from '../../database/record.ts';
import { countRules } from '../../constant-rules/constant-rules.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';
import {
  copyNames,
  deleteTables,
  elementRequests,
  ownNames,
  replaceTables,
} from '../../table-copies/table-copies.ts';
import type { Elements, Replacement, TableNames } from '../../table-copies/table-copies.ts';
import { podFragment } from '../rules/pod-chains.ts';
import type { PodFragment, RuledLink } from '../rules/pod-chains.ts';
import { groupSet, memberElements } from '../rules/peer-group.ts';
import type { GroupChange } from '../kubernetes/peer-index.ts';
import { frameDefinition, frameTable, judgeDefinition, judgeTable, policyTables } from '../rules/tables.ts';

/** The wanted state of the policy tables, and the requests from one such state to the next. Pure. */

/** An open link. Links without rules are included: their frames to a pod with rules go through the host. */
export interface ImageLink extends RuledLink {
  /** Id of the attachment. */
  readonly id: string;
}

/** Links by name. */
export type Image = ReadonlyMap<string, ImageLink>;

/**
 * Requests of a change. `preparation` has what must exist before `requests`: a copy of tables that are
 * replaced, or chains that nothing leads to yet, with their rules and sets. A packet that is judged while a
 * transaction is applied passes the rules from before it, but may find elements from after it. In a chain
 * that the same transaction creates it finds no rule, and an empty chain lets everything through. There is no
 * preparation when there are no such chains, or when nothing was denied before.
 */
export type RuleRequests = Replacement;

/** Returns requests that need no preparation. */
const atOnce = (requests: readonly Request[]): RuleRequests => ({ preparation: [], requests, cleanup: [] });

const hasRules = ({ rules: { profile, policies, admin = {}, baseline = {} } }: RuledLink): boolean =>
  [profile, policies, admin, baseline].some((layer) => Object.keys(layer).length > 0);
export const isNeeded = (image: Image): boolean => [...image.values()].some(hasRules);

/**
 * Returns the requests of a change. The tables exist only while a pod has rules.
 * @param peers members of groups that came and went; the groups have them already
 */
export function changeImage(from: Image, to: Image, peers: readonly GroupChange[]): RuleRequests {
  if (!isNeeded(to)) return atOnce(isNeeded(from) ? removeImage() : []);
  if (!isNeeded(from)) return atOnce([...removeImage(), ...createImage(to, ownNames)]);
  const change = changeLinks(from, to);
  return { ...change, requests: [...change.requests, ...changeMembers(from, to, peers)] };
}

/** New sets are created with their members. */
function changeMembers(from: Image, to: Image, peers: readonly GroupChange[]): Request[] {
  if (peers.length === 0) return [];
  const setNames = (image: Image): Map<string, NamedSet> =>
    new Map(
      [...image.values()].flatMap((link) => fragmentOf(link).sets.map(({ set }) => [set.name, set] as const)),
    );
  const [before, now] = [setNames(from), setNames(to)];
  return peers.flatMap(({ key, add, remove }) =>
    ([4, 6] as const).flatMap((family) =>
      [false, true].flatMap((withPorts) => {
        const { name } = groupSet({ key, withPorts }, family);
        if (!before.has(name) || !now.has(name)) return [];
        return [
          ...deleteElements(judgeTable, name, memberElements(remove, family)),
          ...addElements(judgeTable, name, memberElements(add, family)),
        ];
      }),
    ),
  );
}

function changeLinks(from: Image, to: Image): RuleRequests {
  const changed = new Set<string>();
  for (const [id, pod] of from) if (to.get(id) !== pod) changed.add(id);
  for (const [id, pod] of to) if (from.get(id) !== pod) changed.add(id);
  if (changed.size === 0) return atOnce([]);
  const pick = (image: Image): ImageLink[] => [...changed].flatMap((id) => image.get(id) ?? []);
  const [before, after] = [pick(from).map(fragmentOf), pick(to).map(fragmentOf)];
  const kept = [...to]
    .filter(([id]) => !changed.has(id))
    .flatMap(([, pod]) => fragmentOf(pod).sets.map(({ set }) => set.name));
  const [oldSets, newSets] = [setsOf(before), setsOf(after)];
  const stays = new Set([...kept, ...newSets.keys()]);
  const stood = new Set([...kept, ...oldSets.keys()]);
  const [oldChains, newChains] = [
    before.flatMap(({ chains }) => chains),
    after.flatMap(({ chains }) => chains),
  ];
  const oldNames = new Set(oldChains.map(({ name }) => name));
  const newNames = new Set(newChains.map(({ name }) => name));
  const added = newChains.filter(({ name }) => !oldNames.has(name));
  const addition = [
    ...[...newSets.values()]
      .filter(({ set }) => !stood.has(set.name))
      .flatMap((set, index) => setRequests(judgeTable, set, index)),
    ...added.map(({ name }) => addChain(judgeTable, { name })),
    ...chainRules(judgeTable, added),
  ];
  const isPrepared = [...changed].some((id) => restrictsFurther(from.get(id), to.get(id)));
  const requests = [
    ...elementRequests(deleteElements, before.flatMap(({ elements }) => elements).map(keyOnly)),
    ...oldChains.map(({ name }) => flushChain(judgeTable, name)),
    ...oldChains.filter(({ name }) => !newNames.has(name)).map(({ name }) => deleteChain(judgeTable, name)),
    ...[...oldSets.keys()].filter((name) => !stays.has(name)).map((name) => deleteSet(judgeTable, name)),
    ...(isPrepared ? [] : addition),
    ...chainRules(
      judgeTable,
      newChains.filter(({ name }) => oldNames.has(name)),
    ),
    ...elementRequests(
      addElements,
      after.flatMap(({ elements }) => elements),
    ),
  ];
  return { preparation: isPrepared ? addition : [], requests, cleanup: [] };
}

/** Returns whether a link that had rules gets further chains. */
function restrictsFurther(before: ImageLink | undefined, after: ImageLink | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  const names = new Set(fragmentOf(before).chains.map(({ name }) => name));
  return names.size > 0 && fragmentOf(after).chains.some(({ name }) => !names.has(name));
}

/** Returns the requests that recreate the tables, whatever existed before. */
export function makeImage(image: Image): RuleRequests {
  if (isNeeded(image)) return replaceTables(policyTables, (names) => createImage(image, names));
  return { ...atOnce(removeImage()), cleanup: deleteTables(policyTables.map(copyNames)) };
}

function createImage(image: Image, names: TableNames): Request[] {
  const fragments = [...image.values()].map(fragmentOf);
  const chains = fragments.flatMap((fragment) => fragment.chains);
  const judge = names(judgeTable);
  return [
    ...[frameDefinition, judgeDefinition].flatMap((definition) => {
      const table = names(definition.table);
      return [
        addTable(table),
        ...definition.chains.map((chain) => addChain(table, chain)),
        ...definition.sets.map((set, index) => addSet(table, set, firstSetId + index)),
        ...definition.rules.map(({ chain, expressions, comment }) =>
          addRule(table, chain, expressions, comment),
        ),
      ];
    }),
    ...[...setsOf(fragments).values()].flatMap((set, index) => setRequests(judge, set, index)),
    ...chains.map(({ name }) => addChain(judge, { name })),
    ...chainRules(judge, chains),
    ...elementRequests(
      addElements,
      fragments.flatMap(({ elements }) => elements),
      names,
    ),
  ];
}

/** Returns the number of rules in the chains of each table; none while no pod has rules. */
export function ruleCounts(image: Image): readonly (readonly [table: Table, rules: ConstantRules])[] {
  if (!isNeeded(image)) return [];
  const ofPods = [...image.values()].flatMap((link) =>
    fragmentOf(link).chains.map(({ name, rules }) => [name, rules.length] as const),
  );
  return [frameDefinition, judgeDefinition].map(({ table, rules }) => [
    table,
    new Map([
      ...countRules(rules.map(({ chain }) => [chain] as const)),
      ...(table === judgeTable ? ofPods : []),
    ]),
  ]);
}

/** Removes the tables. Succeeds whether they exist or not. */
export const removeImage = (): Request[] => deleteTables(policyTables);

/** Set ids are unique within a transaction. Those of other tables are small. */
const firstSetId = 0x1000;
const firstSharedId = 0x2000;

type SharedSet = PodFragment['sets'][number];

function setsOf(fragments: readonly PodFragment[]): Map<string, SharedSet> {
  return new Map(fragments.flatMap(({ sets }) => sets.map((shared) => [shared.set.name, shared] as const)));
}

const setRequests = (judge: Table, { set, elements }: SharedSet, index: number): Request[] => [
  addSet(judge, set, firstSharedId + index),
  ...addElements(judge, set.name, elements),
];

const chainRules = (judge: Table, chains: PodFragment['chains']): Request[] =>
  chains.flatMap(({ rules }) =>
    rules.map(({ chain, expressions, comment }) => addRule(judge, chain, expressions, comment)),
  );

const fragments = new WeakMap<ImageLink, PodFragment>();

function fragmentOf(pod: ImageLink): PodFragment {
  const known = fragments.get(pod);
  if (known !== undefined) return known;
  const made = podFragment(pod);
  const { hostInterface, bridgeMac } = pod;
  const way: Elements =
    bridgeMac === undefined
      ? []
      : [[frameTable, 'ways', { key: interfaceKey(hostInterface), value: macBytes(bridgeMac) }]];
  const fragment = { ...made, elements: [...way, ...made.elements] };
  fragments.set(pod, fragment);
  return fragment;
}

const keyOnly = ([table, set, { key }]: Elements[number]): Elements[number] => [table, set, { key }];
