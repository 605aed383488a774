import { readDevice } from '../profile/devices.ts';
import type { Entitlement } from './entitlement.ts';

export const HOST_ENTITLEMENTS: readonly Entitlement[] = [
  {
    name: 'host.devices.none',
    title: 'No device of the host: only the usual null, zero, random and terminals',
    risk: 'low',
    grants: {},
    // libentitlement also replaces all mounts with docker's defaults, and so drops the user's volumes.
    excludes: {
      capabilities: ['MKNOD', 'SYS_ADMIN', 'SYS_RAWIO'],
      hostDevices: true,
      maskedPaths: ['/proc/kcore'],
    },
    tests: {
      allows: ['device c 1:3 rw'],
      denies: ['CAP_MKNOD', 'device b 8:0 r', 'read /proc/kcore', 'host devices'],
    },
  },
  {
    name: 'host.devices.view',
    title: 'Volumes are read-only, whatever the pod says',
    risk: 'medium',
    grants: {},
    excludes: { volumeWrites: true },
    tests: { denies: ['writing volumes'] },
  },
  {
    name: 'host.devices.admin',
    title: 'All devices of the host, readable and writable; nothing of /proc and /sys is masked',
    risk: 'critical',
    grants: { capabilities: ['SYS_ADMIN'], hostDevices: true, unmasked: true },
    tests: {
      allows: ['CAP_SYS_ADMIN', 'device b 8:0 rw', 'read /proc/kcore', 'host devices'],
      denies: ['CAP_SYS_RAWIO', 'mount()'],
    },
  },
  {
    name: 'host.device',
    title: 'One device, or all of a major number, in addition to the usual ones',
    risk: 'high',
    grants: {},
    argument: {
      form: 'TYPE MAJOR:MINOR ACCESS',
      example: 'c 10:232 rw',
      read: (text) => {
        const found = readDevice(text);
        return 'problem' in found
          ? { problem: `${found.problem}; ${found.fix}` }
          : { grants: { devices: [text] } };
      },
    },
    tests: { allows: ['device c 10:232 rw'], denies: ['device c 10:232 m', 'device c 10:229 r'].slice(1) },
  },
  {
    name: 'host.device.kvm',
    title: 'Virtual machines by the host’s /dev/kvm',
    risk: 'high',
    grants: { devices: ['c 10:232 rw'] },
    tests: { allows: ['device c 10:232 rw'], denies: ['device c 10:229 rw'] },
  },
  {
    name: 'host.device.fuse',
    title: 'File systems in user space by /dev/fuse; mounting one needs kernel.mounts',
    risk: 'medium',
    grants: { devices: ['c 10:229 rw'] },
    tests: { allows: ['device c 10:229 rw'], denies: ['device c 10:232 rw', 'mount()'] },
  },
  {
    name: 'host.device.tun',
    title: 'Network tunnels by /dev/net/tun; making one needs network.admin',
    risk: 'medium',
    grants: { devices: ['c 10:200 rw'] },
    tests: { allows: ['device c 10:200 rw'], denies: ['CAP_NET_ADMIN'] },
  },
  {
    name: 'host.paths',
    title: 'Paths of the host mounted as volumes, readable and writable',
    risk: 'critical',
    grants: { hostPaths: true },
    tests: { allows: ['host paths'], denies: ['host devices'] },
  },
  {
    name: 'host.ports',
    title: 'Ports of the host that lead to its pod: host ports, and ingress ports of services',
    risk: 'high',
    grants: { hostPorts: true },
    tests: { allows: ['host ports'], denies: ['host network', 'host paths'] },
  },
  {
    name: 'host.processes.none',
    title: 'Sees the processes of its own container or pod only',
    risk: 'low',
    grants: {},
    excludes: { hostNamespaces: ['pid'] },
    tests: { denies: ['host pid'] },
  },
  {
    name: 'host.processes.admin',
    title: 'Sees and signals the processes of the host',
    risk: 'critical',
    grants: { hostNamespaces: ['pid'] },
    tests: { allows: ['host pid'], denies: ['host ipc', 'CAP_SYS_PTRACE'] },
  },
  {
    name: 'host.ipc.none',
    title: 'Shares memory, semaphores and message queues with its own pod only',
    risk: 'low',
    grants: {},
    excludes: { hostNamespaces: ['ipc'] },
    tests: { denies: ['host ipc'] },
  },
  {
    name: 'host.ipc.admin',
    title: 'Shares memory, semaphores and message queues with the host',
    risk: 'critical',
    grants: { hostNamespaces: ['ipc'] },
    tests: { allows: ['host ipc'], denies: ['host pid'] },
  },
  {
    name: 'api.access',
    title: 'Access to an API of the container engine: a named part of it, or all of it, allowed or denied',
    risk: 'critical',
    grants: {},
    argument: { form: 'API:SUBSET:deny', example: 'engine.v1:all:deny', read: apiAccess },
    tests: { denies: ['host paths'] },
  },
];

/**
 * libentitlement's `api.access=<api>:<subset>:<allow|deny>`. An engine's API is a socket of the host, and a
 * process with access to the socket can use the whole API. Therefore part of it can be denied (together with
 * the rest) but not allowed (without the rest).
 */
function apiAccess(
  text: string,
): { grants: Record<string, never>; excludes: { hostPaths: true } } | { problem: string } {
  const [whole, api = '', subset = '', verdict] =
    /^([A-Za-z0-9][\w.-]{0,127}):([\w.*/-]{1,128}):(allow|deny)$/.exec(text) ?? [];
  if (whole === undefined)
    return { problem: 'write api.access=API:SUBSET:deny, as in api.access=engine.v1:all:deny' };
  if (verdict === 'deny') return { grants: {}, excludes: { hostPaths: true } };
  return {
    problem: `access to ${subset} of ${api} cannot be granted: an engine's API is a socket, and access to the socket is access to the whole API. If that is intended, grant host.paths and mount the socket as a volume`,
  };
}
