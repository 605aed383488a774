import { PortcullisError } from '../../../base/errors/index.ts';

/** Errors of plugins that do not come from the kernel. */

const failure = (
  code: string,
  kind: 'invalid' | 'precondition' | 'not-found',
  attempted: string,
  on: string,
  why: string,
  fix: string,
): PortcullisError => new PortcullisError({ code, kind, attempted, on, why, fix });

export const addressesMissing = (type: string): PortcullisError =>
  failure(
    'NETWORK_ADDRESSES_MISSING',
    'invalid',
    'plan the interface',
    type,
    'the address plugin gave no address',
    "give the plugin an 'ipam' with addresses",
  );

export const masterMissing = (master: string | undefined, where: 'host' | 'pod'): PortcullisError =>
  failure(
    'NETWORK_MASTER_MISSING',
    'not-found',
    'find the master link',
    master ?? 'of the default route',
    master === undefined ? `the ${where} has no default route` : `the ${where} has no link of that name`,
    "name an existing link as 'master'",
  );

export const masterUnusable = (master: string, why: string): PortcullisError =>
  failure(
    'NETWORK_MASTER_UNUSABLE',
    'invalid',
    'use the master link',
    master,
    why,
    "name a link to the network as 'master'",
  );

export const masterInUse = (
  master: string,
  link: string,
  why: string,
  fix = "name another 'master', or use the mode of the links that it has",
): PortcullisError =>
  failure('NETWORK_MASTER_IN_USE', 'precondition', `create a link (${link}) on the master`, master, why, fix);

export const mtuTooLarge = (mtu: number, master: string, limit: number): PortcullisError =>
  failure(
    'NETWORK_MTU_TOO_LARGE',
    'invalid',
    'set the MTU',
    String(mtu),
    `its master ${master} has ${limit}`,
    `set 'mtu' to ${limit} or less, or to 0`,
  );

export const interfaceTaken = (name: string, why: string): PortcullisError =>
  failure(
    'NETWORK_INTERFACE_TAKEN',
    'precondition',
    'make the interface',
    name,
    why,
    'choose another interface name, or remove that link',
  );

export const linkTypeMissing = (kind: string): PortcullisError =>
  failure(
    'NETWORK_LINK_TYPE_MISSING',
    'precondition',
    'create a link of the kind',
    kind,
    'the kernel has no links of this kind',
    `load the kernel module ${kind === 'vlan' ? '8021q' : kind}, or use a kernel that has it`,
  );

export const interfaceMissing = (name: string, where: 'host' | 'pod'): PortcullisError =>
  failure(
    'NETWORK_INTERFACE_MISSING',
    'not-found',
    'find the interface',
    name,
    `the ${where} has no interface of that name`,
    'call DEL and ADD for the attachment',
  );

export const namespaceGone = (name: string): PortcullisError =>
  failure(
    'NETWORK_NETNS_MISSING',
    'not-found',
    'change the interface',
    name,
    "the pod's network namespace is gone",
    'give the path of a pinned network namespace that still exists',
  );

export const duplicateAddress = (name: string, why: string): PortcullisError =>
  failure(
    'NETWORK_ADDRESS_TAKEN',
    'precondition',
    'give the addresses to the interface',
    name,
    why,
    "remove the other one, or turn off 'enabledad'",
  );

export const bridgeUnusable = (
  name: string,
  why: string,
  fix = "rename that link, or give another name as 'bridge' in the conflist",
): PortcullisError => failure('NETWORK_BRIDGE_UNUSABLE', 'precondition', 'use the bridge', name, why, fix);
