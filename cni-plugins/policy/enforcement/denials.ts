import type { HostKernel } from '../../links/host-kernel.ts';
import { heldLinks } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import { areMany } from '../../constant-rules/constant-rules.ts';
import { classTables } from '../../links/rules/ruleset.ts';
import type { Denial } from '../../types.ts';
import type { Enforcer } from './enforcer.ts';
import { judgeTable } from '../rules/tables.ts';

/** Reads denials from the kernel: by the links' classes, by rules of profiles, by NetworkPolicies. */
export function denialsOf(
  records: readonly AttachmentRecord[],
  policy: Pick<Enforcer, 'counts' | 'tables'>,
  kernel: Pick<HostKernel, 'countedLinks' | 'countedRules'>,
): Denial[] {
  if (records.length === 0) return [];
  const held = records.flatMap((record) => heldLinks(record.spec).map((link) => ({ link, record })));
  const byLink = new Map(held.map(({ link, record }) => [link.hostInterface, record]));
  const tables = new Set(held.flatMap(({ link }) => classTables(link)));
  const byId = new Map(records.map((record) => [record.id, record]));
  const ofClass = classSets.flatMap(({ set, direction, rule }) =>
    [...tables].flatMap((table) =>
      kernel.countedLinks(table, set).flatMap(({ link, packets, bytes }) => {
        const record = byLink.get(link);
        return record === undefined || packets === 0n
          ? []
          : [denial(record, { direction, rule, packets, bytes })];
      }),
    ),
  );
  const [, judging] = policy.tables().find(([table]) => table === judgeTable) ?? [];
  const ofRules =
    judging === undefined
      ? []
      : policy.counts((chains) =>
          areMany(judging) ? kernel.countedRules(judgeTable, chains) : kernel.countedRules(judgeTable),
        );
  return summed([
    ...ofClass,
    ...ofRules.flatMap(({ id, ...count }) => {
      const record = byId.get(id);
      return record === undefined ? [] : [denial(record, count)];
    }),
  ]);
}

/** Sums denials: a pod may have several links, and several tables see a routed link. */
function summed(denials: readonly Denial[]): Denial[] {
  const sums = new Map<string, Denial>();
  for (const each of denials) {
    const key = `${each.id} ${each.direction} ${each.rule}`;
    const before = sums.get(key);
    const { packets, bytes } = each;
    sums.set(
      key,
      before === undefined
        ? each
        : { ...each, packets: before.packets + packets, bytes: before.bytes + bytes },
    );
  }
  return [...sums.values()];
}

/** `network.none` also applies to a pod without a started container: its link lets nothing through. */
const classSets = [
  { set: 'denied_from', direction: 'egress', rule: 'network.none' },
  { set: 'denied_to', direction: 'ingress', rule: 'network.none' },
  { set: 'denied_forged', direction: 'egress', rule: 'network.address' },
] as const;

function denial(
  record: AttachmentRecord,
  count: Pick<Denial, 'direction' | 'rule' | 'packets' | 'bytes'>,
): Denial {
  const { name, namespace, uid } = record.spec.pod;
  return {
    id: record.id,
    pod: { name, namespace, uid },
    network: record.spec.network,
    class: record.class,
    ...count,
  };
}
