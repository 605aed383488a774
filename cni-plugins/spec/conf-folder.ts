import { readFileSync, readdirSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { readConflist } from './conflist.ts';
import type { NetworkConfig } from './network-config.ts';

/** The network that the folder asks for, and the files that were passed over on the way to it. */
export interface LoadedNetwork {
  readonly network: NetworkConfig;
  readonly skipped: readonly string[];
}

const extensions = ['.conflist', '.conf', '.json'];
const maxBytes = 1024 * 1024;

/**
 * The first loadable file in lexicographic order, as libcni and the runtimes choose it. A file that libcni could not load is
 * passed over when a later one loads.
 * @throws NETWORK_NO_CONFLIST · NETWORK_CONFLIST_INVALID (with every problem as file:line:column) · NETWORK_PLUGIN_UNSUPPORTED
 */
export function loadNetwork(confDir: string): LoadedNetwork {
  const skipped: string[] = [];
  for (const file of confFiles(confDir)) {
    const read = readConflist(readConfFile(file), file);
    if (read.outcome === 'ok') return { network: read.network, skipped };
    if (read.outcome === 'invalid') throw invalid(confDir, read.problems);
    if (read.outcome === 'unsupported') throw unsupported(read.name, read.problems);
    skipped.push(...read.problems);
  }
  if (skipped.length > 0) throw invalid(confDir, skipped);
  throw new PortcullisError({
    code: 'NETWORK_NO_CONFLIST',
    kind: 'precondition',
    attempted: 'load the pod network',
    on: confDir,
    why: 'the folder holds no .conflist, .conf or .json file',
    fix: 'put a CNI conflist there; it is read at once, without a restart',
  });
}

/** A stamp that changes whenever a file of the folder does: what is loaded may be kept while it stays the same. */
export function confFolderStamp(confDir: string): string {
  const stampOf = (file: string): string => {
    const { mtimeNs, size, ino } = statSync(file, { bigint: true });
    return `${file}\0${mtimeNs}\0${size}\0${ino}`;
  };
  try {
    return confFiles(confDir).map(stampOf).join('\n');
  } catch {
    return `unreadable ${performance.now()}`;
  }
}

function confFiles(confDir: string): string[] {
  let names: string[];
  try {
    names = readdirSync(confDir);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw unreadable(confDir, thrown);
  }
  return names
    .filter((name) => extensions.includes(extname(name)))
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => join(confDir, name));
}

function readConfFile(file: string): string {
  try {
    if (statSync(file).size > maxBytes) throw new Error(`larger than ${maxBytes} bytes`);
    return readFileSync(file, 'utf8');
  } catch (thrown) {
    throw unreadable(file, thrown);
  }
}

function unreadable(path: string, thrown: unknown): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CONFLIST_UNREADABLE',
    kind: 'precondition',
    attempted: 'read the CNI configuration',
    on: path,
    why: reasonOf(thrown),
    fix: 'make the file readable for root',
    cause: thrown,
  });
}

function invalid(confDir: string, problems: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CONFLIST_INVALID',
    kind: 'precondition',
    attempted: 'load the pod network',
    on: confDir,
    why: problems.join('; '),
    fix: 'correct the file; it is read again at the next request',
    details: { problems },
  });
}

function unsupported(name: string, problems: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'load the pod network',
    on: name,
    why: problems.join('; '),
    fix: 'use a conflist of bridge with host-local addresses, portmap and loopback',
    details: { problems },
  });
}
