import { append } from '../../../base/lists/index.ts';
import type { CnmConfig, RemotePool } from '../../plugins/cnm/config.ts';
import { gatewayAddress, netLabels } from '../protocol/protocol.ts';
import type { IpamData } from '../protocol/protocol.ts';
import { formatIp, networkOf, parsePrefix } from '../../../base/addresses/index.ts';
import type { CniResult } from '../../spec/result.ts';
import { foldersOf, networkIdOf, settingsOf } from './documents.ts';
import type { DriverRef, NetworkDocument, PoolDocument } from './documents.ts';
import { driverProtocol, networkChanged } from './failures.ts';
import type { Session } from './session.ts';
import { ipamRef, addressIn, text } from './request-address.ts';

/**
 * Returns the network that the configuration describes, and creates it for its first endpoint.
 * @param leased the result of the IPAM plugin for this endpoint, which shows the subnets
 */
export async function ensureNetwork(
  session: Session,
  config: CnmConfig,
  leased: CniResult,
): Promise<NetworkDocument> {
  const driver: DriverRef = { name: config.driver, folders: foldersOf(config) };
  const given = leased.ips.map(poolOf);
  const settings = settingsOf(config, given);
  const own = session
    .networkDocuments()
    .find(({ namespaceId }) => namespaceId === session.namespaceId)?.document;
  if (own?.created === 'made') {
    if (own.damaged === true && config.ipam !== undefined)
      throw networkChanged(session.network, 'the record of its address pools is damaged, and it is in use');
    if (own.damaged !== true && own.settings !== settings) throw networkChanged(session.network);
    return own;
  }
  const { namespaceId } = session;
  let document: NetworkDocument = {
    id: networkIdOf(namespaceId, session.network, config.driver),
    driver,
    settings,
    pools: [],
  };
  const put = async (next: NetworkDocument): Promise<void> => {
    await session.putNetwork(namespaceId, next);
    document = next;
  };
  const data: IpamData[] = [];
  for (const pool of config.ipam?.pools ?? []) {
    const at = document.pools.length;
    const write = (next: PoolDocument): Promise<void> =>
      put({ ...document, pools: document.pools.toSpliced(at, 1, next) });
    data.push(await requestPool(session, config, pool, ipamRef(config, driver), write));
  }
  if (config.ipam === undefined) append(data, given);
  // Docker's IPAM driver `null` reports the same, for an engine that leaves addresses to the driver.
  if (data.length === 0) data.push({ AddressSpace: 'null', Pool: '0.0.0.0/0' });
  await put({ ...document, created: 'asked' });
  const remote = await session.driver(driver, 'NetworkDriver');
  await remote.call('NetworkDriver.CreateNetwork', {
    NetworkID: document.id,
    Options: {
      [netLabels.enableIpv4]: data.some(({ Pool }) => !Pool.includes(':')),
      [netLabels.enableIpv6]: data.some(({ Pool }) => Pool.includes(':')),
      ...(config.internal && { [netLabels.internal]: true }),
      [netLabels.generic]: {
        ...config.driverOptions,
        ...(config.mtu !== undefined && { [netLabels.mtu]: String(config.mtu) }),
      },
    },
    IPv4Data: data.filter(({ Pool }) => !Pool.includes(':')),
    IPv6Data: data.filter(({ Pool }) => Pool.includes(':')),
  });
  await put({ ...document, created: 'made' });
  return document;
}

function poolOf({ address, gateway }: CniResult['ips'][number]): IpamData {
  const prefix = parsePrefix(address);
  if (prefix === undefined) throw new Error(`the address plugin gave ${address}`);
  return {
    AddressSpace: '',
    Pool: `${formatIp(networkOf(prefix))}/${prefix.length}`,
    ...(gateway !== undefined && { Gateway: `${gateway}/${prefix.length}` }),
  };
}

async function requestPool(
  session: Session,
  config: CnmConfig,
  { pool, subPool, gateway, v6, auxiliary }: RemotePool,
  ref: DriverRef,
  write: (document: PoolDocument) => Promise<void>,
): Promise<IpamData> {
  const ipam = await session.driver(ref, 'IpamDriver');
  const { addressSpace: wantedSpace = '', options = {} } = config.ipam ?? {};
  const space =
    wantedSpace === ''
      ? (await ipam.call('IpamDriver.GetDefaultAddressSpaces', {})).LocalDefaultAddressSpace
      : wantedSpace;
  const request = { AddressSpace: text(space), Pool: pool, SubPool: subPool, Options: options, V6: v6 };
  await write({ driver: ref, request });
  const reply = await ipam.call('IpamDriver.RequestPool', request);
  const block = parsePrefix(text(reply.Pool));
  if (text(reply.PoolID) === '' || block === undefined)
    throw driverProtocol(
      ref.name,
      'IpamDriver.RequestPool',
      `${JSON.stringify(reply).slice(0, 200)} is not a pool`,
    );
  const given = { poolId: reply.PoolID, pool: `${formatIp(networkOf(block))}/${block.length}` };
  // The driver may name the gateway together with the pool; then it holds that address itself.
  const named = parsePrefix(
    text((reply.Data as Readonly<Record<string, unknown>> | undefined)?.[gatewayAddress]),
  );
  if (gateway === '' && named !== undefined) {
    const own = `${formatIp(named.address)}/${named.length}`;
    await write({ driver: ref, request, given, gateway: own });
    return { AddressSpace: request.AddressSpace, Pool: given.pool, Gateway: own, AuxAddresses: auxiliary };
  }
  await write({ driver: ref, request, given });
  const answer = await ipam.call('IpamDriver.RequestAddress', {
    PoolID: given.poolId,
    Address: gateway,
    Options: { [netLabels.requestAddressType]: gatewayAddress },
  });
  const own = addressIn(answer.Address, ref.name, 'IpamDriver.RequestAddress', given.pool);
  await write({ driver: ref, request, given, gateway: own, gatewayHeld: true });
  return { AddressSpace: request.AddressSpace, Pool: given.pool, Gateway: own, AuxAddresses: auxiliary };
}
