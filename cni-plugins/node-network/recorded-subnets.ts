import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parsePrefix } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import { fileReason, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { fieldsOf } from '../../base/kubernetes/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';
import { stateDamaged } from './errors.ts';
import { prefixText } from './settings.ts';

/** The subnets that this node's pods have, on disk: known before the API server or the kubelet answers. */
export interface HeldSubnets {
  readonly current: readonly IpPrefix[];
  /** Paths of configurations that were written for them. */
  readonly conflists: readonly string[];
  /** Writes them durably. @throws STORAGE_… */
  hold(subnets: readonly IpPrefix[]): Promise<void>;
  /** Writes them durably, before they are written or after they are removed. @throws STORAGE_… */
  holdConflists(paths: readonly string[]): Promise<void>;
}

interface Held {
  readonly subnets: readonly IpPrefix[];
  readonly conflists: readonly string[];
}

/**
 * Opens what is on disk. If it is damaged, the kernel says which subnets pods have.
 * @param inKernel returns the subnets of the bridge of pods; undefined: pods are on it, and it has none
 * @throws NODE_NETWORK_STATE_DAMAGED · STORAGE_…; the errors of making the folder
 */
export async function openHeldSubnets(
  folder: string,
  inKernel: () => readonly IpPrefix[] | undefined,
  log: { warn(fields: object, message: string): void },
): Promise<HeldSubnets> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'subnets.json');
  await dropAbandonedWrites(path);
  let held = readHeld(path, inKernel, log);
  const write = async (next: Held): Promise<void> => {
    const { subnets, conflists } = next;
    await writeFileAtomic(path, JSON.stringify({ subnets: subnets.map(prefixText), conflists }));
    held = next;
  };
  return {
    get current() {
      return held.subnets;
    },
    get conflists() {
      return held.conflists;
    },
    hold: (subnets) => write({ ...held, subnets }),
    holdConflists: (conflists) => write({ ...held, conflists }),
  };
}

function readHeld(
  path: string,
  inKernel: () => readonly IpPrefix[] | undefined,
  log: { warn(fields: object, message: string): void },
): Held {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return { subnets: [], conflists: [] };
    throw stateDamaged(path, fileReason(thrown, path));
  }
  try {
    return parseHeld(text);
  } catch (thrown) {
    // Writes are atomic: something else damaged it. Without it, pods could lose their subnet to another one.
    const subnets = inKernel();
    if (subnets === undefined) throw stateDamaged(path, reasonOf(thrown));
    log.warn(
      { path, why: reasonOf(thrown), subnets: subnets.map(prefixText) },
      'the stored subnets of the node are damaged; the subnets of the kernel are used',
    );
    return { subnets, conflists: [] };
  }
}

function parseHeld(text: string): Held {
  const { subnets, conflists = [] } = fieldsOf(parseJson(text));
  if (!Array.isArray(subnets) || !Array.isArray(conflists))
    throw new Error('the file has no list of subnets');
  return {
    subnets: subnets.map((one: unknown) => {
      const prefix = typeof one === 'string' ? parsePrefix(one) : undefined;
      if (prefix === undefined) throw new Error('a subnet in the file is not a prefix');
      return prefix;
    }),
    conflists: conflists.filter((one): one is string => typeof one === 'string'),
  };
}
