import { fieldsOf } from '../../spec/fields.ts';
import type { Fields, Problems } from '../../spec/fields.ts';
import { readJson } from '../../spec/json-text.ts';
import { parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { badRequest } from './failures.ts';
import { netLabels } from './protocol.ts';
import type {
  CreateEndpointRequest,
  CreateNetworkRequest,
  DriverVerb,
  EndpointInterface,
  EndpointRequest,
  GwAllocCheckRequest,
  IpamData,
  JoinRequest,
  NetworkRequest,
  PortBinding,
  ProgramExternalConnectivityRequest,
  ReleaseAddressRequest,
  ReleasePoolRequest,
  RequestAddressRequest,
  RequestPoolRequest,
} from './protocol.ts';

/**
 * Parses the engine's requests into validated values. Like Go, it matches names without regard to case and
 * ignores unknown ones. Pure.
 */

/**
 * The body is not JSON at all. As in the helpers of Go's plugins, this has a different status than a refusal.
 */
export class NotJson extends Error {}

interface Reading {
  readonly fields: Fields;
  readonly value: Readonly<Record<string, unknown>>;
}

type Reader<Request> = (reading: Reading) => Request;

/** @throws NotJson · NETWORK_CNM_REQUEST with every problem */
function read<Request>(verb: DriverVerb, body: string, reader: Reader<Request>): Request {
  const source = readJson(body);
  if ('message' in source) throw new NotJson(`${verb}: ${source.line}:${source.column}: ${source.message}`);
  const problems: Problems = [];
  const fields = fieldsOf(source.value, [], 'request', source, problems);
  const request =
    fields === undefined ? undefined : reader({ fields, value: source.value as Record<string, unknown> });
  if (request === undefined || problems.length > 0) throw badRequest(verb, problems);
  return request;
}

/** Ids become parts of file names and link names. Docker's ids are 64 hex digits. */
const idPattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/u;

function id(fields: Fields, name: string): string {
  const text = fields.text(name) ?? '';
  if (!idPattern.test(text))
    fields.problem(name, `${name} ${JSON.stringify(text.slice(0, 200))} is not an id`);
  return text;
}

/** Returns a member unchanged. Its name is matched without regard to case. */
function raw(value: Readonly<Record<string, unknown>>, name: string): unknown {
  return value[
    Object.hasOwn(value, name)
      ? name
      : (Object.keys(value).findLast((key) => key.toLowerCase() === name.toLowerCase()) ?? name)
  ];
}

function options({ fields, value }: Reading): Readonly<Record<string, unknown>> {
  return fields.object('Options') === undefined ? {} : (raw(value, 'Options') as Record<string, unknown>);
}

function texts(fields: Fields | undefined): Record<string, string> {
  return Object.fromEntries(fields?.names().map((name) => [name, fields.text(name) ?? '']) ?? []);
}

/** Reads a CIDR block; it may be empty. */
function prefix(fields: Fields, name: string, family: 4 | 6 | undefined): string {
  const text = fields.text(name) ?? '';
  const parsed = text === '' ? undefined : parsePrefix(text);
  if (text !== '' && (parsed === undefined || (family !== undefined && parsed.address.family !== family)))
    fields.problem(
      name,
      `${JSON.stringify(text.slice(0, 200))} is not an address with its prefix${family === undefined ? '' : ` of IPv${family}`}`,
    );
  return text;
}

const addressData = (fields: Fields, name: string, family: 4 | 6): IpamData[] =>
  fields.objects(name).map((entry) => {
    const auxiliary = entry.object('AuxAddresses');
    for (const each of auxiliary?.names() ?? []) prefix(auxiliary as Fields, each, family);
    return {
      AddressSpace: entry.text('AddressSpace') ?? '',
      Pool: prefix(entry, 'Pool', family),
      Gateway: prefix(entry, 'Gateway', family),
      AuxAddresses: texts(auxiliary),
    };
  });

const macPattern = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/iu;

function interfaceOf(fields: Fields | undefined): EndpointInterface {
  if (fields === undefined) return { Address: '', AddressIPv6: '', MacAddress: '' };
  const MacAddress = (fields.text('MacAddress') ?? '').toLowerCase();
  if (
    MacAddress !== '' &&
    (!macPattern.test(MacAddress) || (Number.parseInt(MacAddress.slice(0, 2), 16) & 1) === 1)
  )
    fields.problem(
      'MacAddress',
      `${JSON.stringify(MacAddress.slice(0, 200))} is not the MAC address of an interface`,
    );
  return { Address: prefix(fields, 'Address', 4), AddressIPv6: prefix(fields, 'AddressIPv6', 6), MacAddress };
}

export const readCreateNetwork = (body: string): CreateNetworkRequest =>
  read('NetworkDriver.CreateNetwork', body, (reading) => ({
    NetworkID: id(reading.fields, 'NetworkID'),
    Options: options(reading),
    IPv4Data: addressData(reading.fields, 'IPv4Data', 4),
    IPv6Data: addressData(reading.fields, 'IPv6Data', 6),
  }));

export const readGwAllocCheck = (body: string): GwAllocCheckRequest =>
  read('NetworkDriver.GwAllocCheck', body, (reading) => ({ Options: options(reading) }));

export const readNetwork = (verb: DriverVerb, body: string): NetworkRequest =>
  read(verb, body, ({ fields }) => ({ NetworkID: id(fields, 'NetworkID') }));

export const readEndpoint = (verb: DriverVerb, body: string): EndpointRequest =>
  read(verb, body, ({ fields }) => ({
    NetworkID: id(fields, 'NetworkID'),
    EndpointID: id(fields, 'EndpointID'),
  }));

export const readCreateEndpoint = (
  body: string,
): CreateEndpointRequest & { readonly Interface: EndpointInterface } =>
  read('NetworkDriver.CreateEndpoint', body, (reading) => ({
    NetworkID: id(reading.fields, 'NetworkID'),
    EndpointID: id(reading.fields, 'EndpointID'),
    Interface: interfaceOf(reading.fields.object('Interface')),
    Options: options(reading),
  }));

export const readJoin = (body: string): JoinRequest =>
  read('NetworkDriver.Join', body, (reading) => {
    const SandboxKey = reading.fields.text('SandboxKey') ?? '';
    if (!/^\/[^\0]*$/u.test(SandboxKey))
      reading.fields.problem('SandboxKey', 'SandboxKey is not an absolute path');
    return {
      NetworkID: id(reading.fields, 'NetworkID'),
      EndpointID: id(reading.fields, 'EndpointID'),
      SandboxKey,
      Options: options(reading),
    };
  });

const protocols: Readonly<Record<number, 'sctp' | 'tcp' | 'udp'>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };
export const protocolOf = ({ Proto }: Pick<PortBinding, 'Proto'>): 'sctp' | 'tcp' | 'udp' =>
  protocols[Proto] ?? 'tcp';

