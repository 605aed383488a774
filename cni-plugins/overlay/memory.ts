import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';
import type { Peer } from './ownership/peers.ts';

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
 * Parses the file. A crash leaves it whole, because writes are atomic. Only the types of its fields are
 * checked: another program may have written it.
 */
function readRemembered(path: string): Remembered | undefined {
  try {
    const value = parseJson(readFileSync(path, 'utf8')) as Partial<Remembered> | null;
    if (typeof value?.id !== 'string' || !Array.isArray(value.subnets) || !Array.isArray(value.peers))
      return undefined;
    return value as Remembered;
  } catch {
    return undefined;
  }
}

/** Returns the MAC address of a host's end of the VXLAN: unique and locally administered. */
export function macOf(id: string, network: string): string {
  const digest = createHash('sha256').update(`${network} ${id}`).digest().subarray(0, 6);
  digest[0] = ((digest[0] ?? 0) & 0xfc) | 0x02;
  return digest.toString('hex').replace(/..(?=.)/gu, '$&:');
}
