import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';
import type { Peer } from './peers.ts';

/** What this host knows without etcd: who it is, what is its own, and whom it sent to last. */
export interface Remembered {
  /** Of the network that the rest is about. */
  readonly network: string;
  readonly id: string;
  readonly subnets: readonly string[];
  readonly peers: readonly Peer[];
}

export interface Memory {
  readonly remembered: Remembered;
  /** Whole, durable; the last of several at once wins. */
  write(remembered: Remembered): Promise<void>;
  /** Nothing is known any more. */
  remove(): Promise<void>;
}

/** @param network says when the folder is of another network: then only the identity is kept. @throws STORAGE_… */
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

/** A file that a crash left is whole; one that somebody wrote is not trusted beyond its shape. */
function readRemembered(path: string): Remembered | undefined {
  try {
    const value = parseJson(readFileSync(path, 'utf8')) as Partial<Remembered> | null;
    if (typeof value?.id !== 'string' || !Array.isArray(value.subnets) || !Array.isArray(value.peers)) return undefined;
    return value as Remembered;
  } catch {
    return undefined;
  }
}

/** The MAC address of a host's end of the VXLAN: its own, locally administered. */
export function macOf(id: string, network: string): string {
  const digest = createHash('sha256').update(`${network} ${id}`).digest().subarray(0, 6);
  digest[0] = ((digest[0] ?? 0) & 0xfc) | 0x02;
  return digest.toString('hex').replace(/..(?=.)/gu, '$&:');
}
