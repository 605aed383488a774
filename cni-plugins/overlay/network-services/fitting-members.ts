import { ownerOfPod } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import type { StandingService } from './claims.ts';
import type { Merged } from './merged.ts';
import type { PublishedMember, VirtualRecord } from '../records/service-records.ts';

/** A member of a service on this host. */
export interface LocalMember extends PublishedMember {
  readonly owner?: string;
  readonly service: string;
  readonly mode: VirtualRecord['mode'];
  readonly virtualIPs: readonly string[];
}

/** The members on this host that may join a service. */
export interface Fitting {
  readonly mode: VirtualRecord['mode'];
  /** The namespace of the service. */
  readonly owner: string;
  readonly members: readonly LocalMember[];
  /** Why the others may not. */
  readonly refusals: readonly string[];
}

/**
 * Decides which members may join: those with the mode of the service, of its namespace unless the service is
 * shared. The first member defines both for a new service. Pure.
 * @param standing undefined when the service does not exist yet @param others for the names in refusals
 */
export function fittingMembers(
  service: string,
  local: readonly LocalMember[],
  existing: StandingService | undefined,
  {
    rules,
    others,
  }: { readonly rules: Pick<ServiceRules, 'sharedServices'>; readonly others: Pick<Merged, 'service'> },
): Fitting {
  const mode = existing?.record.mode ?? local[0]?.mode ?? 'vip';
  const owner = existing === undefined ? ownerOf(local[0]) : (existing.record.owner ?? '');
  const isShared = rules.sharedServices.some((shared) => shared === '*' || shared === service);
  const isOwn = (each: LocalMember): boolean => isShared || ownerOf(each) === owner;
  const members = local.filter((each) => each.mode === mode && isOwn(each));
  const refusals =
    existing === undefined ? [] : misfits(local, existing, { hosts: hostsOf(others, service), isOwn });
  return { mode, owner, members, refusals };
}

/** Returns the owner as the reader of members has it. A member without a known owner is not a pod. */
export const ownerOf = (local: Pick<LocalMember, 'owner'> | undefined): string =>
  ownerOfPod(local?.owner ?? '');

/** Returns the member as other hosts see it. */
export const published = ({
  id,
  owner,
  addresses,
  isReady,
  aliases,
  ports,
  ingressPorts,
}: LocalMember): PublishedMember => ({
  id,
  owner: ownerOf(owner === undefined ? undefined : { owner }),
  addresses,
  isReady,
  aliases,
  ports,
  ingressPorts,
});

const hostsOf = (others: Pick<Merged, 'service'>, service: string): string =>
  [...(others.service(service)?.members.keys() ?? [])].slice(0, 3).join(', ');

function misfits(
  local: readonly LocalMember[],
  { record }: StandingService,
  { hosts, isOwn }: { readonly hosts: string; readonly isOwn: (each: LocalMember) => boolean },
): string[] {
  const there = hosts === '' ? '' : ` (${hosts})`;
  return local.flatMap((each) => {
    const id = each.id.slice(0, 64);
    if (!isOwn(each))
      return [
        `NETWORK_SERVICE_OTHER_NAMESPACE: ${id} of ${ownerOf(each)} joins, and the service belongs to ${record.owner ?? 'hosts of an earlier version'}${there}`,
      ];
    if (each.mode === record.mode) return [];
    return [
      `NETWORK_SERVICE_MODE_DIFFERS: ${id} joins with the mode ${each.mode}, and the service has ${record.mode}${there}`,
    ];
  });
}
