import type { Fields } from '../../spec/fields.ts';
import type { CniDns } from '../../spec/result.ts';
import { readDns, readInterfaceName, readMac, readMtu, readWantedMac } from '../interface/settings.ts';

/**
 * The bridge plugin's configuration, with every field of the upstream plugin. Source: plugins/main/bridge of
 * containernetworking/plugins. Pure.
 */
export interface BridgeConfig {
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  readonly hairpin: boolean;
  readonly promiscuous: boolean;
  /** Absent: derived from the default route's link. */
  readonly mtu?: number;
  /** 0: no VLAN. */
  readonly vlan: number;
  /** Tagged VLANs of the port. */
  readonly trunk: readonly number[];
  readonly preserveDefaultVlan: boolean;
  readonly macSpoofCheck: boolean;
  readonly duplicateAddressDetection: boolean;
  readonly disableContainerInterface: boolean;
  readonly isolated: boolean;
  /** Requested by the capability `mac`, `args.cni.mac` or CNI_ARGS MAC. */
  readonly mac?: string;
  readonly hasAddressPlugin: boolean;
  /** The configuration's own DNS; takes precedence over the address plugin's. */
  readonly dns?: CniDns;
}

const maxVlan = 4094;

export function readBridgeConfig(config: Fields, args: Readonly<Record<string, string>>): BridgeConfig {
  const bridge = readInterfaceName(config, 'bridge') ?? 'cni0';
  const mtu = readMtu(config);
  const isDefaultGateway = config.flag('isDefaultGateway', false);
  const isGateway = config.flag('isGateway', false);
  const hairpin = config.flag('hairpinMode', false);
  const promiscuous = config.flag('promiscMode', false);
  // As upstream: both together would deliver every frame twice.
  if (hairpin && promiscuous) config.problem('promiscMode', 'hairpinMode and promiscMode exclude each other');
  const backend = config.text('ipMasqBackend') ?? '';
  if (backend !== '' && backend !== 'nftables') config.unsupported('ipMasqBackend', 'nftables is');
  const vlan = config.whole('vlan') ?? 0;
  if (vlan < 0 || vlan > maxVlan) config.problem('vlan', `${vlan} is not a VLAN id: 0 to ${maxVlan}`);
  const trunk = readTrunk(config);
  const hasAddressPlugin = nonEmpty(config.object('ipam')?.text('type')) !== undefined;
  const disableContainerInterface = config.flag('disableContainerInterface', false);
  if (disableContainerInterface && hasAddressPlugin)
    config.problem(
      'disableContainerInterface',
      'an interface that is not enabled can have no addresses: remove ipam',
    );
  const mac = readWantedMac(config, args) ?? readArgumentMac(config);
  const dns = readDns(config);
  return {
    bridge,
    isGateway: isDefaultGateway || isGateway,
    isDefaultGateway,
    forceAddress: config.flag('forceAddress', false),
    ipMasq: config.flag('ipMasq', false),
    hairpin,
    promiscuous,
    ...(mtu === undefined ? {} : { mtu }),
    vlan,
    trunk,
    // As upstream since its 1.8. Before, the default was true, which also left a pod in the bridge's own
    // VLAN.
    preserveDefaultVlan: config.flag('preserveDefaultVlan', false),
    macSpoofCheck: config.flag('macspoofchk', false),
    duplicateAddressDetection: config.flag('enabledad', false),
    disableContainerInterface,
    isolated: config.flag('portIsolation', false),
    ...(mac === undefined ? {} : { mac }),
    hasAddressPlugin,
    ...(dns === undefined ? {} : { dns }),
  };
}

const nonEmpty = (text: string | undefined): string | undefined => (text === '' ? undefined : text);

/**
 * The runtime's value takes precedence over CNI_ARGS, and CNI_ARGS over the arguments of the configuration.
 */
function readArgumentMac(config: Fields): string | undefined {
  const own = config.object('args')?.object('cni');
  return own === undefined ? undefined : readMac(own, 'mac');
}

function readTrunk(config: Fields): number[] {
  const ids = new Set<number>();
  const id = (fields: Fields, name: string): number | undefined => {
    const value = fields.whole(name);
    if (value === undefined || (value >= 1 && value <= maxVlan)) return value;
    fields.problem(name, `${value} is not a VLAN id: 1 to ${maxVlan}`);
    return undefined;
  };
  for (const entry of config.objects('vlanTrunk')) {
    const [low, high, single] = [id(entry, 'minID'), id(entry, 'maxID'), id(entry, 'id')];
    if ((low === undefined) !== (high === undefined)) entry.problem('', 'minID and maxID belong together');
    if (low !== undefined && high !== undefined && low > high)
      entry.problem('minID', `${low} is greater than maxID ${high}`);
    if (low === undefined && high === undefined && single === undefined)
      entry.problem('', 'minID and maxID, or id, are missing');
    if (low !== undefined && high !== undefined) for (let each = low; each <= high; each += 1) ids.add(each);
    if (single !== undefined) ids.add(single);
  }
  return [...ids].toSorted((a, b) => a - b);
}
