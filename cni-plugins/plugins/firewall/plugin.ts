import { PortcullisError } from '../../../base/errors/index.ts';
import { formatIp, parsePrefix } from '../../../base/addresses/index.ts';
import { droppingForwardChains } from '../../../base/netlink/index.ts';
import type { Plugin } from '../contract/contract.ts';
import { addressesMissing } from '../interface/failures.ts';
import { hostInterfaces, previousOf } from '../interface/previous.ts';
import { isInterfaceName } from '../../spec/interface-name.ts';
import type { ForwardPolicy } from './forward-policy.ts';
import { reservedChains, tableName } from './rules.ts';

interface FirewallConfig {
  readonly adminChain: string;
  readonly ingressPolicy: 'open' | 'same-bridge' | 'isolated' | 'internal';
  /** Whether the administrator declared that drops of other chains are handled. */
  readonly overlooksOthers: boolean;
}

/** Third-party base chains that drop what they do not accept, as `family table chain`. */
type Observed = readonly string[];

/** The last one does not exist upstream: it behaves like docker's internal networks. */
const ingressPolicies = ['open', 'same-bridge', 'isolated', 'internal'];

/**
 * Accepts packets forwarded to and from the pod, after the administrator's own chain, and isolates bridges
 * from each other. Semantics of the upstream plugin firewall with the backend iptables, in our own nf_tables
 * tables.
 */
export const firewall: Plugin<FirewallConfig> = {
  type: 'firewall',
  role: 'chained',
  capabilities: [],
  read(config) {
    const backend = config.text('backend') ?? '';
    if (!['', 'iptables', 'nftables'].includes(backend))
      config.unsupported(
        'backend',
        "the plugin uses its own nf_tables rules; give 'nftables' or leave it out",
      );
    if ((config.text('firewalldZone') ?? '') !== '')
      config.unsupported('firewalldZone', 'firewalld is not used');
    const given = config.text('iptablesAdminChainName') ?? '';
    const adminChain = given === '' ? 'CNI-ADMIN' : given;
    if (!/^[A-Za-z_.][A-Za-z0-9/\\_.-]{0,27}$/u.test(adminChain) || reservedChains.test(adminChain))
      config.problem(
        'iptablesAdminChainName',
        `${JSON.stringify(adminChain)} is not a valid name of a chain`,
      );
    const policy = config.text('ingressPolicy') ?? '';
    if (!['', ...ingressPolicies].includes(policy))
      config.problem(
        'ingressPolicy',
        `${JSON.stringify(policy)} is not a policy: ${ingressPolicies.join(', ')}`,
      );
    return {
      adminChain,
      ingressPolicy: (policy === '' ? 'open' : policy) as FirewallConfig['ingressPolicy'],
      overlooksOthers: backend === 'nftables',
    };
  },
  observe: (_config, kernel): Observed =>
    droppingForwardChains(kernel.host.filter).filter((chain) => chain.split(' ')[1] !== tableName),
  plan(config, input) {
    const previous = previousOf(input, 'firewall');
    const [foreign] = input.observed as Observed;
    if (foreign !== undefined && !config.overlooksOthers) throw droppedByOthers(foreign);
    const addresses = previous.ips.flatMap(({ address }) => {
      const prefix = parsePrefix(address);
      return prefix === undefined ? [] : [formatIp(prefix.address)];
    });
    const bridge = config.ingressPolicy === 'open' ? undefined : previous.interfaces[0]?.name;
    if (
      config.ingressPolicy !== 'open' &&
      (bridge === undefined || !isInterfaceName(bridge) || (previous.interfaces[0]?.sandbox ?? '') !== '')
    )
      throw noBridge(config.ingressPolicy);
    if (addresses.length === 0 && config.ingressPolicy === 'open' && previous.interfaces.length === 0)
      throw addressesMissing('firewall');
    const resource: ForwardPolicy = {
      kind: 'forward-policy',
      addresses,
      adminChain: config.adminChain,
      ...(bridge === undefined
        ? {}
        : {
            separation: {
              bridge,
              isolated: config.ingressPolicy === 'isolated',
              ports: hostInterfaces(previous).filter((name) => name !== bridge),
              ...(config.ingressPolicy === 'internal' && { internal: true }),
            },
          }),
    };
    return { resources: [resource], result: previous };
  },
};

function droppedByOthers(chain: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_FIREWALL_DROPPED_BY_OTHERS',
    kind: 'precondition',
    attempted: "accept the pod's traffic",
    on: chain,
    why: 'that chain drops traffic that it does not accept, and our tables cannot override that',
    fix: `accept the pods' network in ${chain} and say so with "backend": "nftables", or use the upstream plugin firewall on this host`,
  });
}

function noBridge(policy: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BRIDGE_MISSING',
    kind: 'precondition',
    attempted: `set the ingress policy ${policy}`,
    on: 'firewall',
    why: 'prevResult does not begin with a bridge of the host',
    fix: 'place the plugin after bridge, or leave out ingressPolicy',
  });
}
