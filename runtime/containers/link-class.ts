import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { LinkClass, LinkPolicy, NamedPort } from '../../cni-plugins/index.ts';
import { joinNetworkRules } from '../../entitlements/index.ts';
import type { NetworkClass, PeerRules, Settings } from '../../entitlements/index.ts';
import type { ContainerRecord } from './record.ts';

const order: readonly LinkClass[] = ['deny', 'none', 'user', 'proxy', 'admin'];

/**
 * Returns the link policy of a pod. The link belongs to the pod: it is raised to the join of the policies of
 * its started containers. `host` needs no link. Pure.
 * @throws ENTITLEMENTS_TOO_COMPLEX when the join of their peer rules exceeds the limits of a profile: the
 * join is exact or refused
 */
export function linkPolicyFor(
  containers: readonly (Pick<ContainerRecord, 'networkClass' | 'peers' | 'phase'> &
    Partial<Pick<ContainerRecord, 'config'>>)[],
): LinkPolicy {
  const started = containers.filter((one) => one.phase === 'starting' || one.phase === 'running');
  const linkClass = started
    .map((one) => classOf(one.networkClass))
    .reduce(
      (widest, next) => (order.indexOf(next) > order.indexOf(widest) ? next : widest),
      'deny' as LinkClass,
    );
  if (linkClass === 'deny' || linkClass === 'none') return { class: linkClass };
  const [egress, ingress] = (['egress', 'ingress'] as const).map((direction) =>
    started
      .map((one) => rulesOf(one, direction))
      .reduce((joined, next) => joinNetworkRules(joined, next), []),
  );
  const namedPorts = started.flatMap(({ config }) =>
    namedPortsOf(config?.annotations['io.kubernetes.container.ports']),
  );
  return {
    class: linkClass,
    ...(egress !== undefined && { egress }),
    ...(ingress !== undefined && { ingress }),
    ...(namedPorts.length > 0 && { namedPorts }),
  };
}

/**
 * Returns the ports as a kubelet reports them, in an annotation of the container: the CRI has no field for
 * the name of a port. An annotation that cannot be parsed names no ports.
 */
function namedPortsOf(annotation: string | undefined): NamedPort[] {
  if (annotation === undefined) return [];
  const given = attempt(() => parseJson(annotation));
  return (Array.isArray(given) ? (given as unknown[]) : []).flatMap((one) => {
    const {
      name,
      containerPort,
      protocol = 'TCP',
    } = (one ?? {}) as { name?: unknown; containerPort?: unknown; protocol?: unknown };
    const spoken = (['tcp', 'udp', 'sctp'] as const).find(
      (known) => known === String(protocol).toLowerCase(),
    );
    const port = Number(containerPort);
    return typeof name === 'string' &&
      name !== '' &&
      spoken !== undefined &&
      Number.isInteger(port) &&
      port > 0 &&
      port <= 65_535
      ? [{ name, protocol: spoken, port }]
      : [];
  });
}

/** A container without a network has no peers; a container without rules is not limited. */
function rulesOf(
  { networkClass, peers }: Pick<ContainerRecord, 'networkClass' | 'peers'>,
  direction: keyof PeerRules,
): PeerRules['egress'] {
  return networkClass === 'none' ? [] : peers?.[direction];
}

function classOf(networkClass: NetworkClass): LinkClass {
  return networkClass === 'host' ? 'admin' : networkClass;
}

/**
 * Returns a sentence that says how the kernel lets a container bypass its link; undefined when it does not. A
 * process with NET_ADMIN in the user namespace of the host can name the host's network namespace by the id
 * that its link has for it (RTM_NEWLINK and RTM_DELLINK with IFLA_TARGET_NETNSID or IFLA_LINK_NETNSID), and
 * no rule of the host sees such a request. A process with SYS_ADMIN can bypass more than links. Pure.
 * @param owned the pod has its own user namespace
 */
export function pastItsLink(
  {
    capabilities,
    networkClass,
  }: { readonly capabilities: Pick<Settings['capabilities'], 'bounding'> } & Pick<Settings, 'networkClass'>,
  owned: boolean,
): string | undefined {
  const { bounding } = capabilities;
  if (owned || networkClass === 'host' || !bounding.includes('NET_ADMIN') || bounding.includes('SYS_ADMIN'))
    return undefined;
  return 'NET_ADMIN without a separate user namespace of the pod (hostUsers: false): the kernel lets it create and delete links of the host, so its network class and peer rules are not enforced';
}
