import type { HostKernel } from '../attach/host-kernel.ts';
import type { AttachmentRecord } from '../attach/record.ts';
import { bridgeTable } from '../attach/rules.ts';
import type { Denial } from '../types.ts';
import type { Enforcer } from './enforcer.ts';
import { judgeTable } from './tables.ts';

/** Reads from the kernel what was denied: by the links' classes, by rules of profiles, by NetworkPolicies. */
export function denialsOf(
  records: readonly AttachmentRecord[],
  policy: Pick<Enforcer, 'counts' | 'tables'>,
  kernel: Pick<HostKernel, 'countedLinks' | 'countedRules'>,
): Denial[] {
  if (records.length === 0) return [];
  const byLink = new Map(records.map((record) => [record.spec.hostInterface, record]));
  const byId = new Map(records.map((record) => [record.id, record]));
  const ofClass = classSets.flatMap(({ set, direction, rule }) =>
    kernel.countedLinks(bridgeTable, set).flatMap(({ link, packets, bytes }) => {
      const record = byLink.get(link);
      return record === undefined || packets === 0n ? [] : [denial(record, { direction, rule, packets, bytes })];
    }),
  );
  const ofRules = policy.tables().length === 0 ? [] : policy.counts(kernel.countedRules(judgeTable));
  return [
    ...ofClass,
    ...ofRules.flatMap(({ id, ...count }) => {
      const record = byId.get(id);
      return record === undefined ? [] : [denial(record, count)];
    }),
  ];
}

/** `network.none` stands for a pod without a started container as well: its link lets nothing through. */
const classSets = [
  { set: 'denied_from', direction: 'egress', rule: 'network.none' },
  { set: 'denied_to', direction: 'ingress', rule: 'network.none' },
  { set: 'denied_forged', direction: 'egress', rule: 'network.address' },
] as const;

function denial(record: AttachmentRecord, count: Pick<Denial, 'direction' | 'rule' | 'packets' | 'bytes'>): Denial {
  const { name, namespace, uid } = record.spec.pod;
  return { id: record.id, pod: { name, namespace, uid }, network: record.spec.network, class: record.class, ...count };
}
