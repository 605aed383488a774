import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { failure } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';

/** Where agents claim the names of their nodes. */
const agentsPrefix = '/portcullis/node-agents/';
/** Returns the key of the claim on the name of a node. */
export const agentKey = (node: string): string => `${agentsPrefix}${node}`;

/** The claim of an agent on the name of its node, as its writes compare it. */
export interface Claim {
  readonly key: string;
  /** Revision of etcd of the claim. */
  readonly modRevision: number;
}

/**
 * Returns what distinguishes the agent of this folder from any other agent that may run at the same time: the
 * running kernel and the folder, which one agent at a time can lock. A restarted agent has the same identity;
 * after a reboot, the agent has another one.
 */
export function agentIdentity(folder: string): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const { dev, ino } = statSync(folder);
  return createHash('sha256')
    .update(JSON.stringify([boot, dev, ino]))
    .digest('hex');
}

/**
 * Claims the name of a node for the life of a lease. A claim of the same identity, such as that of the
 * previous process, is taken over.
 * @throws PortcullisError NODE_NAME_TAKEN when another agent has the name; OVERLAY_ETCD_*
 */
export async function claimName(
  client: Pick<EtcdClient, 'get' | 'transact'>,
  { name, identity, lease }: { readonly name: string; readonly identity: string; readonly lease: number },
): Promise<Claim> {
  const key = agentKey(name);
  const value = Buffer.from(identity);
  // Comparison targets of etcd's API: 2 is the revision of the last change, 0 for a key that does not exist.
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const found = await client.get(key);
    if (found !== undefined && !found.value.equals(value)) throw taken(name);
    await client.transact(
      [{ result: 0, target: 2, key, modRevision: found?.modRevision ?? 0 }],
      [{ put: { key, value, lease } }],
    );
    // If the answer was lost, the client repeats the request, which then fails by its own comparison: read
    // the key.
    const now = await client.get(key);
    if (now?.value.equals(value) === true && now.lease === lease)
      return { key, modRevision: now.modRevision };
  }
  throw taken(name);
}

function taken(name: string): PortcullisError {
  return failure(
    'NODE_NAME_TAKEN',
    'already-exists',
    'take part in groups as the node',
    name,
    'another running agent has this name in etcd',
    'give each node a unique name with --node; after a reboot, wait until the lease of the previous agent has ended',
  );
}
