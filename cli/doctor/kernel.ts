import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { attempt, reasonOf } from '../../base/errors/index.ts';
import { boundingCapabilities, kernelRelease, limitsProjects } from '../../base/kernel/index.ts';
import { forwardDroppers } from '../../cni-plugins/index.ts';
import type { Finding } from './finding.ts';
import { findProgram } from './programs.ts';

/** Capabilities that the daemon itself uses, and what each is needed for. */
const usedCapabilities: Readonly<Record<string, string>> = {
  SYS_ADMIN: 'mounts and namespaces',
  NET_ADMIN: 'links, addresses and rules',
  SYS_RESOURCE:
    'limits above those of the daemon, and OOM scores below that of the daemon; without it, such requests are clamped',
  MKNOD: 'device files of layers',
  CHOWN: 'owners of unpacked files',
  DAC_OVERRIDE: 'unpacking into folders of other users',
};

export function kernelFindings(): readonly Finding[] {
  return [
    release(),
    cgroups(),
    overlay(),
    projectQuotas(),
    seccomp(),
    nftables(),
    forwarding(),
    bridgedFrames(),
    capabilities(),
    appArmor(),
    seLinux(),
    landlock(),
    ipvs(),
    exitCodes(),
  ];
}

const read = (path: string): string | undefined => {
  return attempt(() => readFileSync(path, 'utf8').trim());
};

