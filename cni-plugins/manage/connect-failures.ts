import { failure } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';

/** The failures of `portcullis network connect` and `disconnect`. */

export const networkUnknown = (name: string, confDir: string): PortcullisError =>
  failure(
    'NETWORK_UNKNOWN',
    'not-found',
    'find the network',
    name,
    `${confDir} has no network of that name`,
    'see portcullis network ls',
  );

export const capabilityMissing = (name: string, missing: readonly string[]): PortcullisError =>
  failure(
    'NETWORK_CAPABILITY_MISSING',
    'invalid',
    'connect to the network',
    name,
    `none of its plugins declares the capability ${missing.join(', ')}`,
    `add ${missing.map((each) => `"${each}": true`).join(', ')} to 'capabilities' of its first plugin`,
  );

export const targetUnknown = (
  target: string,
  why: string,
  fix = 'give NAMESPACE/NAME or the id of a pod that runs, the path of a network namespace, pid:NUMBER, or docker://NAME',
): PortcullisError =>
  failure('NETWORK_TARGET_UNKNOWN', 'not-found', 'find the target to connect', target, why, fix);

export const targetBound = (network: string, target: string, why: string): PortcullisError =>
  failure(
    'NETWORK_TARGET_BOUND',
    'precondition',
    `connect to the network ${network}`,
    target,
    `${why}, which would not be enforced on a second interface`,
    'connect a pod whose containers were started with the class network.user or wider, and without peer rules',
  );

export const badInterface = (network: string, name: string): PortcullisError =>
  failure(
    'NETWORK_INTERFACE_INVALID',
    'invalid',
    `connect to the network ${network} as`,
    name,
    'it is not a valid name of an interface',
    'give 1 to 15 characters without blanks, /, : and %',
  );

export const interfaceTaken = (network: string, name: string, target: string): PortcullisError =>
  failure(
    'NETWORK_INTERFACE_TAKEN',
    'already-exists',
    `connect to the network ${network} as`,
    name,
    `an attachment of ${target} has an interface of that name`,
    'give another name with --ifname; portcullis network inspect shows the existing interfaces',
  );

export const alreadyConnected = (
  network: string,
  target: string,
  name: string,
  isComplete: boolean,
): PortcullisError =>
  failure(
    'NETWORK_ALREADY_CONNECTED',
    'already-exists',
    `connect to the network ${network}`,
    target,
    isComplete
      ? `it is already connected as ${name}`
      : `a command has begun to connect it as ${name}, and a process holds the lock of its network namespace`,
    isComplete
      ? 'disconnect it first'
      : 'wait until that command has ended; if none runs, a process of the target holds the lock: disconnect first',
  );

export const notConnected = (network: string, target: string): PortcullisError =>
  failure(
    'NETWORK_NOT_CONNECTED',
    'not-found',
    `disconnect from the network ${network}`,
    target,
    'it was not connected by this command',
    'see portcullis network inspect',
  );
