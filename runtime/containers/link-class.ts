import type { LinkClass, LinkPolicy } from '../../cni-plugins/index.ts';
import { joinNetworkRules } from '../../entitlements/index.ts';
import type { NetworkClass, PeerRules } from '../../entitlements/index.ts';
import type { ContainerRecord } from './record.ts';

const order: readonly LinkClass[] = ['deny', 'none', 'user', 'proxy', 'admin'];

/**
 * The link is the pod's: it is raised to the join of what its containers that were started have. `host` needs no link. Pure.
 * @throws ENTITLEMENTS_TOO_COMPLEX when the join of their rules of peers is beyond what a profile may have: it is exact or refused
 */
export function linkPolicyFor(containers: readonly Pick<ContainerRecord, 'networkClass' | 'peers' | 'phase'>[]): LinkPolicy {
  const started = containers.filter((one) => one.phase === 'starting' || one.phase === 'running');
  const linkClass = started
    .map((one) => classOf(one.networkClass))
    .reduce((widest, next) => (order.indexOf(next) > order.indexOf(widest) ? next : widest), 'deny' as LinkClass);
  if (linkClass === 'deny' || linkClass === 'none') return { class: linkClass };
  const [egress, ingress] = (['egress', 'ingress'] as const).map((direction) =>
    started.map((one) => rulesOf(one, direction)).reduce((joined, next) => joinNetworkRules(joined, next), []),
  );
  return { class: linkClass, ...(egress !== undefined && { egress }), ...(ingress !== undefined && { ingress }) };
}

/** Whoever has no network has no peers; without rules there is no bound. */
function rulesOf(
  { networkClass, peers }: Pick<ContainerRecord, 'networkClass' | 'peers'>,
  direction: keyof PeerRules,
): PeerRules['egress'] {
  return networkClass === 'none' ? [] : peers?.[direction];
}

function classOf(networkClass: NetworkClass): LinkClass {
  return networkClass === 'host' ? 'admin' : networkClass;
}
