import { PortcullisError } from '../../../base/errors/index.ts';
import { bitsOf, formatIp, networkOf, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../../base/addresses/index.ts';
import type { EtcdAccess } from '../etcd/client.ts';

/** Settings of the overlay on this host. */
export interface OverlaySettings {
  /** Name of the network. Its conflist and its keys in etcd use it too. */
  readonly name: string;
  /** This host's name in the network. */
  readonly host: string;
  readonly etcd: EtcdAccess;
  /**
   * Networks of all hosts' pods, at most one per family: a prefix, and the prefix length of each host's
   * subnet.
   */
  readonly networks: readonly { readonly prefix: string; readonly hostLength: number }[];
  /** A link of this host, or one of its addresses, to which other hosts send. */
  readonly underlay: string;
  /** Number of the VXLAN, the same on every host. */
  readonly vni: number;
  readonly vxlanPort: number;
  /** Encryption between hosts. With `wireguard` no packet is sent or accepted without it. */
  readonly encryption: 'wireguard' | 'none';
  /** UDP port of this host; other hosts learn it from etcd. */
  readonly wireguardPort: number;
  /** How long etcd waits for a sign of life of a host before it removes the host. */
  readonly leaseSeconds: number;
  /** How long other hosts still send to a host that etcd removed. */
  readonly holdSeconds: number;
  /** This host's own folder: identity, and the last known state of other hosts. */
  readonly folder: string;
  /**
   * The resources of this host that services of the network may use, in the form of a conflist's first plugin
   * (`../spec/service-rules.ts`). Absent: nothing.
   */
  readonly services?: Readonly<Record<string, unknown>>;
  /** Path of the network's database, which records who joined which service. */
  readonly databasePath: string;
  /** Folder where the conflist is written. */
  readonly confDir: string;
  /**
   * Rejects if the file system of that folder does not answer, because a thread that touches it would then
   * block forever. Absent: it is not checked.
   */
  readonly confDirAnswers?: () => Promise<void>;
  /** Prefix of the conflist's name: files are read in order of their names. */
  readonly order: string;
}

/** A network of all hosts, parsed. */
export interface OverlayNetwork {
  readonly prefix: IpPrefix;
  readonly hostLength: number;
}

/** Limit of bits for hosts: more subnets than any network has hosts. */
const mostHostBits = 24;

/**
 * Checks the settings of an overlay, and returns its networks.
 * @throws OVERLAY_SETTINGS_INVALID
 */
export function readSettings(settings: OverlaySettings): { readonly networks: readonly OverlayNetwork[] } {
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/u.test(settings.name))
    throw invalid('name', settings.name, 'a name consists of lower-case letters, digits and -');
  if (!isHostName(settings.host)) throw invalid('host', settings.host, 'it is not a host name');
  for (const endpoint of settings.etcd.endpoints)
    if (!isEndpoint(endpoint))
      throw invalid('etcd.endpoints', endpoint, 'it is not a URL like https://192.0.2.10:2379');
  if (settings.etcd.endpoints.length === 0) throw invalid('etcd.endpoints', '', 'no endpoint is given');
  const { cert, key } = { ...settings.etcd, ...settings.etcd.files };
  if ((cert === undefined) !== (key === undefined))
    throw invalid('etcd.cert', '', 'a certificate and its key must be given together');
  const networks = settings.networks.map(({ prefix: text, hostLength }): OverlayNetwork => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw invalid('network', text, 'it is not a network like 10.128.0.0/14');
    if (networkOf(prefix).value !== prefix.address.value)
      throw invalid('network', text, 'it has bits set beyond its prefix length');
    const bits = bitsOf(prefix.address.family);
    if (hostLength <= prefix.length || hostLength > bits - 2 || hostLength - prefix.length > mostHostBits)
      throw invalid(
        'hostPrefix',
        String(hostLength),
        `it must be between ${prefix.length + 1} and ${Math.min(bits - 2, prefix.length + mostHostBits)} for ${text}`,
      );
    return { prefix, hostLength };
  });
  const families = networks.map(({ prefix }) => prefix.address.family);
  if (families.length === 0) throw invalid('network', '', 'none is given');
  if (new Set(families).size < families.length)
    throw invalid('network', '', 'two networks of the same family are given');
  return { networks };
}

/** Returns whether a text can be the name of a host of an overlay. */
export const isHostName = (text: string): boolean => /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/u.test(text);

/** Returns whether a text is the URL of an etcd server: scheme, host and port only. */
export const isEndpoint = (text: string): boolean =>
  /^https?:\/\/[^/?#@]+\/?$/u.test(text) && URL.canParse(text);

/** Returns a prefix as text, such as `10.128.0.0/24`. */
export const prefixText = ({ address, length }: IpPrefix): string => `${formatIp(address)}/${length}`;

/** Returns the subnet with this number. */
export function subnetAt({ prefix, hostLength }: OverlayNetwork, index: number): IpPrefix {
  const { family, value } = prefix.address;
  return {
    address: { family, value: value + (BigInt(index) << BigInt(bitsOf(family) - hostLength)) },
    length: hostLength,
  };
}

/** Returns how many subnets of hosts a network has. */
export const subnetCount = ({ prefix, hostLength }: OverlayNetwork): number =>
  2 ** (hostLength - prefix.length);

/** Returns the address of a host in its subnet: the first one, which no pod gets. */
export const hostAddressOf = (subnet: IpPrefix): { readonly family: IpFamily; readonly value: bigint } =>
  networkOf(subnet);

/** Returns the family of a valid address or subnet. */
export const familyOf = (text: string): IpFamily => (text.includes(':') ? 6 : 4);

function invalid(field: string, given: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_SETTINGS_INVALID',
    kind: 'invalid',
    attempted: 'read the settings of the overlay',
    on: `${field}${given === '' ? '' : ` ${JSON.stringify(given)}`}`,
    why,
    fix: 'correct `network.overlay` in the configuration',
  });
}
