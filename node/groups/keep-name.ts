import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import { claimName } from './claim.ts';
import { memberWrites } from './member-writes.ts';
import type { MemberWrites } from './member-writes.ts';

/** The node and the agent whose name is kept. */
interface NameOptions {
  readonly client: EtcdClient;
  readonly name: string;
  /** A value that distinguishes this agent from another one with this name. */
  readonly identity: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly leaseSeconds: number;
  readonly node: { desired(): { readonly revision: string } | undefined };
}

/** Between two attempts to get a name that another agent has. */
const claimAgainMs = 1000;
/** etcd ends a lease up to some seconds late. */
const leaseEndMs = 10_000;

/** The name of a node, which one agent has at a time: two would undo each other's changes. */
interface KeptName {
  /**
   * Returns the writes of the agent that has the name, and claims the name for a lease first if necessary:
   * for a new lease, and after a write that etcd refused.
   * Undefined: another agent has it.
   * @throws PortcullisError OVERLAY_ETCD_*
   */
  writes(lease: number): Promise<MemberWrites | undefined>;
  /** Resolves with NODE_NAME_TAKEN if another agent keeps the name, and this one never had it. */
  readonly refused: Promise<PortcullisError>;
}

/** @param say called with why the name is not ours */
export function keepName(
  { client, name, identity, labels, leaseSeconds, node }: NameOptions,
  say: (text: string) => void,
): KeptName {
  const refusal = Promise.withResolvers<PortcullisError>();
  let claimedFor: number | undefined;
  let writes: MemberWrites | undefined;
  let takenSince: number | undefined;
  let againAt = -Infinity;
  /** A write was refused. Its comparisons include the claim, which may be gone while its lease lives. */
  let isDoubtful = false;
  const revision = (): string => node.desired()?.revision ?? '';
  return {
    refused: refusal.promise,
    async writes(lease) {
      if (writes !== undefined && claimedFor === lease && !isDoubtful) return writes;
      if (performance.now() < againAt) return undefined;
      try {
        const claim = await claimName(client, { name, identity, lease });
        isDoubtful = false;
        writes = withRefusals(memberWrites({ client, name, labels, claim, revision }), () => {
          isDoubtful = true;
        });
        [claimedFor, takenSince] = [lease, undefined];
        return writes;
      } catch (thrown) {
        if (!isPortcullisError(thrown) || thrown.code !== 'NODE_NAME_TAKEN') throw thrown;
        const now = performance.now();
        againAt = now + claimAgainMs;
        takenSince ??= now;
        say(`${thrown.message} [${thrown.code}]`);
        if (writes === undefined && now - takenSince > leaseSeconds * 1000 + leaseEndMs)
          refusal.resolve(thrown);
        return undefined;
      }
    },
  };
}

/** Returns the writes, and calls `onRefused` after each that changed nothing. */
function withRefusals(writes: MemberWrites, onRefused: () => void): MemberWrites {
  const watched = async (write: Promise<boolean>): Promise<boolean> => {
    const done = await write;
    if (!done) onRefused();
    return done;
  };
  return {
    register: (...of) => watched(writes.register(...of)),
    take: (...of) => watched(writes.take(...of)),
    bind: (...of) => watched(writes.bind(...of)),
    explain: (...of) => watched(writes.explain(...of)),
    leave: (...of) => watched(writes.leave(...of)),
    drop: (...of) => watched(writes.drop(...of)),
  };
}
