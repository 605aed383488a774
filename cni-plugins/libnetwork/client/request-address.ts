import type { PluginCall } from '../../calls/plugin-call.ts';
import type { CnmConfig } from '../../plugins/cnm/config.ts';
import { netLabels } from '../protocol/protocol.ts';
import { macOf } from '../../plugins/interface/link-names.ts';
import { contains, formatIp, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { AddressDocument, DriverRef, NetworkDocument, PoolDocument } from './documents.ts';
import { driverProtocol } from './failures.ts';
import { hasCode } from './session.ts';
import type { Session } from './session.ts';

/** Returns the driver that assigns the addresses: the one of the configuration, or the network's own. */
export const ipamRef = (config: CnmConfig, ref: DriverRef): DriverRef => ({
  ...ref,
  name: config.ipam?.driver ?? ref.name,
});

/** Parses an address in CIDR form. @param pool the block that must contain it; undefined: any */
export function addressIn(value: unknown, driver: string, verb: string, pool?: string): string {
  const prefix = parsePrefix(text(value));
  const block = pool === undefined ? undefined : parsePrefix(pool);
  if (prefix === undefined || (block !== undefined && !contains(block, prefix.address)))
    throw driverProtocol(
      driver,
      verb,
      `${JSON.stringify(value ?? null)} is not an address with a prefix length${pool === undefined ? '' : ` of ${pool}`}`,
    );
  return `${formatIp(prefix.address)}/${prefix.length}`;
}

export const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/**
 * Chooses a MAC address if the caller requested one, or if the IPAM driver must know it before it assigns an
 * address.
 */
export async function macFor(
  session: Session,
  config: CnmConfig,
  { driver }: NetworkDocument,
  { key }: PluginCall,
): Promise<string> {
  if (config.mac !== undefined || config.ipam === undefined) return config.mac ?? '';
  const ipam = await session.driver(ipamRef(config, driver), 'IpamDriver');
  try {
    return (await ipam.call('IpamDriver.GetCapabilities', {})).RequiresMACAddress ? macOf('cnm', key) : '';
  } catch (thrown) {
    if (hasCode(thrown, 'NETWORK_CNM_VERB_UNKNOWN')) return '';
    throw thrown;
  }
}

export async function requestAddress(
  session: Session,
  config: CnmConfig,
  { driver: ref, given }: PoolDocument,
  mac: string,
  write: (document: AddressDocument) => Promise<void>,
): Promise<void> {
  if (given === undefined) return;
  const ipam = await session.driver(ref, 'IpamDriver');
  const block = parsePrefix(given.pool);
  const wanted = config.wantedIps.find((address) => {
    const parsed = parseIp(address);
    return (
      block !== undefined &&
      parsed !== undefined &&
      parsed.family === block.address.family &&
      contains(block, parsed)
    );
  });
  const request = {
    PoolID: given.poolId,
    Address: wanted ?? '',
    Options: mac === '' ? {} : { [netLabels.macAddress]: mac },
  };
  // An address that is requested explicitly counts as held even if no answer arrives.
  await write({ driver: ref, request, ...(wanted !== undefined && { given: wanted }) });
  const { Address } = await ipam.call('IpamDriver.RequestAddress', request);
  await write({
    driver: ref,
    request,
    given: addressIn(Address, ref.name, 'IpamDriver.RequestAddress', given.pool),
  });
}
