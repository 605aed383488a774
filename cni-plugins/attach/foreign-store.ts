import { readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseIp, formatIp } from '../spec/address.ts';

/**
 * The store of the upstream plugin host-local: one file an address, `DIR/NETWORK/ADDRESS`, with the container id and the interface on two
 * lines (plugins/ipam/host-local/backend/disk; before 0.8 the id alone). A node that changes over keeps its leases: what stands there is taken,
 * and our DEL and GC free it.
 */

/** IPv6 addresses stand in the file names as upstream writes them: ':' is kept on Linux, '_' in its place elsewhere. */
const addressOf = (name: string): string | undefined => {
  const address = parseIp(name.replaceAll('_', ':'));
  return address === undefined ? undefined : formatIp(address);
};

function filesOf(dataDir: string, network: string): { readonly folder: string; readonly names: readonly string[] } {
  const folder = join(dataDir, network);
  // Mostly there is none, and an error that nobody sees takes longer than the question.
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return { folder, names: [] };
  try {
    return { folder, names: readdirSync(folder).filter((name) => addressOf(name) !== undefined) };
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR'].includes((thrown as NodeJS.ErrnoException).code ?? '')) return { folder, names: [] };
    throw thrown;
  }
}

/** Addresses that the store holds, in canonical form. */
export function foreignAddresses(dataDir: string, network: string): ReadonlySet<string> {
  return new Set(filesOf(dataDir, network).names.flatMap((name) => addressOf(name) ?? []));
}

/** @param gone whether a holder is to be freed; the interface is undefined in the oldest form */
export function freeForeignAddresses(
  dataDir: string,
  network: string,
  gone: (containerId: string, interfaceName: string | undefined) => boolean,
): void {
  const { folder, names } = filesOf(dataDir, network);
  for (const name of names) {
    const [containerId = '', interfaceName] = read(join(folder, name)).trim().split(/\r?\n/u);
    if (containerId !== '' && gone(containerId.trim(), interfaceName?.trim())) rmSync(join(folder, name), { force: true });
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw thrown;
  }
}
