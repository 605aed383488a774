import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parsePrefix } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';
import { prefixText } from './settings.ts';

/** The subnets that this node's pods have, on disk: known before the API server or the kubelet answers. */
export interface HeldSubnets {
  readonly current: readonly IpPrefix[];
  /** Writes them durably. @throws STORAGE_… */
  hold(subnets: readonly IpPrefix[]): Promise<void>;
}

/** @throws STORAGE_…; the errors of making the folder */
export async function openHeldSubnets(folder: string): Promise<HeldSubnets> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'subnets.json');
  await dropAbandonedWrites(path);
  let current = readSubnets(path);
  return {
    get current() {
      return current;
    },
    async hold(subnets) {
      await writeFileAtomic(path, JSON.stringify({ subnets: subnets.map(prefixText) }));
      current = subnets;
    },
  };
}

/** A crash leaves the file whole, because writes are atomic. A file that cannot be read holds nothing. */
function readSubnets(path: string): readonly IpPrefix[] {
  try {
    const { subnets } = parseJson(readFileSync(path, 'utf8')) as { subnets?: unknown };
    if (!Array.isArray(subnets)) return [];
    return subnets.flatMap((text: unknown) => (typeof text === 'string' ? (parsePrefix(text) ?? []) : []));
  } catch {
    return [];
  }
}
