import { PortcullisError } from '../../../base/errors/index.ts';

/** Errors between us and a remote driver. Each names driver and verb. Pure. */

export function driverUnknown(driver: string, looked: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_DRIVER_UNKNOWN',
    kind: 'unavailable',
    attempted: 'find the remote driver',
    on: driver,
    why: `there is no driver at ${looked.join(', ')}`,
    fix: 'start the driver, or correct its name; if the driver listens elsewhere, write its address into such a .spec or .json file',
  });
}

export function driverPlaceInvalid(driver: string, file: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_DRIVER_INVALID',
    kind: 'precondition',
    attempted: `read the address of the remote driver ${driver}`,
    on: file,
    why,
    fix: 'write one URL (unix:///PATH or tcp://HOST:PORT) into a .spec file, or Addr and TLSConfig with absolute paths into a .json file',
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
    fix: 'check that the driver runs, and see its log; then repeat the call',
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
    fix: 'the text comes from the driver: see its documentation and log',
    details: { verb },
  });
}

export function verbUnknown(driver: string, verb: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_VERB_UNKNOWN',
    kind: 'unimplemented',
    attempted: `call ${verb} of the remote driver`,
    on: driver,
    why: 'it does not implement this verb (HTTP 404)',
    fix: 'use a driver that implements it',
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
    fix: fix ?? "the driver does not follow libnetwork's protocol: report this to its maintainers",
    details: { verb },
  });
}

export function networkChanged(
  network: string,
  why = 'its configuration differs from the one with which the driver created it, and it is in use',
): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CNM_NETWORK_CHANGED',
    kind: 'precondition',
    attempted: 'attach to the network of the remote driver',
    on: network,
    why,
    fix: 'detach all attachments from it, or give the changed network another name',
  });
}
