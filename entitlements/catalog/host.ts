import type { Entitlement } from './entitlement.ts';

export const HOST_ENTITLEMENTS: readonly Entitlement[] = [
  {
    name: 'host.devices.none',
    title: 'No device of the host: the usual null, zero, random and terminals only',
    risk: 'low',
    grants: {},
    // libentitlement also replaces all mounts by docker's defaults and so drops the user's volumes.
    excludes: { capabilities: ['MKNOD', 'SYS_ADMIN', 'SYS_RAWIO'], hostDevices: true, maskedPaths: ['/proc/kcore'] },
  },
  {
    name: 'host.devices.view',
    title: 'Volumes are read-only',
    risk: 'medium',
    grants: {},
    excludes: {},
    refused: 'it makes volumes read-only, and this version does not govern volumes',
  },
  {
    name: 'host.devices.admin',
    title: 'All devices of the host, readable and writable; nothing of /proc and /sys is masked',
    risk: 'critical',
    grants: { capabilities: ['SYS_ADMIN'], hostDevices: true, unmasked: true },
    excludes: {},
  },
  {
    name: 'host.paths',
    title: 'Paths of the host mounted as volumes, readable and writable',
    risk: 'critical',
    grants: { hostPaths: true },
    excludes: {},
  },
  {
    name: 'host.processes.none',
    title: 'Sees the processes of its own container or pod only',
    risk: 'low',
    grants: {},
    excludes: { hostNamespaces: ['pid'] },
  },
  {
    name: 'host.processes.admin',
    title: 'Sees and signals the processes of the host',
    risk: 'critical',
    grants: { hostNamespaces: ['pid'] },
    excludes: {},
  },
  {
    name: 'api.access',
    title: "Access to the engine's API",
    risk: 'critical',
    grants: {},
    excludes: {},
    refused: 'a container reaches no API of this runtime: there is none to grant, and a socket in a volume is the admission’s to judge',
  },
];
