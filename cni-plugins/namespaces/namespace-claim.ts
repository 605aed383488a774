import { readFileSync, statSync } from 'node:fs';
import { PortcullisError } from '../../base/errors/index.ts';
import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { isRefusal, bindLogGroup, holderOfLogGroup, openNetlink } from '../../base/netlink/index.ts';
import type { Link, NetlinkSocket } from '../../base/netlink/index.ts';

/** No rule sends packets to this group. It only serves as a lock, and is the same for all versions. */
const claimGroup = 39_953;
const attempts = 3;

/**
 * Claims the network namespace of this process for a daemon, until the returned function is called or the
 * process ends in any way. The claim is a group of NFLOG: in each network namespace one socket can have it,
 * over all mount and PID namespaces. No process takes it without CAP_NET_ADMIN, and the kernel frees it with
 * the socket. Nothing else is changed. Synchronous. If the kernel lacks NFLOG, this is logged and no claim is
 * made.
 * @throws NETWORK_NAMESPACE_IN_USE · NETWORK_KERNEL_<ERRNO>
 */
export function claimNetworkNamespace(log: Pick<Logger, 'warn'>): () => void {
  const socket = openNetlink(NETLINK_NETFILTER);
  try {
    claim(socket);
    return () => socket.close();
  } catch (thrown) {
    socket.close();
    if (!isRefusal(thrown, 'EOPNOTSUPP', 'EINVAL')) throw thrown;
    log.warn(
      {},
      'this kernel has no NFLOG (nfnetlink_log): a second daemon in this network namespace is detected only by the links of pods',
    );
    return () => undefined;
  }
}

function claim(socket: NetlinkSocket): void {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return socket.run([bindLogGroup(claimGroup)]);
    } catch (thrown) {
      if (!isRefusal(thrown, 'EPERM', 'EBUSY')) throw thrown;
      const holder = holderOfLogGroup(
        readFileSync('/proc/thread-self/net/netfilter/nfnetlink_log', 'utf8'),
        claimGroup,
      );
      if (holder !== undefined) throw inUse(holder);
      // No process has it: its holder ended in between, or this process lacks the permission.
      if (attempt === attempts) throw thrown;
    }
  }
}

/** Returns the namespace of the calling thread as `readlink /proc/self/ns/net` shows it. */
const namespaceName = (): string => `network namespace net:[${statSync('/proc/thread-self/ns/net').ino}]`;

/** If the process number is taken, the kernel chooses a port (netlink_autobind) above this value. */
const largestPid = 2 ** 22;

function inUse(port: number): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NAMESPACE_IN_USE',
    kind: 'already-exists',
    attempted: 'start the daemon in the',
    on: namespaceName(),
    why: `${port <= largestPid ? `process ${port}` : 'another daemon'} manages its links and rules`,
    fix: 'stop that daemon, or start this one in another network namespace (unshare --net, ip netns exec)',
  });
}

const mostNamed = 5;

/**
 * Returns the error of a daemon in whose network namespace pods of another root are attached.
 * @param links links of pods that this root did not create
 */
export function ofAnotherRoot(links: readonly Pick<Link, 'alias' | 'name'>[]): PortcullisError {
  const named = links
    .slice(0, mostNamed)
    .map(({ name, alias }) => (alias === '' ? name : `${name} (${alias})`));
  const more = links.length > mostNamed ? ` and ${links.length - mostNamed} more` : '';
  return new PortcullisError({
    code: 'NETWORK_LINKS_OF_ANOTHER_ROOT',
    kind: 'precondition',
    attempted: 'reconcile the links of the',
    on: namespaceName(),
    why: `it has links of pods that this root has no record of: ${named.join(', ')}${more}`,
    fix: 'start the daemon with the root to which they belong, or start this one in another network namespace; if their pods are gone, delete the links: ip link delete NAME',
  });
}
