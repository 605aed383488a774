import { hostname as machineName } from 'node:os';
import { PortcullisError } from '../../base/errors/index.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { planUserNamespace } from './user-namespace-options.ts';
import type { UserNamespacePlan } from './user-namespace-options.ts';

/**
 * Sysctls that belong to a namespace of the pod; any other would change the host (Kubernetes: safe and
 * namespaced sysctls).
 */
const ipcSysctl =
  /^(kernel\.(shm(max|all|mni|_rmid_forced|_next_id)|msg\w+|sem|sem_next_id|auto_msgmni)|fs\.mqueue\.\w+)$/;
/** A pod with the network of the host also has the UTS namespace of the host. */
const utsSysctl = 'kernel.domainname';
const netSysctl = /^net(\.[a-zA-Z0-9_:@/-]+)+$/;
const sysctlValue = /^[ -~\t]*$/;
/** Kubernetes' limit of a name (k8s.io/kubernetes/pkg/apis/core/validation, SysctlMaxLength). */
const sysctlNameLimit = 253;
/** No sysctl of these namespaces reads more than a page. */
const sysctlValueLimit = 4096;

const podModes: ReadonlySet<NamespaceMode> = new Set([
  NamespaceMode.POD,
  NamespaceMode.CONTAINER,
  NamespaceMode.NODE,
]);

/** Set in every network namespace of this daemon: low ports and ping need no privilege inside a pod. */
export const defaultSysctls: Readonly<Record<string, string>> = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
};

export interface SandboxPlan {
  readonly name: string;
  readonly hostNetwork: boolean;
  readonly hostIpc: boolean;
  readonly hostPid: boolean;
  /**
   * Whether its containers share a PID namespace (only if the pod requests this: without namespace_options,
   * each container has its own).
   */
  readonly sharedPids: boolean;
  readonly privileged: boolean;
  readonly hostname: string;
  readonly sysctls: Readonly<Record<string, string>>;
  /** Undefined: the host's. */
  readonly userNamespace: UserNamespacePlan | undefined;
}

/**
 * A kubelet sends names of Kubernetes. Other clients send more, and containerd accepts any text. `;` and `=`
 * would add arguments to CNI_ARGS (CNI, "Parameters"), and `(` begins the names of owners that are not pods
 * (`otherOwners` of cni-plugins).
 */
const metadataText = /^[\w.:@+,-](?:[\w.:@(+,) -]{0,251}[\w.:@(+,)-])?$/;
/** The name may contain slashes as well: `namespace/name` is unambiguous, because a namespace has none. */
const isMetadataText = (field: string, value: string): boolean =>
  metadataText.test(
    field === 'name' && !value.includes('..') ? value.replaceAll(/(?<=.)\/(?=.)/g, '.') : value,
  );

/** A file name has at most 255 bytes (NAME_MAX, limits.h). */
const longestName = 255;
/** A path has at most 4095 bytes (PATH_MAX with its NUL). The shortest log with `.tmp` needs six of them. */
const longestDirectory = 4095 - '/x.tmp'.length;

/** Returns why no container log can be below this folder; undefined: it can. */
function unfitLogDirectory(path: string): string | undefined {
  const names = path.split('/');
  if (!path.startsWith('/') || names.includes('..')) return 'is not absolute and normalized';
  if (/\p{Cc}/u.test(path)) return 'contains control characters';
  if (Buffer.byteLength(path) > longestDirectory) return `is longer than ${longestDirectory} bytes`;
  if (names.some((name) => Buffer.byteLength(name) > longestName))
    return `contains a name of more than ${longestName} bytes`;
  return undefined;
}

/**
 * Checks the request of a pod and returns its plan. Pure, except for the name of the machine.
 * Sources: cri-api PodSandboxConfig; CVE-2022-0811 (values), CVE-2022-4318 (control characters).
 * @throws PortcullisError RUNTIME_BAD_SANDBOX | RUNTIME_BAD_SYSCTL | RUNTIME_BAD_USER_NAMESPACE
 */
