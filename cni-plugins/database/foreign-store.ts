import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readPlainFileSync } from '../../base/files/index.ts';
import { canonicalIp } from '../../base/addresses/index.ts';

/**
 * The store of the upstream plugin host-local: one file per address, `DIR/NETWORK/ADDRESS`, with the
 * container id and the interface on two lines (plugins/ipam/host-local/backend/disk; before 0.8 the id
 * alone). A node that migrates to our plugins keeps its leases: addresses in the store count as taken, and
 * our DEL and GC release them.
 */

/**
 * File names contain IPv6 addresses as upstream writes them: ':' is kept on Linux, replaced by '_' elsewhere.
 */
const addressOf = (name: string): string | undefined => canonicalIp(name.replaceAll('_', ':'));

function filesOf(
  dataDir: string,
  network: string,
): { readonly folder: string; readonly names: readonly string[] } {
  const folder = join(dataDir, network);
  // Usually the folder is missing, and creating an error that is discarded takes longer than this check.
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return { folder, names: [] };
  try {
    return { folder, names: readdirSync(folder).filter((name) => addressOf(name) !== undefined) };
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR'].includes((thrown as NodeJS.ErrnoException).code ?? ''))
      return { folder, names: [] };
    throw thrown;
  }
}

/** Returns the addresses in the store, in canonical form. */
export function foreignAddresses(dataDir: string, network: string): ReadonlySet<string> {
  return new Set(filesOf(dataDir, network).names.flatMap((name) => addressOf(name) ?? []));
}

/** @param gone whether to release a holder; the interface is undefined in the oldest form */
export function freeForeignAddresses(
  dataDir: string,
  network: string,
  gone: (containerId: string, interfaceName: string | undefined) => boolean,
): void {
  const { folder, names } = filesOf(dataDir, network);
  for (const name of names) {
    const [containerId = '', interfaceName] = read(join(folder, name)).trim().split(/\r?\n/u);
    if (containerId !== '' && gone(containerId.trim(), interfaceName?.trim()))
      rmSync(join(folder, name), { force: true });
  }
}

/** More than an id and an interface take. */
const mostBytes = 4096;

function read(file: string): string {
  try {
    return readPlainFileSync(file, mostBytes);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    // Without a code: a FIFO, a device or a large file, which no lease is.
    if (code === 'ENOENT' || code === undefined) return '';
    throw thrown;
  }
}
