import { PortcullisError } from '../../../base/errors/index.ts';
import { formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import { heldLinks } from '../../database/record.ts';
import type { AttachmentRecord, HeldLink } from '../../database/record.ts';
import { linkLocalOf } from '../../links/rules/ruleset.ts';
import type { LinkClass, LinkRules } from '../../types.ts';
import type { Enforcer, OpenLink, OpenPod } from './enforcer.ts';

const open: readonly LinkClass[] = ['user', 'proxy', 'admin'];

/**
 * Returns the attachment as the rules know it; undefined while its class lets nothing through, or the rules
 * do not include any of its links.
 * @param macOf returns the MAC of a bridge as the kernel has it
 * @throws NETWORK_RULES_UNSUPPORTED
 */
export function openPodOf(
  { id, class: linkClass, rules, spec }: AttachmentRecord,
  macOf: (bridge: NonNullable<HeldLink['bridge']>) => string,
): OpenPod | undefined {
  const held = heldLinks(spec);
  if (!open.includes(linkClass) || held.length === 0) return undefined;
  const apart = held.find(({ bridge }) => bridge?.addresses.length === 0);
  if ((rules.egress !== undefined || rules.ingress !== undefined) && apart !== undefined)
    throw noGateway(id, apart.network);
  const links = held.map(({ hostInterface, addresses, mac, bridge }): OpenLink => ({
    hostInterface,
    addresses: [...addresses.map(({ ip }) => ip), ...linkLocal(addresses, mac)],
    ...(bridge !== undefined && { bridgeMac: macOf(bridge) }),
  }));
  return { id, ...policyPodOf(spec, rules), links };
}

const linkLocal = (addresses: HeldLink['addresses'], mac: string): string[] =>
  addresses.some(({ ip }) => ip.includes(':')) ? [formatIp(ipFromBytes(linkLocalOf(mac)))] : [];

/** Returns the pod as NetworkPolicies see it, whatever its link. */
export function policyPodOf(
  spec: AttachmentRecord['spec'],
  rules: LinkRules,
): Parameters<Enforcer['isolates']>[0] {
  const { namespace, uid, labels = {} } = spec.pod;
  return {
    namespace,
    labels,
    rules,
    ...(spec.ofOtherRuntime === true && { labelsUnknown: true as const }),
    ...(uid !== '' && { uid }),
  };
}

function noGateway(id: string, network: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_RULES_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'set peer rules for sandbox',
    on: id,
    why: `the host is not a gateway of the network ${network}, and only connections that pass the host can be restricted`,
    fix: 'set isGateway in the bridge configuration of the network, or remove the peer rules from the profile',
  });
}
