import { formatIp, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { Fields } from '../../spec/fields.ts';
import type { CniDns } from '../../spec/result.ts';
import type { PortMapping } from '../../types.ts';
import { readDns, readMtu, readWantedMac, refuseFields } from '../interface/settings.ts';
import { readMappings } from '../portmap/plugin.ts';

/** The configuration of `portcullis-cnm`. Pure. */
export interface CnmConfig {
  /** Name of the remote driver. */
  readonly driver: string;
  /** Like `docker network create -o`: com.docker.network.generic. */
  readonly driverOptions: Readonly<Record<string, string>>;
  /** Like `docker network connect --driver-opt`. */
  readonly endpointOptions: Readonly<Record<string, string>>;
  /** Like `docker network create --internal`. */
  readonly internal: boolean;
  /** Addresses of an IPAM driver. Absent: those of an address plugin, or none. */
  readonly ipam?: RemoteIpam;
  readonly mtu?: number;
  readonly mac?: string;
  readonly dns?: CniDns;
  readonly portMappings: readonly PortMapping[];
  /** Requested addresses of the endpoint, where an IPAM driver assigns them. */
  readonly wantedIps: readonly string[];
  readonly socketDirs?: readonly string[];
  readonly specDirs?: readonly string[];
  /** Time limit for a driver to appear, and for each of its answers. */
  readonly timeoutMs: number;
}

export interface RemoteIpam {
  /** Name of the IPAM driver. */
  readonly driver: string;
  /** Empty: the driver's local default. */
  readonly addressSpace: string;
  readonly options: Readonly<Record<string, string>>;
  readonly pools: readonly RemotePool[];
}

export interface RemotePool {
  /** CIDR. Empty: the driver chooses. */
  readonly pool: string;
  /** CIDR within the pool from which addresses come. */
  readonly subPool: string;
  /** Empty: the driver chooses. */
  readonly gateway: string;
  readonly v6: boolean;
  /** Reserved addresses by name. */
  readonly auxiliary: Readonly<Record<string, string>>;
}

/** A path component; docker's plugin names with a tag. */
const namePattern = /^(?!.*\.\.)[a-zA-Z0-9][a-zA-Z0-9_.:-]{0,127}$/u;

export function readCnmConfig(config: Fields, args: Readonly<Record<string, string>>): CnmConfig {
  const driver = readName(config, 'driver') ?? '';
  if (driver === '' && !config.has('driver'))
    config.problem('', "'driver', the name of a remote driver, is missing");
  const ipam = config.object('ipam');
  const remote =
    ipam?.text('type')?.replace(/^portcullis-/u, '') === 'cnm' ? readIpam(ipam, driver) : undefined;
  const timeout = config.whole('timeout') ?? 30;
  if (timeout < 1 || timeout > 240)
    config.problem('timeout', `${timeout} is not a time limit: 1 to 240 seconds`);
  const [mtu, mac, dns] = [readMtu(config), readWantedMac(config, args), readDns(config)];
  const [socketDirs, specDirs] = [readFolders(config, 'socketDirs'), readFolders(config, 'specDirs')];
  refuseFields(config, {
    ipMasq: 'the driver decides what leaves its network',
    isGateway: 'the driver says what the gateway is',
  });
  return {
    driver,
    driverOptions: readTexts(config, 'driverOptions'),
    endpointOptions: readTexts(config, 'endpointOptions'),
    internal: config.flag('internal', false),
    ...(remote !== undefined && { ipam: remote }),
    ...(mtu !== undefined && { mtu }),
    ...(mac !== undefined && { mac }),
    ...(dns !== undefined && { dns }),
    portMappings: readMappings(config),
    wantedIps: remote === undefined ? [] : readWantedIps(config, args),
    ...(socketDirs.length > 0 && { socketDirs }),
    ...(specDirs.length > 0 && { specDirs }),
    timeoutMs: timeout * 1000,
  };
}

function readName(fields: Fields, name: string): string | undefined {
  const given = fields.text(name);
  if (given === undefined || namePattern.test(given)) return given;
  fields.problem(name, `${JSON.stringify(given)} is not the name of a driver`);
  return undefined;
}

function readTexts(fields: Fields, name: string): Readonly<Record<string, string>> {
  const object = fields.object(name);
  return Object.fromEntries((object?.names() ?? []).map((key) => [key, object?.text(key) ?? '']));
}

function readFolders(fields: Fields, name: string): string[] {
  const folders = fields.texts(name);
  for (const folder of folders)
    if (!folder.startsWith('/') || folder.includes('\0'))
      fields.problem(name, `${JSON.stringify(folder)} is not an absolute path`);
  return folders;
}

function readIpam(ipam: Fields, networkDriver: string): RemoteIpam {
  const pools = ipam.objects('pools').map(readPool);
  if (pools.filter(({ v6 }) => !v6).length > 1 || pools.filter(({ v6 }) => v6).length > 1)
    ipam.problem('pools', 'an endpoint has one address of each family: give one pool of each');
  return {
    driver: readName(ipam, 'driver') ?? networkDriver,
    addressSpace: ipam.text('addressSpace') ?? '',
    options: readTexts(ipam, 'options'),
    pools: pools.length === 0 ? [{ pool: '', subPool: '', gateway: '', v6: false, auxiliary: {} }] : pools,
  };
}

function readPool(fields: Fields): RemotePool {
  const block = (name: string): string => {
    const given = fields.text(name) ?? '';
    const prefix = given === '' ? undefined : parsePrefix(given);
    if (given !== '' && prefix === undefined)
      fields.problem(name, `${JSON.stringify(given)} is not a block of addresses`);
    return prefix === undefined ? '' : `${formatIp(prefix.address)}/${prefix.length}`;
  };
  const [pool, subPool] = [block('pool'), block('subPool')];
  const gateway = fields.text('gateway') ?? '';
  if (gateway !== '' && parseIp(gateway) === undefined)
    fields.problem('gateway', `${JSON.stringify(gateway)} is not an IP address`);
  const auxiliary = readTexts(fields, 'auxiliaryAddresses');
  for (const [name, address] of Object.entries(auxiliary))
    if (parseIp(address) === undefined) fields.problem('auxiliaryAddresses', `${name} is not an IP address`);
  if (subPool !== '' && pool === '') fields.problem('subPool', 'it needs the pool that it is part of');
  return { pool, subPool, gateway, v6: fields.flag('v6', pool.includes(':')), auxiliary };
}

function readWantedIps(config: Fields, args: Readonly<Record<string, string>>): string[] {
  const runtime = config.object('runtimeConfig');
  const given = [
    ...(runtime?.texts('ips') ?? []),
    ...(config.object('args')?.object('cni')?.texts('ips') ?? []),
    ...(args['IP'] ?? '').split(','),
  ];
  return given.flatMap((text) => {
    const address = text === '' ? undefined : parseIp(text.replace(/\/\d{1,3}$/u, ''));
    if (text !== '' && address === undefined)
      config.problem('', `${JSON.stringify(text)} is not an IP address`);
    return address === undefined ? [] : [formatIp(address)];
  });
}
