import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { meansGone } from '../../base/errors/index.ts';
import { dropAbandonedWrites, storageFailure, writeFileAtomic } from '../../base/storage/index.ts';
import type { Peer } from './ownership/peers.ts';
import { encode, objectOf, readHost, readSubnet } from './records/records.ts';

/** The state that this host has without etcd: its identity, its subnets, and the last known other hosts. */
export interface Remembered {
  /** The network that the other fields describe. */
  readonly network: string;
  readonly id: string;
  readonly subnets: readonly string[];
  readonly peers: readonly Peer[];
}

export interface Memory {
  readonly remembered: Remembered;
  /** Writes the whole state durably. When several writes are pending, the last one wins. */
  write(remembered: Remembered): Promise<void>;
  /** Removes everything that is remembered. */
  remove(): Promise<void>;
}

/** @param network detects a folder of another network: then only the identity is kept. @throws STORAGE_… */
export async function openMemory(folder: string, network: string): Promise<Memory> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'overlay.json');
  await dropAbandonedWrites(path);
  let remembered: Remembered = { network, id: randomUUID(), subnets: [], peers: [] };
  const found = readRemembered(path);
  if (found !== undefined) remembered = found.network === network ? found : { ...remembered, id: found.id };
  else await writeFileAtomic(path, JSON.stringify(remembered));
  let writing = Promise.resolve();
  let next: Remembered | undefined;
  return {
    remembered,
    write(given) {
      const isFirst = next === undefined;
      next = given;
      if (isFirst)
        writing = writing
          .catch(() => undefined)
          .then(async () => {
            const text = JSON.stringify(next);
            next = undefined;
            await writeFileAtomic(path, text);
          });
      return writing;
    },
    async remove() {
      await writing.catch(() => undefined);
      rmSync(path, { force: true });
    },
  };
}

/**
 * Parses the file. A crash leaves it whole, because writes are atomic. Another program may have written it:
 * subnets and hosts that cannot be read are dropped. Returns undefined if the file does not exist or contains
 * no identity. A file that exists and cannot be read is not replaced.
 * @throws STORAGE_…
 */
function readRemembered(path: string): Remembered | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (thrown) {
    if (meansGone(thrown)) return undefined;
    throw storageFailure(thrown, 'read the identity of this host', path);
  }
  const { network, id, subnets, peers } = objectOf(bytes) ?? {};
  if (typeof id !== 'string' || !Array.isArray(subnets) || !Array.isArray(peers)) return undefined;
  return {
    network: typeof network === 'string' ? network : '',
    id,
    subnets: readSubnets(subnets),
    peers: peers.flatMap((each) => readPeer(each) ?? []),
  };
}

const readSubnets = (given: readonly unknown[]): string[] =>
  given.flatMap((each) => (typeof each === 'string' ? (readSubnet(each) ?? []) : []));

function readPeer(given: unknown): Peer | undefined {
  const { host, record, subnets } = (given ?? {}) as Readonly<Record<string, unknown>>;
  const read = typeof record === 'object' && record !== null ? readHost(encode(record)) : undefined;
  return typeof host === 'string' && read !== undefined && Array.isArray(subnets)
    ? { host, record: read, subnets: readSubnets(subnets) }
    : undefined;
}

/** Returns the MAC address of a host's end of the VXLAN: unique and locally administered. */
export function macOf(id: string, network: string): string {
  const digest = createHash('sha256').update(`${network} ${id}`).digest().subarray(0, 6);
  digest[0] = ((digest[0] ?? 0) & 0xfc) | 0x02;
  return digest.toString('hex').replace(/..(?=.)/gu, '$&:');
}
