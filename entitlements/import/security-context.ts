import { CAPABILITIES, capabilityName } from '../capabilities/capability-names.ts';
import { askedFromSecurityContext } from '../ceiling/asked.ts';
import type { SecurityContextRequest } from '../ceiling/asked.ts';
import { holds } from '../ceiling/demand.ts';
import { either } from '../profile/sets.ts';
import { entitlementsError } from '../errors.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { misspelled, unknownField, unknownFieldText } from './known-fields.ts';
import { profileName } from './imported.ts';
import type { Imported, Remark } from './imported.ts';

/** A container of a pod, as a profile. */
export interface ImportedContainer extends Imported {
  readonly name: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Data that a manifest refers to but does not contain. */
export interface PodReferences {
  /** Returns the profile with that name, which an annotation may use. */
  readonly profile: (name: string) => Profile | undefined;
  /** Returns the parsed seccomp JSON of `localhostProfile`; undefined if it is not available. */
  readonly seccomp: (path: string) => unknown;
}

const SECCOMP = ['localhostProfile', 'type'];
const APPARMOR = SECCOMP;
const SELINUX = ['level', 'role', 'type', 'user'];
/** Fields of both: core/v1, PodSecurityContext and SecurityContext, Kubernetes 1.37. */
const EITHER = [
  'appArmorProfile',
  'runAsGroup',
  'runAsNonRoot',
  'runAsUser',
  'seLinuxOptions',
  'seccompProfile',
  'windowsOptions',
];
const OF_POD = [
  'fsGroup',
  'fsGroupChangePolicy',
  'seLinuxChangePolicy',
  'supplementalGroups',
  'supplementalGroupsPolicy',
  'sysctls',
  ...EITHER,
];
const OF_CONTAINER = [
  'allowPrivilegeEscalation',
  'capabilities',
  'privileged',
  'procMount',
  'readOnlyRootFilesystem',
  ...EITHER,
];
/**
 * The fields of a pod and a container that are read. A field with a similar name is treated as a typing
 * error.
 */
const READ_OF_POD = [
  'containers',
  'ephemeralContainers',
  'hostIPC',
  'hostNetwork',
  'hostPID',
  'hostUsers',
  'initContainers',
  'securityContext',
  'volumes',
];
const READ_OF_CONTAINER = ['resources', 'securityContext', 'volumeMounts'];

/** Kubernetes kinds that contain a pod, and where. */
const POD_PLACES: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  PodTemplate: ['template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
  DaemonSet: ['spec', 'template'],
  Deployment: ['spec', 'template'],
  Job: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
};

/** Returns true for a Kubernetes object that contains a pod. */
export function holdsPod(value: unknown): boolean {
  const kind = fieldsOf(value)['kind'];
  return typeof kind === 'string' && Object.hasOwn(POD_PLACES, kind) && fieldsOf(value)['spec'] !== undefined;
}

/**
 * Imports each container of a Kubernetes object (a Pod, or an object with a pod template) as the profile that
 * its security context asks for, with a kubelet's defaults for absent fields. Requests without a counterpart
 * that only restrict files, ids or labels are listed.
 * @throws ENTITLEMENTS_BAD_PROFILE for a manifest with another structure, ENTITLEMENTS_UNKNOWN_CAPABILITY
 */
export function importPod(manifest: unknown, references: PodReferences): ImportedContainer[] {
  const kind = String(fieldsOf(manifest)['kind']);
  const place = POD_PLACES[kind];
  if (place === undefined) throw bad('kind', `${kind} holds no pod`);
  const pod = place.reduce<unknown>((value, key) => fieldsOf(value)[key], manifest);
  const spec = member(pod, 'spec', [...place, 'spec'].join('.'));
  const annotations = fieldsOf(fieldsOf(fieldsOf(pod)['metadata'])['annotations']);
  const prefix = [...place, 'spec'].join('.');
  const containers = ['initContainers', 'containers', 'ephemeralContainers'].flatMap((list) =>
    listOf(spec[list], `${prefix}.${list}`).map((item, at) => ({
      container: member({ item }, 'item', `${prefix}.${list}[${at}]`),
      path: `${prefix}.${list}[${at}]`,
    })),
  );
  if (containers.length === 0) throw bad(`${prefix}.containers`, 'there is none');
  return containers.map(({ container, path }) =>
    importContainer(spec, prefix, container, path, annotations, references),
  );
}

function importContainer(
  spec: Fields,
  specPath: string,
  container: Fields,
  path: string,
  annotations: Fields,
  references: PodReferences,
): ImportedContainer {
  const unmapped: Remark[] = [];
  const notes: Remark[] = [];
  refuseSlips(spec, READ_OF_POD, specPath);
  refuseSlips(container, READ_OF_CONTAINER, path);
  const ofPod = securityContext(spec, OF_POD, specPath);
  const own = securityContext(container, OF_CONTAINER, path);
  const where = (field: string): string =>
    own[field] === undefined ? `${specPath}.securityContext.${field}` : `${path}.securityContext.${field}`;
  const either_ = (field: string): unknown => own[field] ?? ofPod[field];
  const capabilities = closed(own, 'capabilities', ['add', 'drop'], `${path}.securityContext`);
  const text = typeof container['name'] === 'string' ? container['name'] : '';
  const ours = Object.keys(annotations).filter((key) => key.startsWith('portcullis.dev/'));
  const odd = ours.find((key) => !/^portcullis\.dev\/profile(\..+)?$/.test(key));
  if (odd !== undefined)
    throw bad(
      `metadata.annotations.${odd}`,
      'there is no such annotation: portcullis.dev/profile names a profile',
    );
  const named = annotations[`portcullis.dev/profile.${text}`] ?? annotations['portcullis.dev/profile'];
  const profile = typeof named === 'string' ? references.profile(named) : undefined;
  if (named !== undefined && profile === undefined)
    throw bad(
      'metadata.annotations',
      `there is no profile ${JSON.stringify(named)}: name its file by --policy`,
    );
  const seccomp = readSeccomp(
    fieldsOf(either_('seccompProfile')),
    where('seccompProfile'),
    references,
    unmapped,
  );
  if (seccomp === undefined && profile === undefined && own['privileged'] !== true) {
    notes.push({
      part: where('seccompProfile'),
      why: 'absent, so no filter is asked for (a kubelet with seccompDefault asks for RuntimeDefault)',
    });
  }
  const request: SecurityContextRequest = {
    privileged: flag(own, 'privileged', `${path}.securityContext`),
    addCapabilities: texts(capabilities['add'], `${path}.securityContext.capabilities.add`),
    dropCapabilities: texts(capabilities['drop'], `${path}.securityContext.capabilities.drop`),
    addAmbient: [],
    noNewPrivs:
      own['allowPrivilegeEscalation'] !== undefined &&
      !flag(own, 'allowPrivilegeEscalation', `${path}.securityContext`),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...readAppArmor(fieldsOf(either_('appArmorProfile')), where('appArmorProfile'), unmapped),
    ...(unmasked(own, path) ? { maskedPaths: [], readonlyPaths: [] } : {}),
    readonlyRootfs: flag(own, 'readOnlyRootFilesystem', `${path}.securityContext`),
    hostNetwork: flag(spec, 'hostNetwork', specPath),
    hostPid: flag(spec, 'hostPID', specPath),
    hostIpc: flag(spec, 'hostIPC', specPath),
    boundingCapabilities: [...CAPABILITIES],
    ...(profile === undefined ? {} : { profile }),
  };
  const asked = askedFromSecurityContext(request).asked;
  const user = either_('runAsUser');
  if (
    user !== undefined &&
    user !== null &&
    (typeof user !== 'number' || !Number.isSafeInteger(user) || user < 0)
  )
    throw bad(where('runAsUser'), 'it is no user id');
  const nonRoot =
    flag(
      own['runAsNonRoot'] === undefined ? ofPod : own,
      'runAsNonRoot',
      where('runAsNonRoot').replace(/\.runAsNonRoot$/, ''),
    ) ||
    (typeof user === 'number' && user > 0);
  const volumes = listOf(spec['volumes'], `${specPath}.volumes`);
  const mounts = listOf(container['volumeMounts'], `${path}.volumeMounts`);
  const ofHost = volumes
    .filter((volume) => fieldsOf(volume)['hostPath'] !== undefined)
    .map((volume) => fieldsOf(volume)['name']);
  const sysctls = listOf(ofPod['sysctls'], `${specPath}.securityContext.sysctls`).map((item) =>
    String(fieldsOf(item)['name']),
  );
  listUnmapped(own, ofPod, spec, where, specPath, unmapped, notes);
  return {
    name: profileName(text) ?? 'container',
    profile: {
      ...asked,
      nonRoot: asked.nonRoot || nonRoot,
      hostPaths: asked.hostPaths || mounts.some((mount) => ofHost.includes(fieldsOf(mount)['name'])),
      hostPorts: asked.hostPorts || namesHostPorts(spec),
      ownNamespaces:
        spec['hostUsers'] !== undefined && spec['hostUsers'] !== null && !flag(spec, 'hostUsers', specPath)
          ? either(asked.ownNamespaces, ['user' as const])
          : asked.ownNamespaces,
      sysctls: sysctls.every((name) => holds(defaultProfile(), { kind: 'sysctl', name }))
        ? asked.sysctls
        : 'any',
      resources: {
        ...asked.resources,
        ...readResources(closed(container, 'resources', ['claims', 'limits', 'requests'], path), path, notes),
      },
    },
    unmapped,
    notes,
  };
}

/**
 * This includes all containers, because every ceiling of a pod is checked for the pod's ports. A pod on the
 * host's network has the host's ports in any case.
 */
const namesHostPorts = (spec: Fields): boolean =>
  spec['hostNetwork'] !== true &&
  ['initContainers', 'containers'].some((list) =>
    listOf(spec[list], list).some((container) =>
      listOf(fieldsOf(container)['ports'], 'ports').some(
        (port) => ![undefined, null, 0].some((none) => none === fieldsOf(port)['hostPort']),
      ),
    ),
  );

function readSeccomp(
  found: Fields,
  part: string,
  references: PodReferences,
  unmapped: Remark[],
): SecurityContextRequest['seccomp'] {
  const type = found['type'];
  if (type === undefined) return undefined;
  if (type === 'RuntimeDefault' || type === 'Unconfined') return { type };
  if (type !== 'Localhost')
    throw bad(`${part}.type`, `${JSON.stringify(type)} is not RuntimeDefault, Localhost or Unconfined`);
  const file = found['localhostProfile'];
  if (typeof file !== 'string') throw bad(`${part}.localhostProfile`, 'it is not a text');
  const json = references.seccomp(file);
  if (json !== undefined) return { type, json };
  unmapped.push({
    part: `${part}.localhostProfile`,
    why: `the file ${file} of the node is not here; the default filter is used instead`,
  });
  return { type: 'RuntimeDefault' };
}

function readAppArmor(
  found: Fields,
  part: string,
  unmapped: Remark[],
): Pick<SecurityContextRequest, 'apparmor'> {
  const type = found['type'];
  if (type === undefined) return {};
  if (type === 'RuntimeDefault' || type === 'Unconfined') return { apparmor: type };
  if (type !== 'Localhost')
    throw bad(`${part}.type`, `${JSON.stringify(type)} is not RuntimeDefault, Localhost or Unconfined`);
  unmapped.push({
    part: `${part}.localhostProfile`,
    why: `the profile ${String(found['localhostProfile'])} of the node is not here; the default one is used instead`,
  });
  return { apparmor: 'RuntimeDefault' };
}

/** Lists fields that restrict what a container may do and that a profile cannot express. */
function listUnmapped(
  own: Fields,
  ofPod: Fields,
  spec: Fields,
  where: (field: string) => string,
  specPath: string,
  unmapped: Remark[],
  notes: Remark[],
): void {
  const labels = fieldsOf(own['seLinuxOptions'] ?? ofPod['seLinuxOptions']);
  if (labels['type'] !== undefined || labels['user'] !== undefined || labels['role'] !== undefined) {
    unmapped.push({
      part: where('seLinuxOptions'),
      why: 'profiles do not cover SELinux types, users and roles',
    });
  }
  if (own['windowsOptions'] !== undefined || ofPod['windowsOptions'] !== undefined)
    unmapped.push({ part: where('windowsOptions'), why: 'this runtime is for Linux' });
  for (const field of ['runAsGroup', 'supplementalGroups', 'fsGroup']) {
    if ((own[field] ?? ofPod[field]) !== undefined)
      notes.push({ part: where(field), why: 'the pod chooses ids; they are not part of a profile' });
  }
  if (spec['shareProcessNamespace'] === true)
    notes.push({
      part: `${specPath}.shareProcessNamespace`,
      why: 'the pod decides which of its containers see each other; this is not part of a profile',
    });
}

const SIZE: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  E: 10n ** 18n,
  Ki: 1n << 10n,
  Mi: 1n << 20n,
  Gi: 1n << 30n,
  Ti: 1n << 40n,
  Pi: 1n << 50n,
  Ei: 1n << 60n,
};

