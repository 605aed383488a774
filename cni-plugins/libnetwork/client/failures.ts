import { PortcullisError } from '../../../base/errors/index.ts';

/** Errors between us and a remote driver. Each names driver and verb. Pure. */

export function driverUnknown(driver: string, looked: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_DRIVER_UNKNOWN',
    kind: 'unavailable',
    attempted: 'find the remote driver',
    on: driver,
    why: `nothing of that name is at ${looked.join(', ')}`,
    fix: 'start the driver, or correct its name; a driver elsewhere needs a .spec or .json file there',
  });
}

export function driverPlaceInvalid(driver: string, file: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_DRIVER_INVALID',
    kind: 'precondition',
    attempted: `read where the remote driver ${driver} is`,
    on: file,
    why,
    fix: 'write one URL into a .spec, unix:///PATH or tcp://HOST:PORT, or Addr and TLSConfig with absolute paths into a .json',
  });
}

/** @param sent whether the request may have reached the driver */
export function driverUnreachable(driver: string, verb: string, why: string, sent: boolean): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_DRIVER_UNREACHABLE',
    kind: 'unavailable',
    attempted: `call ${verb} of the remote driver`,
    on: driver,
    why,
    fix: 'look whether the driver runs and what its log says; then the call may be repeated',
    details: { verb, sent },
  });
}

export function driverRefused(driver: string, verb: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_DRIVER_REFUSED',
    kind: 'precondition',
    attempted: `call ${verb} of the remote driver`,
    on: driver,
    why,
    fix: "the words are the driver's: see its documentation and log",
    details: { verb },
  });
}

export function verbUnknown(driver: string, verb: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_VERB_UNKNOWN',
    kind: 'unimplemented',
    attempted: `call ${verb} of the remote driver`,
    on: driver,
    why: 'it has no such verb (HTTP 404)',
    fix: 'use a driver that has it',
    details: { verb },
  });
}

/** @param fix absent: the fault is in the driver, independent of its configuration */
export function driverProtocol(driver: string, verb: string, why: string, fix?: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_PROTOCOL',
    kind: 'precondition',
    attempted: `read the answer of the remote driver to ${verb}`,
    on: driver,
    why,
    fix: fix ?? "the driver does not keep libnetwork's protocol: report this to its maintainers",
    details: { verb },
  });
}

export function networkChanged(network: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_NETWORK_CHANGED',
    kind: 'precondition',
    attempted: 'attach to the network of the remote driver',
    on: network,
    why: 'its configuration is not the one with which the driver made it, and it is in use',
    fix: 'detach what is attached to it, or give the changed network another name',
  });
}
