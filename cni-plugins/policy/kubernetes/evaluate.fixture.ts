import { memberOf } from '../rules/peer-group.ts';
import type { Grant } from '../rules/grants.ts';
import type { PodRules } from '../rules/pod-chains.ts';
import { parseIp } from '../../../base/addresses/index.ts';
import { createEvaluator, indexPolicies } from './evaluate.ts';
import type { PolicyPod } from './evaluate.ts';
import { demandOf, grantLimits } from './grant-limits.ts';
import type { PolicySet } from './network-policy.ts';
import { createPeerGroups, localPeers } from './peer-groups.ts';

/** Returns the rules of every pod, in the order of `pods`, with the members of their groups. */
export function evaluate(set: PolicySet, pods: readonly PolicyPod[]): PodRules['policies'][] {
  const source = localPeers();
  source.putNamespaces(set.namespaces);
  for (const [index, pod] of pods.entries()) source.putPod(String(index), pod);
  const groups = createPeerGroups(source);
  const { rulesOf } = createEvaluator(groups.groupFor);
  const indexed = indexPolicies(set);
  const limits = grantLimits(
    Map.groupBy(pods, ({ namespace }) => namespace),
    (pod) => demandOf(indexed, pod),
  );
  const layers = pods.map((pod) => rulesOf(indexed, pod, { grants: limits.get(pod.namespace)?.most }));
  groups.take();
  return layers;
}

/** Returns whether the grant lets a connection with the peer pass. @param port the responder's */
export function grants(
  { protocol, ports, peers, group }: Grant,
  peer: string,
  connection: { readonly protocol: string; readonly port: number },
): boolean {
  if (protocol !== undefined && protocol !== connection.protocol) return false;
  if (
    ports !== undefined &&
    !ports.some(({ low, high }) => low <= connection.port && connection.port <= high)
  )
    return false;
  if (group?.members.has(memberOf(peer, group.withPorts ? connection.port : undefined)) === true) return true;
  const address = parseIp(peer);
  if (peers === undefined || address === undefined) return peers === undefined && group === undefined;
  return (address.family === 4 ? peers.four : peers.six).some(
    ({ low, high }) => low <= address.value && address.value <= high,
  );
}