/** Reads Kubernetes quantities of `resources.limits`: memory in bytes, cpu in thousandths. */
function readResources(resources: Fields, path: string, notes: Remark[]): Profile['resources'] {
  const limits = optional(resources, 'limits', `${path}.resources`);
  const found: { cpu?: bigint; memory?: bigint } = {};
  for (const [name, written] of Object.entries(limits)) {
    const part = `${path}.resources.limits.${name}`;
    if (
      name !== 'cpu' &&
      name !== 'memory' &&
      !/^(hugepages-\w+|ephemeral-storage|storage|pods|.*\/.*)$/.test(name)
    )
      throw bad(part, 'there is no such resource');
    if (name !== 'cpu' && name !== 'memory')
      notes.push({ part, why: 'it is for the scheduler, and not part of a profile' });
    else found[name] = quantity(String(written), part, name === 'cpu' ? 1000n : 1n);
  }
  return found;
}

/** Returns a quantity times `scale`, rounded down: a limit may be lower than requested, but never higher. */
function quantity(written: string, part: string, scale: bigint): bigint {
  const found = /^(\d{1,18})(?:\.(\d{1,9}))?(m|k|[MGTPE]|[KMGTPE]i)?$/.exec(written);
  if (found === null) throw bad(part, `${written} is no quantity`);
  const [, whole = '', part_ = '', unit = ''] = found;
  const [multiply, divide] = unit === 'm' ? [1n, 1000n] : [SIZE[unit] ?? 1n, 1n];
  return (BigInt(whole + part_) * multiply * scale) / (divide * 10n ** BigInt(part_.length));
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function member(value: unknown, key: string, path: string): Fields {
  const found = fieldsOf(value)[key];
  if (typeof found !== 'object' || found === null || Array.isArray(found))
    throw bad(path, 'it is not an object');
  return found as Fields;
}

/**
 * Checks that all fields of a security context and its parts are known, because a misspelled field would have
 * no effect.
 */
function securityContext(value: Fields, known: readonly string[], path: string): Fields {
  const found = closed(value, 'securityContext', known, path);
  const place = `${path}.securityContext`;
  closed(found, 'seccompProfile', SECCOMP, place);
  closed(found, 'appArmorProfile', APPARMOR, place);
  closed(found, 'seLinuxOptions', SELINUX, place);
  return found;
}

function closed(value: Fields, key: string, known: readonly string[], path: string): Fields {
  const found = optional(value, key, path);
  const unknown = unknownField(found, known);
  if (unknown !== undefined) throw bad(`${path}.${key}.${unknown.key}`, unknownFieldText(unknown));
  return found;
}

function refuseSlips(value: Fields, known: readonly string[], path: string): void {
  const slip = misspelled(value, known);
  if (slip !== undefined) throw bad(`${path}.${slip.key}`, unknownFieldText(slip));
}

function unmasked(own: Fields, path: string): boolean {
  const mount = own['procMount'] ?? 'Default';
  if (mount !== 'Default' && mount !== 'Unmasked')
    throw bad(`${path}.securityContext.procMount`, 'it is not Default or Unmasked');
  return mount === 'Unmasked';
}

function optional(value: Fields, key: string, path: string): Fields {
  return value[key] === undefined || value[key] === null ? {} : member(value, key, `${path}.${key}`);
}

function listOf(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw bad(path, 'it is not a list');
  return value;
}

function texts(value: unknown, path: string): string[] {
  return listOf(value, path).map((item, at) => {
    if (typeof item !== 'string') throw bad(`${path}[${at}]`, 'it is not a text');
    if (!/^(CAP_)?ALL$/i.test(item) && capabilityName(item) === undefined)
      throw bad(`${path}[${at}]`, `there is no capability ${item}`);
    return item;
  });
}

function flag(value: Fields, key: string, path: string): boolean {
  const found = value[key];
  if (found !== undefined && found !== null && typeof found !== 'boolean')
    throw bad(`${path}.${key}`, 'it is not true or false');
  return found === true;
}

function bad(path: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read Kubernetes object',
    on: path,
    why,
    fix: 'write it as the Kubernetes API has it (kubectl explain pod.spec)',
  });
}
