import type { HostNamespace, Profile } from '../profile/model.ts';
import type { Capability } from '../types.ts';

/** A request that a pod or container names explicitly. */
export type Demand =
  | { readonly kind: 'privileged' }
  | { readonly kind: 'capability'; readonly name: Capability }
  | { readonly kind: 'ambient-capability'; readonly name: Capability }
  | { readonly kind: 'host-namespace'; readonly name: HostNamespace }
  | { readonly kind: 'unmasked-proc' }
  | { readonly kind: 'unconfined-apparmor' }
  | { readonly kind: 'writable-cgroups' }
  | { readonly kind: 'selinux'; readonly part: 'user' | 'role' | 'type'; readonly value: string }
  | { readonly kind: 'sysctl'; readonly name: string }
  /** `8080/tcp` */
  | { readonly kind: 'host-port'; readonly name: string };

/** Returns the demand in words for a reader. */
export function demandText(demand: Demand): string {
  switch (demand.kind) {
    case 'privileged':
      return 'privileged mode';
    case 'capability':
      return `the capability ${demand.name}`;
    case 'ambient-capability':
      return `the ambient capability ${demand.name}`;
    case 'host-namespace':
      return `the host's ${demand.name} namespace`;
    case 'unmasked-proc':
      return 'an unmasked /proc';
    case 'unconfined-apparmor':
      return 'running without an AppArmor profile';
    case 'writable-cgroups':
      return 'writable cgroups (kernel.cgroups)';
    case 'selinux':
      return `the SELinux ${demand.part} ${demand.value}`;
    case 'sysctl':
      return `the sysctl ${demand.name}`;
    case 'host-port':
      return `the host port ${demand.name}`;
  }
}

/**
 * Sysctls that a pod can set without affecting others
 * (https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/, "Safe and unsafe sysctls").
 */
const SAFE_SYSCTLS: ReadonlySet<string> = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
]);

/**
 * SELinux types that confine, and may be chosen (Pod Security Standards, baseline: "SELinux"). A custom user
 * or role is not allowed.
 */
const CONTAINED_TYPES: ReadonlySet<string> = new Set([
  'container_t',
  'container_init_t',
  'container_kvm_t',
  'container_engine_t',
]);

/** Returns true if the ceiling allows the demand. */
export function holds(ceiling: Profile, demand: Demand): boolean {
  switch (demand.kind) {
    case 'privileged':
      return (
        ceiling.hostDevices &&
        !ceiling.syscalls.filtered &&
        ceiling.writableSys &&
        ceiling.paths.masked.length === 0
      );
    case 'capability':
      return ceiling.capabilities.includes(demand.name);
    case 'ambient-capability':
      return ceiling.ambient.includes(demand.name);
    case 'host-namespace':
      return ceiling.hostNamespaces.includes(demand.name);
    case 'unmasked-proc':
      return ceiling.paths.masked.length === 0 && ceiling.paths.readonly.length === 0;
    case 'unconfined-apparmor':
      return ceiling.apparmor === 'unconfined';
    case 'writable-cgroups':
      return ceiling.writableCgroups;
    case 'selinux':
      return (
        (demand.part === 'type' && CONTAINED_TYPES.has(demand.value)) ||
        holds(ceiling, { kind: 'privileged' })
      );
    case 'sysctl':
      return ceiling.sysctls === 'any' || SAFE_SYSCTLS.has(demand.name.replaceAll('/', '.'));
    case 'host-port':
      return ceiling.hostPorts;
  }
}
