import { append, smallest } from '../../base/lists/index.ts';
import { meet } from '../compare/lattice.ts';
import { NETWORK_CLASSES, networkRank } from '../profile/sets.ts';
import { entitlementsError } from '../errors.ts';
import type { Profile } from '../profile/model.ts';
import type { Prover } from '../proof/prover.ts';
import type { NetworkClass } from '../types.ts';
import { demandText, holds } from './demand.ts';
import type { Demand } from './demand.ts';

/** A ceiling and the name by which a refusal mentions it: `baseline`, or a profile of the policy. */
export interface Ceiling {
  readonly name: string;
  readonly profile: Profile;
}

/** The name of the limit that the publisher has signed. */
export const PUBLISHER = "the publisher's signed statement";

interface BoundInput {
  readonly asked: Profile;
  readonly explicit: readonly Demand[];
  /** The publisher's signed entitlements. Absent: no limit. */
  readonly requested?: Profile;
  readonly ceilings: readonly Ceiling[];
}

/**
 * Returns what a container gets: asked ∩ requested ∩ every ceiling. A request that is not named explicitly is
 * lowered silently. A named demand that a ceiling (or the publisher's signed statement) lacks is refused,
 * with all such demands in one error.
 * @throws ENTITLEMENTS_CEILING_EXCEEDED, ENTITLEMENTS_TOO_COMPLEX
 */
export function bound(input: BoundInput): { effective: Profile } {
  return { effective: toMeet(input).reduce((granted, ceiling) => meet(granted, ceiling)) };
}

/**
 * Does the same, but runs the part that may take a second off this thread. @throws also what `Prover.meet`
 * throws
 */
export async function boundBy(
  prover: Pick<Prover, 'meet'>,
  input: BoundInput,
): Promise<{ effective: Profile }> {
  return { effective: await prover.meet(toMeet(input)) };
}

function toMeet({ asked, explicit, requested, ceilings }: BoundInput): Profile[] {
  const bounds = requested === undefined ? ceilings : [...ceilings, { name: PUBLISHER, profile: requested }];
  refuse('create container', explicit, bounds);
  return [asked, ...bounds.map(({ profile }) => profile)];
}

/** The requests of a pod before it has containers. */
export interface PodRequest {
  readonly hostNetwork: boolean;
  readonly hostPid: boolean;
  readonly hostIpc: boolean;
  readonly privileged: boolean;
  /** Names of the sysctls it sets. */
  readonly sysctls: readonly string[];
  /** Ports of the host that lead to it, such as `8080/tcp`; absent: none. */
  readonly hostPorts?: readonly string[];
}

/**
 * Runs the same check for a pod sandbox.
 * @returns the highest network class that every ceiling grants: the maximum for the pod's link
 * @throws ENTITLEMENTS_CEILING_EXCEEDED
 */
export function boundPod(pod: PodRequest, ceilings: readonly Ceiling[]): { networkClass: NetworkClass } {
  const demands: Demand[] = [];
  if (pod.privileged) demands.push({ kind: 'privileged' });
  if (pod.hostIpc) demands.push({ kind: 'host-namespace', name: 'ipc' });
  if (pod.hostNetwork) demands.push({ kind: 'host-namespace', name: 'network' });
  if (pod.hostPid) demands.push({ kind: 'host-namespace', name: 'pid' });
  append(
    demands,
    pod.sysctls.map((name): Demand => ({ kind: 'sysctl', name })),
  );
  append(
    demands,
    (pod.hostPorts ?? []).map((name): Demand => ({ kind: 'host-port', name })),
  );
  refuse('run pod sandbox', demands, ceilings);
  const lowest = Math.min(
    NETWORK_CLASSES.length - 1,
    smallest(ceilings.map(({ profile }) => networkRank(profile.network))),
  );
  return { networkClass: NETWORK_CLASSES[lowest] ?? 'none' };
}

function refuse(attempted: string, demands: readonly Demand[], ceilings: readonly Ceiling[]): void {
  const refused = lackedBy(demands, ceilings);
  if (refused.length === 0) return;
  throw entitlementsError('ENTITLEMENTS_CEILING_EXCEEDED', {
    kind: 'denied',
    attempted,
    on: '',
    why: described(refused),
    fix: 'remove the demand from the security context, or let the policy rule that admits this image name a ceiling that grants it',
    details: { refused: refused.slice(0, mostDetails) },
  });
}

/**
 * Returns the demands that ceilings lack, in words, such as `the ceiling baseline lacks privileged mode`;
 * undefined if every ceiling grants all of them.
 */
export function lackedDemands(demands: readonly Demand[], ceilings: readonly Ceiling[]): string | undefined {
  const refused = lackedBy(demands, ceilings);
  return refused.length === 0 ? undefined : described(refused);
}

interface Lacked {
  readonly demand: string;
  readonly ceiling: string;
}

function lackedBy(demands: readonly Demand[], ceilings: readonly Ceiling[]): Lacked[] {
  return ceilings.flatMap((ceiling) =>
    demands
      .filter((demand) => !holds(ceiling.profile, demand))
      .map((demand) => ({
        demand: demandText(demand),
        ceiling: ceiling.name === PUBLISHER ? PUBLISHER : `the ceiling ${ceiling.name}`,
      })),
  );
}

function described(refused: readonly Lacked[]): string {
  return [...Map.groupBy(refused, ({ ceiling }) => ceiling)]
    .map(([ceiling, of]) => `${ceiling} lacks ${listed(of.map(({ demand }) => demand))}`)
    .join('; ');
}

/**
 * The maximum number of demands of one ceiling in the sentence, and of all ceilings in the details: a request
 * can have any number, and the sentence must reach the kubelet.
 */
const mostNamed = 16;
const mostDetails = 256;

function listed(names: readonly string[]): string {
  const more = names.length - mostNamed;
  return more > 0 ? `${names.slice(0, mostNamed).join(', ')} and ${more} more` : names.join(', ');
}
