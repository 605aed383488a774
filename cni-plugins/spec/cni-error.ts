import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { ErrorKind, PortcullisError } from '../../base/errors/index.ts';
import { currentVersion } from './cni-version.ts';

/**
 * Errors as a CNI plugin reports them: JSON on standard output, exit code 1 (CNI specification 1.1, section
 * 5, "Error"). Pure.
 */
export interface CniError {
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

/**
 * The specification reserves codes 1 to 99; 100 and above belong to the plugin. Codes 8 and 999 are libcni's
 * own (pkg/types/types.go).
 */
export const cniCodes = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  alreadyAttached: 100,
  addressesExhausted: 101,
  addressTaken: 102,
  hostPortTaken: 103,
  differs: 104,
  kernelRefused: 105,
  addressPluginFailed: 106,
  /**
   * The host does not fit the configuration: a device, module or link that it names is missing or of another
   * type.
   */
  hostUnfit: 107,
  internal: 999,
} as const;

/** CNI codes by the stable code of our own errors. */
const codes: Readonly<Record<string, number>> = {
  NETWORK_CONFIG_INVALID: cniCodes.invalidConfig,
  NETWORK_PLUGIN_UNKNOWN: cniCodes.invalidConfig,
  NETWORK_FIELD_UNSUPPORTED: cniCodes.unsupportedField,
  NETWORK_PREVIOUS_RESULT_MISSING: cniCodes.invalidConfig,
  NETWORK_NETNS_MISSING: cniCodes.invalidNetns,
  NETWORK_NETNS_INVALID: cniCodes.invalidNetns,
  NETWORK_NOT_ATTACHED: cniCodes.unknownContainer,
  NETWORK_NOT_AVAILABLE: cniCodes.notAvailable,
  NETWORK_LIMITED: cniCodes.limitedConnectivity,
  NETWORK_ENGINE_LOST: cniCodes.tryAgainLater,
  NETWORK_BUSY: cniCodes.tryAgainLater,
  NETWORK_ALREADY_ATTACHED: cniCodes.alreadyAttached,
  NETWORK_ADDRESSES_EXHAUSTED: cniCodes.addressesExhausted,
  NETWORK_ADDRESS_TAKEN: cniCodes.addressTaken,
  NETWORK_HOST_PORT_TAKEN: cniCodes.hostPortTaken,
  NETWORK_DIFFERS: cniCodes.differs,
  NETWORK_IPAM_FAILED: cniCodes.addressPluginFailed,
};

/**
 * Converts an error to the one that the caller of a plugin receives. An error of a third-party IPAM plugin
 * keeps its own code (`details.cniCode`).
 */
export function cniErrorOf(thrown: unknown): CniError {
  if (!isPortcullisError(thrown)) return { code: cniCodes.internal, msg: reasonOf(thrown) };
  const { code, attempted, on, why, fix, details } = thrown.failure;
  const reported = details?.['cniCode'];
  const number =
    typeof reported === 'number' && Number.isSafeInteger(reported) && reported > 0
      ? reported
      : (codes[code] ?? codeByKind(thrown));
  return {
    code: number,
    msg: `${attempted}${on === '' ? '' : ` ${on}`}: ${why}`,
    details: `${fix} [${code}]`,
  };
}

/** Chooses a code for errors that are not listed: those of single plugins, of the kernel and of the disk. */
function codeByKind({ code, kind }: PortcullisError): number {
  if (code.startsWith('NETWORK_KERNEL_') || code.startsWith('KERNEL_')) return cniCodes.kernelRefused;
  if (code.startsWith('STORAGE_')) return cniCodes.ioFailure;
  return kinds[kind] ?? cniCodes.internal;
}

const kinds: Readonly<Partial<Record<ErrorKind, number>>> = {
  invalid: cniCodes.invalidConfig,
  unimplemented: cniCodes.unsupportedField,
  'already-exists': cniCodes.alreadyAttached,
  'not-found': cniCodes.hostUnfit,
  precondition: cniCodes.hostUnfit,
  exhausted: cniCodes.addressesExhausted,
  unavailable: cniCodes.tryAgainLater,
  deadline: cniCodes.tryAgainLater,
};

/**
 * Formats an error for standard output.
 * @param version the version of the call's configuration, if it could be read
 */
export function writeCniError(error: CniError, version: string = currentVersion): string {
  const { code, msg, details } = error;
  return `${JSON.stringify({ cniVersion: version, code, msg, ...(details === undefined ? {} : { details }) }, null, 4)}\n`;
}
