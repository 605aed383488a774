import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { NETLINK_GENERIC } from '../../../base/kernel/index.ts';
import {
  familyNumber,
  ipvsFamilyName,
  ipvsRequests,
  readTimeouts,
  openNetlink,
} from '../../../base/netlink/index.ts';
import type { IpvsRequests, NetlinkSocket } from '../../../base/netlink/index.ts';

/**
 * The modules that IPVS needs, and its settings in this network namespace. Source:
 * Documentation/networking/ipvs-sysctl.rst.
 */

const modules = ['ip_vs', 'ip_vs_rr', 'ip_vs_wrr', 'ip_vs_wlc', 'ip_vs_sh', 'ip_vs_mh', 'dummy'];

/**
 * - conntrack: connections are tracked, so that answers come back through masquerade and another balancer
 *   leaves them alone
 * - conn_reuse_mode 1: a client port that is used again gets a new backend (since Linux 5.9 without a lost
 *   packet)
 * - expire_nodest_conn: connections of a removed destination end instead of silently losing packets
 * - expire_quiescent_template: persistence does not send new connections to a destination of weight 0
 */
export const ipvsSysctls = {
  conntrack: 1,
  conn_reuse_mode: 1,
  expire_nodest_conn: 1,
  expire_quiescent_template: 1,
} as const;

const sysctlFolder = '/proc/sys/net/ipv4/vs';

/** The kernel's default, used if connection tracking is not loaded yet: five days. */
const establishedSeconds = 432_000;

/**
 * Returns why this kernel cannot balance by IPVS, or undefined if it can. Loads the module if that is
 * allowed.
 */
export function canBalanceByIpvs(): string | undefined {
  using generic = openNetlink(NETLINK_GENERIC);
  return loaded(generic) === undefined ? missing : undefined;
}

const missing = 'the kernel has no IPVS, and `modprobe ip_vs` did not load it';

function loaded(generic: NetlinkSocket): number | undefined {
  const before = familyNumber(generic, ipvsFamilyName);
  // The kernel loads schedulers on request if it is allowed to. A missing scheduler does no harm here.
  spawnSync('modprobe', ['--quiet', '--all', ...modules], { stdio: 'ignore' });
  return before ?? familyNumber(generic, ipvsFamilyName);
}

/** @throws NETWORK_IPVS_MISSING if the kernel has neither IPVS nor a loadable module of it */
export function openIpvs(generic: NetlinkSocket): IpvsRequests {
  const family = loaded(generic);
  if (family !== undefined) return ipvsRequests(family);
  throw new PortcullisError({
    code: 'NETWORK_IPVS_MISSING',
    kind: 'precondition',
    attempted: 'open the IPVS balancer',
    on: 'generic netlink family IPVS',
    why: missing,
    fix: 'use `--backend nftables`, or a kernel with CONFIG_IP_VS (module ip_vs, schedulers ip_vs_rr, ip_vs_wrr, ip_vs_wlc, ip_vs_sh, ip_vs_mh)',
  });
}

/** Applies the settings that differ. @throws NETWORK_IPVS_SETTING */
export function settle(generic: NetlinkSocket, ipvs: IpvsRequests): void {
  for (const [name, value] of Object.entries(ipvsSysctls)) {
    const file = `${sysctlFolder}/${name}`;
    try {
      if (readFileSync(file, 'utf8').trim() !== String(value)) writeFileSync(file, String(value));
    } catch (thrown) {
      throw new PortcullisError({
        code: 'NETWORK_IPVS_SETTING',
        kind: 'precondition',
        attempted: 'set the sysctl',
        on: `net.ipv4.vs.${name}`,
        why: reasonOf(thrown),
        fix: 'run the daemon with CAP_NET_ADMIN where /proc/sys is writable, on a kernel with CONFIG_IP_VS_NFCT',
      });
    }
  }
  // IPVS forgets an idle connection after 900 s. Authors of services expect the timeout of connection
  // tracking.
  const [answer] = generic.ask(ipvs.getTimeouts());
  const wanted = trackedSeconds();
  if (answer !== undefined && readTimeouts(answer).tcp < wanted)
    generic.run([ipvs.setTimeouts({ tcp: wanted, tcpFin: 0, udp: 0 })]);
}

function trackedSeconds(): number {
  try {
    return (
      Number(readFileSync('/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established', 'utf8')) ||
      establishedSeconds
    );
  } catch {
    return establishedSeconds;
  }
}
