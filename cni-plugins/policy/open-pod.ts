import { PortcullisError } from '../../base/errors/index.ts';
import { formatIp, ipFromBytes } from '../spec/address.ts';
import type { AttachmentRecord } from '../attach/record.ts';
import { linkLocalOf } from '../attach/ruleset.ts';
import type { LinkClass, LinkRules } from '../types.ts';
import type { Enforcer, OpenPod } from './enforcer.ts';

const open: readonly LinkClass[] = ['user', 'proxy', 'admin'];

/**
 * The attachment as the rules know it; undefined while its class lets nothing through.
 * @param bridgeMac of the bridge as the kernel has it
 * @throws NETWORK_RULES_UNSUPPORTED
 */
export function openPodOf({ id, class: linkClass, rules, spec }: AttachmentRecord, bridgeMac: string): OpenPod | undefined {
  if (!open.includes(linkClass)) return undefined;
  if ((rules.egress !== undefined || rules.ingress !== undefined) && spec.bridge.addresses.length === 0) throw noGateway(id, spec.network);
  const addresses = spec.addresses.map(({ ip }) => ip);
  const linkLocal = addresses.some((ip) => ip.includes(':')) ? [formatIp(ipFromBytes(linkLocalOf(spec.mac)))] : [];
  return {
    id,
    namespace: spec.pod.namespace,
    labels: spec.pod.labels ?? {},
    hostInterface: spec.hostInterface,
    addresses: [...addresses, ...linkLocal],
    bridgeMac,
    rules,
  };
}

/** The pod as NetworkPolicies are asked about it, whatever its link. */
export function policyPodOf(spec: AttachmentRecord['spec'], rules: LinkRules): Parameters<Enforcer['isolates']>[0] {
  return { namespace: spec.pod.namespace, labels: spec.pod.labels ?? {}, addresses: spec.addresses.map(({ ip }) => ip), rules };
}

function noGateway(id: string, network: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_RULES_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'set rules of peers for sandbox',
    on: id,
    why: `the host is no gateway of the network ${network}, and connections are judged where they pass the host`,
    fix: 'set isGateway in its bridge configuration, or take the rules of peers out of the profile',
  });
}