export function planSandbox(config: PodSandboxConfig | undefined): SandboxPlan {
  const metadata = config?.metadata;
  if (config === undefined || metadata === undefined)
    throw bad('', 'the request contains no sandbox configuration with metadata', 'send `config.metadata`');
  for (const [field, value] of [
    ['name', metadata.name],
    ['namespace', metadata.namespace],
    ['uid', metadata.uid],
  ] as const) {
    if (!isMetadataText(field, value)) {
      throw bad(
        `metadata.${field}`,
        `${JSON.stringify(value)} is empty, longer than 253 characters, or contains characters other than letters, digits, blanks and _ . : @ ( ) + , -`,
        'give a Kubernetes name',
      );
    }
  }
  const on = `${metadata.namespace}/${metadata.name}`;
  const unfit = config.logDirectory === '' ? undefined : unfitLogDirectory(config.logDirectory);
  if (unfit !== undefined)
    throw bad(
      on,
      `log_directory ${JSON.stringify(config.logDirectory.slice(0, 500))} ${unfit}`,
      'give an absolute path that the kernel accepts, without ".."',
    );
  const cgroupParent = config.linux?.cgroupParent ?? '';
  // Joined to the folder of every cgroup hierarchy, below which the daemon creates and removes folders.
  if (cgroupParent.split('/').includes('..') || cgroupParent.includes('\0'))
    throw bad(
      on,
      `linux.cgroup_parent ${JSON.stringify(cgroupParent)} contains ".." or a NUL character`,
      'give a path without ".."',
    );
  // The kernel accepts 64 bytes, and a kubelet gives as many for a pod with setHostnameAsFQDN.
  if (!/^[A-Za-z0-9_.-]{0,64}$/.test(config.hostname))
    throw bad(
      on,
      `hostname ${JSON.stringify(config.hostname)} has more than 64 characters, or characters that a host name cannot have`,
      'correct it',
    );
  const security = config.linux?.securityContext;
  const options = security?.namespaceOptions;
  for (const line of [
    ...(config.dnsConfig?.servers ?? []),
    ...(config.dnsConfig?.searches ?? []),
    ...(config.dnsConfig?.options ?? []),
  ]) {
    if (!/^[!-~]*$/.test(line))
      throw bad(
        on,
        `the DNS entry ${JSON.stringify(line)} contains blanks or control characters`,
        'correct dns_config',
      );
  }
  for (const [field, mode] of [
    ['network', options?.network],
    ['pid', options?.pid],
    ['ipc', options?.ipc],
  ] as const) {
    if (mode !== undefined && !podModes.has(mode))
      throw bad(
        on,
        `namespace_options.${field} is ${String(mode)}, which no pod can have`,
        'use POD, CONTAINER or NODE',
      );
  }
  const hostNetwork = options?.network === NamespaceMode.NODE;
  const hostIpc = options?.ipc === NamespaceMode.NODE;
  return {
    name: `k8s_${metadata.name}_${metadata.namespace}_${metadata.uid}_${metadata.attempt}`,
    hostNetwork,
    hostIpc,
    hostPid: options?.pid === NamespaceMode.NODE,
    sharedPids: options?.pid === NamespaceMode.POD,
    privileged: security?.privileged ?? false,
    // A pod on the host's network has no UTS namespace of its own, and kubelets give no host name for it.
    hostname:
      config.hostname ||
      (hostNetwork ? machineName() : metadata.name.replaceAll(/[^\w.-]/g, '-').slice(0, 63)),
    sysctls: checkedSysctls(on, config.linux?.sysctls ?? {}, { hostNetwork, hostIpc }),
    userNamespace: planUserNamespace(on, options),
  };
}

function checkedSysctls(
  on: string,
  asked: Readonly<Record<string, string>>,
  host: { readonly hostNetwork: boolean; readonly hostIpc: boolean },
): Record<string, string> {
  const all: Record<string, string> = host.hostNetwork ? {} : { ...defaultSysctls };
  for (const [key, value] of Object.entries(asked)) {
    if (key.length > sysctlNameLimit)
      throw badSysctl(on, `${key.slice(0, 64)}…`, `its name has more than ${sysctlNameLimit} characters`);
    if (value.length > sysctlValueLimit)
      throw badSysctl(on, key, `its value has more than ${sysctlValueLimit} characters`);
    const dotted = dottedSysctl(key);
    const known =
      netSysctl.test(dotted) || dotted === utsSysctl
        ? !host.hostNetwork && !climbs(dotted)
        : ipcSysctl.test(dotted) && !host.hostIpc;
    if (!known)
      throw badSysctl(
        on,
        key,
        'it does not belong to a namespace that this pod has separately from the host',
      );
    if (!sysctlValue.test(value) || value.includes('+') || value.includes('='))
      throw badSysctl(on, key, `its value ${JSON.stringify(value)} contains characters that no sysctl needs`);
    all[dotted] = value;
  }
  return all;
}

/**
 * Returns the name with dots between its parts and slashes for the dots in them: sysctl(8) reads
 * `net/ipv4/conf/eth0.7/forwarding` by its first separator, and so does Kubernetes
 * (k8s.io/component-helpers/node/util/sysctl, NormalizeName).
 */
export function dottedSysctl(name: string): string {
  if (!/^[^./]*\//.test(name)) return name;
  return name.replaceAll(/[./]/g, (separator) => (separator === '/' ? '.' : '/'));
}

/** Whether a part is not a valid name: it would lead to another file below /proc/sys. */
function climbs(dotted: string): boolean {
  return dotted
    .split('.')
    .some((part) => /^\/*$/.test(part) || part.split('/').some((piece) => piece === ''));
}

function bad(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_SANDBOX',
    kind: 'invalid',
    attempted: 'run pod sandbox',
    on,
    why,
    fix,
  });
}

function badSysctl(on: string, key: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_SYSCTL',
    kind: 'invalid',
    attempted: `set sysctl ${key} of pod`,
    on,
    why,
    fix: 'use a sysctl of the net, ipc, mqueue or uts namespaces with a simple value',
  });
}
