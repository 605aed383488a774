import { statSync } from 'node:fs';
import { PortcullisError } from '../../base/errors/index.ts';
import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { isRefusal } from '../netlink/kernel-failure.ts';
import type { Link } from '../netlink/links.ts';
import { addOwnedTable, deleteTable, getTable, readTable } from '../netlink/nftables.ts';
import { transact } from '../netlink/nft-transactions.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';

/** Empty, and there while a daemon runs: `nft list tables` shows it. */
const lockTable = { family: 'inet', name: 'portcullis_lock' } as const;
const attempts = 3;

/**
 * Claims the network namespace of this process for the daemon of one root, until the returned function is called or the process ends, however
 * it ends. The claim is a table of nf_tables that its socket owns: the kernel has one of a name in each network namespace, for all mount and PID
 * namespaces, lets nobody without CAP_NET_ADMIN make it, and deletes it with the socket. Nothing else is changed.
 * Synchronous. A kernel without such tables (before 5.12) is told in the log, and the claim is left out.
 * @param root of the daemon, for whoever is refused
 * @throws NETWORK_NAMESPACE_IN_USE · NETWORK_KERNEL_<ERRNO>
 */
export function claimNetworkNamespace(root: string, log: Pick<Logger, 'warn'>): () => void {
  const socket = openNetlink(NETLINK_NETFILTER);
  try {
    claim(socket, root);
    return () => socket.close();
  } catch (thrown) {
    socket.close();
    if (!isRefusal(thrown, 'EOPNOTSUPP', 'EINVAL')) throw thrown;
    log.warn({}, 'this kernel has no tables with an owner: a second daemon in this network namespace is told by the links of pods alone');
    return () => undefined;
  }
}

function claim(socket: NetlinkSocket, root: string): void {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return transact(socket, [addOwnedTable(lockTable, `portcullisd ${process.pid} ${root}`)]);
    } catch (thrown) {
      if (!isRefusal(thrown, 'EPERM', 'EEXIST')) throw thrown;
      const answer = socket.find(getTable(lockTable), 'ENOENT');
      const standing = answer === undefined ? undefined : readTable(answer);
      if (standing?.owned === true) throw inUse(standing.comment);
      // Not there: its owner ended in between, or this process may make no table at all.
      if (attempt === attempts) throw thrown;
      // Without an owner it was written by hand or loaded from a saved ruleset: no daemon holds it.
      if (standing !== undefined) removeOwnerless(socket);
    }
  }
}

function removeOwnerless(socket: NetlinkSocket): void {
  try {
    transact(socket, [deleteTable(lockTable)]);
  } catch (thrown) {
    if (!isRefusal(thrown, 'ENOENT', 'EPERM')) throw thrown;
  }
}

/** Of the calling thread, as `readlink /proc/self/ns/net` says it. */
const namespaceName = (): string => `network namespace net:[${statSync('/proc/thread-self/ns/net').ino}]`;

function inUse(comment: string): PortcullisError {
  const { pid, root } = /^portcullisd (?<pid>\d+) (?<root>.*)$/su.exec(comment)?.groups ?? {};
  const holder = pid === undefined ? 'another process' : `process ${pid}, the daemon of the root ${root ?? ''},`;
  return new PortcullisError({
    code: 'NETWORK_NAMESPACE_IN_USE',
    kind: 'already-exists',
    attempted: 'start the daemon in the',
    on: namespaceName(),
    why: `${holder} holds its links and rules`,
    fix: 'stop that daemon, or start this one in a network namespace of its own (unshare --net, ip netns exec)',
  });
}

const mostNamed = 5;

/** @param links of pods, that this root did not make */
export function ofAnotherRoot(links: readonly Pick<Link, 'alias' | 'name'>[]): PortcullisError {
  const named = links.slice(0, mostNamed).map(({ name, alias }) => (alias === '' ? name : `${name} (${alias})`));
  const more = links.length > mostNamed ? ` and ${links.length - mostNamed} more` : '';
  return new PortcullisError({
    code: 'NETWORK_LINKS_OF_ANOTHER_ROOT',
    kind: 'precondition',
    attempted: 'bring in order the links of the',
    on: namespaceName(),
    why: `pods are attached there that this root has no record of: ${named.join(', ')}${more}`,
    fix: 'start the daemon with the root that they belong to, or this one in a network namespace of its own; where their pods are gone: ip link delete NAME',
  });
}