export type ProgramRequest = ProgramExternalConnectivityRequest & {
  readonly bindings: readonly Required<PortBinding>[];
};

/** Reads the option {@link netLabels.portMap}. */
export const readProgram = (body: string): ProgramRequest =>
  read('NetworkDriver.ProgramExternalConnectivity', body, (reading) => ({
    NetworkID: id(reading.fields, 'NetworkID'),
    EndpointID: id(reading.fields, 'EndpointID'),
    Options: options(reading),
    bindings: reading.fields.object('Options')?.objects(netLabels.portMap).map(binding) ?? [],
  }));

function binding(fields: Fields): Required<PortBinding> {
  const port = (name: string, least: number): number => {
    const value = fields.whole(name) ?? 0;
    if (value < least || value > 65535) fields.problem(name, `${value} is not a port`);
    return value;
  };
  const Proto = fields.whole('Proto') ?? 0;
  if (protocols[Proto] === undefined)
    fields.problem('Proto', `ports of the protocol ${Proto} cannot be published: tcp, udp and sctp can`);
  const HostIP = fields.text('HostIP') ?? '';
  if (HostIP !== '' && parseIp(HostIP) === undefined)
    fields.problem('HostIP', `${JSON.stringify(HostIP.slice(0, 200))} is not an IP address`);
  const [Port, HostPort] = [port('Port', 1), port('HostPort', 0)];
  const HostPortEnd = port('HostPortEnd', 0);
  if (HostPortEnd !== 0 && HostPortEnd < HostPort)
    fields.problem('HostPortEnd', `${HostPortEnd} is before ${HostPort}`);
  return {
    Proto,
    IP: fields.text('IP') ?? '',
    Port,
    HostIP,
    HostPort,
    HostPortEnd: HostPortEnd === 0 ? HostPort : HostPortEnd,
  };
}

export const readRequestPool = (body: string): Required<RequestPoolRequest> =>
  read('IpamDriver.RequestPool', body, ({ fields }) => {
    const V6 = fields.flag('V6', false);
    const family = V6 ? 6 : undefined;
    const [Pool, SubPool] = [prefix(fields, 'Pool', family), prefix(fields, 'SubPool', family)];
    if (SubPool !== '' && Pool === '') fields.problem('SubPool', 'SubPool needs Pool');
    const AddressSpace = fields.text('AddressSpace') ?? '';
    if (!/^[\w.-]{0,64}$/u.test(AddressSpace)) fields.problem('AddressSpace', 'it is not a name');
    return { AddressSpace, Pool, SubPool, Options: texts(fields.object('Options')), V6 };
  });

const poolId = (fields: Fields): string => {
  const text = fields.text('PoolID') ?? '';
  if (text === '' || text.length > 256) fields.problem('PoolID', 'PoolID is missing');
  return text;
};

export const readReleasePool = (body: string): ReleasePoolRequest =>
  read('IpamDriver.ReleasePool', body, ({ fields }) => ({ PoolID: poolId(fields) }));

export const readRequestAddress = (body: string): Required<RequestAddressRequest> =>
  read('IpamDriver.RequestAddress', body, ({ fields }) => {
    const Address = fields.text('Address') ?? '';
    if (Address !== '' && parseIp(Address) === undefined)
      fields.problem('Address', `${JSON.stringify(Address.slice(0, 200))} is not an IP address`);
    return { PoolID: poolId(fields), Address, Options: texts(fields.object('Options')) };
  });

export const readReleaseAddress = (body: string): ReleaseAddressRequest =>
  read('IpamDriver.ReleaseAddress', body, ({ fields }) => {
    const Address = (fields.text('Address') ?? '').replace(/\/\d{1,3}$/u, '');
    if (parseIp(Address) === undefined)
      fields.problem('Address', `${JSON.stringify(Address.slice(0, 200))} is not an IP address`);
    return { PoolID: poolId(fields), Address };
  });