function atLeast(major: number, minor: number): boolean {
  const kernel = kernelRelease();
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

function release(): Finding {
  const found = kernelRelease().release;
  if (atLeast(5, 8)) return { topic: 'kernel', state: 'fine', found };
  return {
    topic: 'kernel',
    state: 'missing',
    found,
    meaning: ['the daemon needs openat2, pidfds and the mount API: Linux 5.8 or newer'],
    fix: 'boot a newer kernel',
  };
}

/** Reports the cgroup mode of this machine. */
function cgroups(): Finding {
  const v2 = read('/sys/fs/cgroup/cgroup.controllers');
  const mounted = (read('/proc/self/mountinfo') ?? '')
    .split('\n')
    .flatMap((line) => / - cgroup \S+ (\S+)/.exec(line)?.[1]?.split(',') ?? []);
  return cgroupFinding(v2, mounted, existsSync('/sys/fs/cgroup/unified'));
}

/** Controllers by which an OCI runtime sets the limits of a container. */
const limiting = ['cpu', 'memory', 'pids'];

/**
 * Judges the cgroup mode. cgroup v2: one tree. Hybrid: v1 controllers with an empty v2 tree for tracking.
 * @param v2 the text of cgroup.controllers of the root; undefined where v2 is not mounted there
 * @param mounted the options of the v1 mounts, among them their controllers
 */
export function cgroupFinding(
  v2: string | undefined,
  mounted: readonly string[],
  hasEmptyTree: boolean,
): Finding {
  const topic = 'cgroups';
  const known =
    v2 === undefined
      ? ['cpu', 'cpuset', 'memory', 'pids', 'devices', 'freezer'].filter((name) => mounted.includes(name))
      : v2.split(' ');
  const absent = limiting.filter((name) => !known.includes(name));
  if (absent.length === limiting.length) {
    return {
      topic,
      state: 'missing',
      found: v2 === undefined ? 'none mounted' : 'v2 without controllers',
      meaning: ['the daemon sets limits and device rules with cgroups'],
      fix:
        v2 === undefined
          ? 'mount -t cgroup2 none /sys/fs/cgroup'
          : 'give this container the controllers cpu, memory and pids, or run outside it',
    };
  }
  const without =
    absent.length === 0
      ? []
      : [`containers cannot be limited in ${absent.join(', ')}: the controllers are missing`];
  if (v2 !== undefined && without.length === 0)
    return { topic, state: 'fine', found: `v2 (${known.join(', ')})` };
  if (v2 !== undefined)
    return {
      topic,
      state: 'degraded',
      found: `v2 (${known.join(', ')})`,
      meaning: without,
      fix: 'boot a kernel with these controllers',
    };
  return {
    topic,
    state: 'degraded',
    found: `${hasEmptyTree ? 'hybrid (v1 with an empty v2 tree)' : 'v1'}: ${known.join(', ')}`,
    meaning: [
      ...without,
      'memory.oom.group, pressure figures and a kill of a whole cgroup need v2, and kubelet 1.35 and newer asks for v2 unless failCgroupV1 is false',
    ],
    fix: 'boot with systemd.unified_cgroup_hierarchy=1',
  };
}

function overlay(): Finding {
  const topic = 'overlayfs';
  if ((read('/proc/filesystems') ?? '').includes('\toverlay') || loadable('overlay'))
    return { topic, state: 'fine', found: 'available' };
  return {
    topic,
    state: 'missing',
    found: 'not in this kernel',
    meaning: ['the daemon mounts image layers with overlayfs'],
    fix: 'modprobe overlay, or boot a kernel with CONFIG_OVERLAY_FS',
  };
}

/** Reports project quotas of the file system that holds the daemon's default folder. */
function projectQuotas(): Finding {
  const topic = 'project quotas';
  const folder = ['/var/lib/portcullis', '/var/lib', '/'].find((path) => existsSync(path)) ?? '/';
  let there = false;
  try {
    there = limitsProjects(folder);
  } catch {
    // Nothing is known about a folder that cannot be opened.
  }
  if (there) return { topic, state: 'fine', found: `on the file system of ${folder}` };
  return {
    topic,
    state: 'degraded',
    found: `not on the file system of ${folder}`,
    meaning: [
      'the size of writable layers cannot be limited: `writableLayer.size` has no effect, and a pod with the annotation portcullis.dev/rootfs-size is refused',
    ],
    fix: 'mount it with prjquota: XFS, or ext4 after tune2fs -O project,quota -Q prjquota',
  };
}

function seccomp(): Finding {
  const topic = 'seccomp';
  const actions = read('/proc/sys/kernel/seccomp/actions_avail');
  if (actions !== undefined) return { topic, state: 'fine', found: actions };
  return {
    topic,
    state: 'missing',
    found: 'not in this kernel',
    meaning: ['the daemon filters system calls with seccomp'],
    fix: 'boot a kernel with CONFIG_SECCOMP_FILTER',
  };
}

function nftables(): Finding {
  const topic = 'nf_tables';
  const nft = findProgram('nft');
  if (nft === undefined)
    return {
      topic,
      state: 'degraded',
      found: 'not known: nft is not installed',
      fix: 'portcullis doctor --fix',
    };
  if (process.getuid?.() !== 0)
    return { topic, state: 'degraded', found: 'not known: only root can read it', fix: 'run as root' };
  const run = spawnSync(nft, ['list', 'tables'], { encoding: 'utf8' });
  if (run.status === 0) return { topic, state: 'fine', found: 'available' };
  return {
    topic,
    state: 'missing',
    found: run.stderr.trim(),
    meaning: ['pod isolation, masquerading and host ports need it'],
    fix: 'modprobe nf_tables, or boot a kernel with CONFIG_NF_TABLES',
  };
}

/** Reports third-party chains that drop forwarded packets. No rule of ours can override them. */
function forwarding(): Finding {
  const topic = 'forwarding';
  if (process.getuid?.() !== 0)
    return { topic, state: 'degraded', found: 'not known: only root can read it', fix: 'run as root' };
  try {
    const droppers = forwardDroppers();
    if (droppers.length === 0)
      return { topic, state: 'fine', found: 'no other chain drops forwarded packets' };
    return {
      topic,
      state: 'degraded',
      found: `${droppers.join(', ')} drops forwarded packets unless a rule there accepts them`,
      meaning: [
        'packets from pods to other hosts are lost there; with br_netfilter also packets between pods on a bridge',
      ],
      fix: 'accept the bridges of the networks there: docs/docker.md, "Where docker drops what is forwarded"',
    };
  } catch (thrown) {
    return { topic, state: 'degraded', found: `not known: ${reasonOf(thrown)}`, fix: 'modprobe nf_tables' };
  }
}

/** Reports whether frames on a bridge pass the IP rules, which addresses of clients depend on. */
function bridgedFrames(): Finding {
  return bridgedFinding(
    ['iptables', 'ip6tables'].map((name) => [
      `net.bridge.bridge-nf-call-${name}`,
      read(`/proc/sys/net/bridge/bridge-nf-call-${name}`),
    ]),
  );
}

/** @param settings names and values; undefined: the module `br_netfilter` is not loaded */
export function bridgedFinding(settings: readonly (readonly [string, string | undefined])[]): Finding {
  const topic = 'bridged frames';
  const off = settings.filter(([, value]) => value !== '1').map(([name]) => name);
  if (off.length === 0) return { topic, state: 'fine', found: 'pass the IP rules' };
  const meaning = [
    'a pod that is a backend of a service sees the address of the bridge instead of the address of a client on the same bridge',
  ];
  if (settings.every(([, value]) => value === undefined))
    return {
      topic,
      state: 'degraded',
      found: 'do not pass the IP rules: br_netfilter is not loaded',
      meaning,
      fix: 'modprobe br_netfilter, if programs need the addresses of their clients: docs/services.md, "Clients and backends on one bridge"',
    };
  return {
    topic,
    state: 'degraded',
    found: `do not pass the IP rules: ${off.join(' and ')} ${off.length === 1 ? 'is' : 'are'} 0`,
    meaning,
    fix: `sysctl -w ${off.map((name) => `${name}=1`).join(' ')}`,
  };
}

function capabilities(): Finding {
  const topic = 'capabilities';
  const have = new Set(boundingCapabilities());
  const lost = Object.keys(usedCapabilities).filter((name) => !have.has(name));
  if (lost.length === 0) return { topic, state: 'fine', found: `${have.size} in the bounding set` };
  return {
    topic,
    state: lost.some((name) => name !== 'SYS_RESOURCE') ? 'missing' : 'degraded',
    found: `without ${lost.map((name) => `CAP_${name}`).join(', ')}`,
    meaning: lost.map((name) => `CAP_${name}: ${usedCapabilities[name] ?? ''}`),
    fix: 'run it outside this container, or give the container these capabilities',
  };
}

function appArmor(): Finding {
  const enabled = read('/sys/module/apparmor/parameters/enabled');
  if (enabled !== 'Y') return withoutAppArmor(enabled !== undefined);
  const topic = 'AppArmor';
  const parser = findProgram('apparmor_parser');
  if (parser !== undefined && !existsSync('/sys/kernel/security/apparmor/profiles')) {
    return {
      topic,
      state: 'degraded',
      found: 'enabled, but its files in /sys/kernel/security are missing',
      meaning: ['the daemon cannot see whether a profile is loaded, so no profile can be used'],
      fix: 'mount -t securityfs securityfs /sys/kernel/security',
    };
  }
  if (parser !== undefined) return { topic, state: 'fine', found: 'enabled' };
  return {
    topic,
    state: 'degraded',
    found: 'enabled, without apparmor_parser',
    meaning: ['profiles cannot be loaded'],
    fix: 'apt-get install apparmor',
  };
}

/** @param isBuilt the kernel has the module, and it is turned off */
export function withoutAppArmor(isBuilt: boolean): Finding {
  return {
    topic: 'AppArmor',
    state: 'degraded',
    found: isBuilt ? 'not enabled' : 'not in this kernel',
    meaning: [
      'AppArmor cannot enforce file rules of profiles; a pod that asks for an AppArmor profile is refused',
    ],
    fix: isBuilt ? 'boot with apparmor=1 security=apparmor' : 'boot a kernel with CONFIG_SECURITY_APPARMOR',
  };
}

function seLinux(): Finding {
  const topic = 'SELinux';
  if (existsSync('/sys/fs/selinux/enforce')) {
    const isEnforcing = read('/sys/fs/selinux/enforce') === '1';
    return { topic, state: 'fine', found: isEnforcing ? 'enabled' : 'enabled, permissive' };
  }
  return {
    topic,
    state: 'degraded',
    found: 'not enabled in this kernel',
    meaning: ['selinux_options of pods are not applied; the verbose status of such a container reports it'],
    fix: 'if pods need labels, boot with security=selinux; profiles (docs/profiles.md) work without it',
  };
}

function landlock(): Finding {
  const topic = 'Landlock';
  const modules = read('/sys/kernel/security/lsm');
  if (modules?.split(',').includes('landlock') === true) return { topic, state: 'fine', found: 'enabled' };
  const meaning = ['file rules have no fallback if AppArmor is absent'];
  if (modules !== undefined)
    return {
      topic,
      state: 'degraded',
      found: `not among the security modules (${modules})`,
      meaning,
      fix: 'boot with lsm=landlock,…',
    };
  return {
    topic,
    state: 'degraded',
    found: 'not known: /sys/kernel/security is not mounted',
    meaning,
    fix: 'mount -t securityfs none /sys/kernel/security',
  };
}

function ipvs(): Finding {
  const topic = 'IPVS';
  if (existsSync('/proc/net/ip_vs') || loadable('ip_vs')) return { topic, state: 'fine', found: 'available' };
  return {
    topic,
    state: 'degraded',
    found: 'not in this kernel',
    meaning: ['nftables balances services instead'],
    fix: 'boot a kernel with CONFIG_IP_VS',
  };
}

/** Reports whether the kernel has PIDFD_INFO_EXIT (Linux 6.15). */
function exitCodes(): Finding {
  const topic = 'exit codes by pidfd';
  if (atLeast(6, 15)) return { topic, state: 'fine', found: 'available' };
  return {
    topic,
    state: 'degraded',
    found: 'needs Linux 6.15',
    meaning: ['when a container’s conmon is killed, its exit code is lost: MonitorLost, 255'],
    fix: 'boot a newer kernel',
  };
}

function loadable(module: string): boolean {
  const modprobe = findProgram('modprobe');
  return modprobe !== undefined && spawnSync(modprobe, ['--dry-run', '--quiet', module]).status === 0;
}
