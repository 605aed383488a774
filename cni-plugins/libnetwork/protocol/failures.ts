import { failure } from '../../../base/errors/index.ts';
import type { ErrorKind, PortcullisError } from '../../../base/errors/index.ts';

/** The refusals of the driver, worded for the user who typed the docker command. */

export const badRequest = (verb: string, problems: readonly string[]): PortcullisError =>
  failure(
    'NETWORK_CNM_REQUEST',
    'invalid',
    'read the request',
    verb,
    problems.join('; '),
    'see the protocol of remote drivers',
  );

export const badOption = (on: string, why: string, fix: string): PortcullisError =>
  failure('NETWORK_CNM_OPTION', 'invalid', 'create the network', on, why, fix);

export const networkUnknown = (id: string): PortcullisError =>
  failure(
    'NETWORK_UNKNOWN',
    'not-found',
    'find the network',
    short(id),
    'this driver did not create it',
    'create it again',
  );

export const networkDamaged = (id: string): PortcullisError =>
  failure(
    'NETWORK_UNKNOWN',
    'data-loss',
    'find the network',
    short(id),
    'its record is damaged',
    'disconnect its containers, remove it and create it again',
  );

export const networkStands = (id: string): PortcullisError =>
  failure(
    'NETWORK_EXISTS',
    'already-exists',
    'create the network',
    short(id),
    'it already exists with other options',
    'remove it first',
  );

export const networkInUse = (id: string, endpoints: number): PortcullisError =>
  failure(
    'NETWORK_IN_USE',
    'precondition',
    'remove the network',
    short(id),
    `${endpoints} endpoint${endpoints === 1 ? ' is' : 's are'} attached to it`,
    'disconnect the containers first',
  );

export const endpointUnknown = (id: string): PortcullisError =>
  failure(
    'NETWORK_CNM_ENDPOINT_UNKNOWN',
    'not-found',
    'find the endpoint',
    short(id),
    'there is no endpoint with that id',
    'connect the container again',
  );

export const endpointBusy = (id: string): PortcullisError =>
  failure(
    'NETWORK_BUSY',
    'unavailable',
    'use the endpoint',
    short(id),
    'another driver process is working on it',
    'try again',
  );

export const endpointStands = (id: string): PortcullisError =>
  failure(
    'NETWORK_EXISTS',
    'already-exists',
    'create the endpoint',
    short(id),
    'it already exists with other properties',
    'remove it first',
  );

export const noInterface = (network: string, name: string): PortcullisError =>
  failure(
    'NETWORK_CNM_NO_INTERFACE',
    'precondition',
    'find the interface that the plugins created',
    network,
    `there is no ${name} in the network namespace that was passed to them`,
    'use a conflist whose first plugin creates the interface',
  );

export const otherAddress = (network: string, wanted: string, got: readonly string[]): PortcullisError =>
  failure(
    'NETWORK_CNM_ADDRESS',
    'precondition',
    `give the address ${wanted}`,
    network,
    `the conflist's address plugin gave ${got.length === 0 ? 'none' : got.join(', ')}`,
    'create the network with --ipam-driver null, so that the conflist alone gives addresses',
  );

export const portsUnsupported = (network: string): PortcullisError =>
  failure(
    'NETWORK_CNM_PORTS',
    'precondition',
    'publish ports',
    network,
    'no plugin of the conflist declares the capability portMappings',
    'add the plugin portmap with "capabilities": {"portMappings": true} to the conflist and create the network again',
  );

export const portTaken = (port: string, why: string): PortcullisError =>
  failure(
    'NETWORK_HOST_PORT_TAKEN',
    'already-exists',
    'take the host port',
    port,
    why,
    'choose another host port',
  );

export const scopeRefused = (verb: string): PortcullisError =>
  failure(
    'NETWORK_CNM_SCOPE',
    'unimplemented',
    `answer ${verb}`,
    'a network of scope global',
    'this driver supports networks of one engine only: it reports the scope local, and a swarm cannot create networks with it',
    "create the network on each node with docker network create --scope local, or use the driver overlay for the swarm's own",
  );

export const poolFailure = (
  kind: ErrorKind,
  attempted: string,
  on: string,
  why: string,
  fix: string,
): PortcullisError =>
  failure(
    kind === 'exhausted' ? 'NETWORK_ADDRESSES_EXHAUSTED' : 'NETWORK_CNM_POOL',
    kind,
    attempted,
    on,
    why,
    fix,
  );

/**
 * Rewords the error of the plugin firewall, which refers to a configuration that our own networks do not
 * have.
 */
export const droppedByOthers = ({
  failure: { code, kind, attempted, on, why },
}: PortcullisError): PortcullisError =>
  failure(
    code,
    kind,
    attempted,
    on,
    why,
    'accept the network’s traffic there, and create the network with -o firewall=nftables',
  );

const short = (id: string): string => id.slice(0, 12);
