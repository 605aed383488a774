import { statSync } from 'node:fs';
import { readPlainFileSync } from '../../../base/files/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { driverPlaceInvalid, driverUnknown } from './failures.ts';

/**
 * The address of a remote driver, found as docker finds its plugins: a socket first, then a file with the
 * address (docker's "Docker plugin API", plugin discovery; moby pkg/plugins/discovery.go). Nothing is cached,
 * so a driver that restarts at another address is found there.
 */
export interface DriverPlace {
  readonly driver: string;
  /** The file that was found. */
  readonly found: string;
  readonly at:
    | { readonly socket: string }
    | { readonly host: string; readonly port: number; readonly tls?: DriverTls };
}

export interface DriverTls {
  readonly insecureSkipVerify: boolean;
  /** Paths as they can be opened here. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

export interface DriverFolders {
  /** Folders of NAME.sock and NAME/NAME.sock. */
  readonly socketDirs: readonly string[];
  /** Folders of NAME.spec, NAME/NAME.spec, NAME.json and NAME/NAME.json. */
  readonly specDirs: readonly string[];
}

/** The folders that a dockerd of root uses. */
export const defaultFolders: DriverFolders = {
  socketDirs: ['/run/docker/plugins'],
  specDirs: ['/etc/docker/plugins', '/usr/lib/docker/plugins'],
};

/**
 * Finds a driver.
 * @param root prefix of every path: the root folder of the caller, or empty for our own
 * @throws NETWORK_CNM_DRIVER_UNKNOWN · NETWORK_CNM_DRIVER_INVALID
 */
export function findDriver(driver: string, { socketDirs, specDirs }: DriverFolders, root = ''): DriverPlace {
  const places = (folder: string, ending: string): string[] => [
    `${folder}/${driver}${ending}`,
    `${folder}/${driver}/${driver}${ending}`,
  ];
  const sockets = socketDirs.flatMap((folder) => places(folder, '.sock'));
  const files = specDirs.flatMap((folder) => [...places(folder, '.spec'), ...places(folder, '.json')]);
  for (const socket of sockets)
    if (statOf(root + socket)?.isSocket() === true)
      return { driver, found: socket, at: { socket: root + socket } };
  for (const file of files) {
    if (statOf(root + file)?.isFile() !== true) continue;
    const invalid = (why: string): Error => driverPlaceInvalid(driver, file, why);
    const text = readWhole(root + file, invalid);
    return {
      driver,
      found: file,
      at: file.endsWith('.json')
        ? placeInJson(text, root, invalid)
        : placeOf(text.trim(), undefined, root, invalid),
    };
  }
  throw driverUnknown(driver, [...sockets, ...files]);
}

const statOf = (path: string): ReturnType<typeof statSync> => statSync(path, { throwIfNoEntry: false });

type Invalid = (why: string) => Error;
const maxFile = 64 * 1024;

function readWhole(path: string, invalid: Invalid): string {
  try {
    return readPlainFileSync(path, maxFile);
  } catch (thrown) {
    if (thrown instanceof Error && 'failure' in thrown) throw thrown;
    throw invalid(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function placeOf(
  text: string,
  tls: DriverTls | undefined,
  root: string,
  invalid: Invalid,
): DriverPlace['at'] {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalid(`${JSON.stringify(text.slice(0, 80))} is not a URL`);
  }
  if (url.protocol === 'unix:') {
    if (url.host !== '' || url.pathname === '' || url.pathname === '/')
      throw invalid('a unix URL is unix:///PATH');
    return { socket: root + decodeURIComponent(url.pathname) };
  }
  if (!['tcp:', 'http:', 'https:'].includes(url.protocol))
    throw invalid(`a driver is reached by unix or tcp, not by ${url.protocol}`);
  const port = url.port === '' ? { 'http:': 80, 'https:': 443 }[url.protocol] : Number(url.port);
  if (url.hostname === '' || port === undefined) throw invalid('a tcp URL is tcp://HOST:PORT');
  const secured = tls ?? (url.protocol === 'https:' ? { insecureSkipVerify: false } : undefined);
  return {
    host: url.hostname.replace(/^\[|\]$/gu, ''),
    port,
    ...(secured !== undefined && { tls: secured }),
  };
}

function placeInJson(text: string, root: string, invalid: Invalid): DriverPlace['at'] {
  let document: unknown;
  try {
    document = parseJson(text);
  } catch (thrown) {
    throw invalid(thrown instanceof Error ? thrown.message : String(thrown));
  }
  const { Addr, TLSConfig } = (typeof document === 'object' && document !== null ? document : {}) as Record<
    string,
    unknown
  >;
  if (typeof Addr !== 'string') throw invalid('Addr is missing');
  if (TLSConfig === undefined || TLSConfig === null) return placeOf(Addr, undefined, root, invalid);
  if (typeof TLSConfig !== 'object') throw invalid('TLSConfig must be an object');
  const fields = TLSConfig as Record<string, unknown>;
  const path = (name: string): string | undefined => {
    const value = fields[name] ?? '';
    if (typeof value !== 'string' || (value !== '' && !value.startsWith('/')))
      throw invalid(`TLSConfig.${name} must be an absolute path`);
    return value === '' ? undefined : root + value;
  };
  const [caFile, certFile, keyFile] = [path('CAFile'), path('CertFile'), path('KeyFile')];
  const tls: DriverTls = {
    insecureSkipVerify: fields['InsecureSkipVerify'] === true,
    ...(caFile !== undefined && { caFile }),
    ...(certFile !== undefined && { certFile }),
    ...(keyFile !== undefined && { keyFile }),
  };
  return placeOf(Addr, tls, root, invalid);
}
