import {
  networkOf,
  isMulticast,
  ownHost,
  parseIp,
  parsePrefix,
  contains,
} from '../../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../../base/addresses/index.ts';
import type { Fields } from '../../spec/fields.ts';
import type { CniDns, CniRoute } from '../../spec/result.ts';
import type { AddressPlugin, LeasedAddress } from '../contract/contract.ts';
import { readDns } from '../interface/settings.ts';
import { readRoutes } from '../ipam/read.ts';

interface StaticConfig {
  readonly addresses: readonly LeasedAddress[];
  readonly routes: readonly CniRoute[];
  readonly dns: CniDns;
}

/**
 * Assigns the addresses of the configuration. Fields and semantics of the upstream plugin static: CNI_ARGS
 * `IP` and `GATEWAY` add to `ipam.addresses`; `args.cni.ips`, then the capability `ips`, replace all of them.
 */
export const staticAddresses: AddressPlugin<StaticConfig> = {
  type: 'static',
  capabilities: ['ips'],
  read(config, args) {
    const ipam = config.object('ipam');
    if (ipam === undefined) {
      config.problem('ipam', "'ipam' is missing");
      return { addresses: [], routes: [], dns: {} };
    }
    const own = [...ipam.objects('addresses').flatMap(readAddress), ...addressesOfArgs(config, args)];
    const withGateways = gatewaysOfArgs(config, args).reduce(
      (addresses, gateway) =>
        addresses.map((entry) => (contains(entry.address, gateway) ? { ...entry, gateway } : entry)),
      own,
    );
    const fromArgs = readIps(config.object('args')?.object('cni'));
    const fromRuntime = readIps(config.object('runtimeConfig'));
    const addresses = [fromRuntime, fromArgs].find((list) => list.length > 0) ?? withGateways;
    const version = config.text('cniVersion') ?? '';
    if (
      /^0\.[12]\./u.test(version) &&
      ([4, 6] as const).some(
        (family) => addresses.filter((entry) => entry.address.address.family === family).length > 1,
      )
    )
      config.problem('ipam', `CNI version ${version} allows only one address of each family`);
    return {
      addresses: addresses.toSorted((a, b) => a.address.address.family - b.address.address.family),
      routes: readRoutes(ipam),
      dns: readDns(ipam) ?? {},
    };
  },
  lease: (config) => config,
};

const leased = (address: IpPrefix, gateway?: IpAddress): LeasedAddress => ({
  address,
  subnet: { address: networkOf(address), length: address.length },
  ...(gateway === undefined ? {} : { gateway }),
});

/** The limited broadcast address, 255.255.255.255 (RFC 919). */
const broadcast = 0xffffffffn;

/** Returns an address with its prefix, or why an interface cannot have it. */
function readOwn(text: string): IpPrefix | { readonly why: string } {
  const prefix = parsePrefix(text);
  const quoted = JSON.stringify(text);
  if (prefix === undefined)
    return { why: `${quoted} is not an address with its prefix, such as 10.0.0.2/24` };
  const { family, value } = prefix.address;
  // The kernel adds no such address, or no connection can use it.
  if (
    isMulticast(prefix.address) ||
    ownHost.some((own) => contains(own, prefix.address)) ||
    (family === 4 && value === broadcast)
  )
    return { why: `${quoted} is not an address of one interface` };
  return prefix;
}

function readAddress(entry: Fields): LeasedAddress[] {
  const text = entry.text('address');
  if (text === undefined) {
    entry.problem('', "'address' is missing");
    return [];
  }
  const address = readOwn(text);
  if ('why' in address) {
    entry.problem('address', address.why);
    return [];
  }
  const via = entry.text('gateway') ?? '';
  const gateway = via === '' ? undefined : parseIp(via);
  if (via !== '' && gateway?.family !== address.address.family) {
    entry.problem('gateway', `${JSON.stringify(via)} is not an address of the family of 'address'`);
    return [];
  }
  return [leased(address, gateway)];
}

const listOf = (text: string | undefined): string[] =>
  text === undefined || text === '' ? [] : text.split(',').map((item) => item.trim());

function addressesOfArgs(config: Fields, args: Readonly<Record<string, string>>): LeasedAddress[] {
  return listOf(args['IP']).flatMap((text) => {
    const address = readOwn(text);
    if (!('why' in address)) return [leased(address)];
    config.problem('', `CNI_ARGS: IP ${address.why}`);
    return [];
  });
}

function gatewaysOfArgs(config: Fields, args: Readonly<Record<string, string>>): IpAddress[] {
  return listOf(args['GATEWAY']).flatMap((text) => {
    const gateway = parseIp(text);
    if (gateway !== undefined) return [gateway];
    config.problem('', `CNI_ARGS: GATEWAY ${JSON.stringify(text)} is not an IP address`);
    return [];
  });
}

function readIps(fields: Fields | undefined): LeasedAddress[] {
  return (fields?.texts('ips') ?? []).flatMap((text) => {
    const address = readOwn(text);
    if (!('why' in address)) return [leased(address)];
    fields?.problem('ips', address.why);
    return [];
  });
}
