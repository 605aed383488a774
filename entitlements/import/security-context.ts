import { CAPABILITIES } from '../capabilities/capability-names.ts';
import { askedFromSecurityContext } from '../ceiling/asked.ts';
import type { SecurityContextRequest } from '../ceiling/asked.ts';
import { holds } from '../ceiling/demand.ts';
import { either } from '../profile/sets.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { profileName } from './imported.ts';
import type { Imported, Remark } from './imported.ts';
import {
  fieldsOf,
  member,
  securityContext,
  closed,
  refuseSlips,
  listOf,
  texts,
  flag,
  bad,
} from './kubernetes-fields.ts';
import type { Fields } from './kubernetes-fields.ts';
import { readResources } from './kubernetes-quantities.ts';
import { knownAnnotations, unknownAnnotations } from './pod-annotations.ts';
import { appArmorOf, readAppArmor } from './pod-apparmor.ts';

/** A container of a pod, as a profile. */
export interface ImportedContainer extends Imported {
  readonly name: string;
}

/** Data that a manifest refers to but does not contain. */
export interface PodReferences {
  /** Returns the profile with that name, which an annotation may use. */
  readonly profile: (name: string) => Profile | undefined;
  /** Returns the parsed seccomp JSON of `localhostProfile`; undefined if it is not available. */
  readonly seccomp: (path: string) => unknown;
}
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
const READ_OF_CONTAINER = ['resources', 'securityContext', 'volumeDevices', 'volumeMounts'];

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
  const { kind } = fieldsOf(manifest);
  const place = typeof kind === 'string' && Object.hasOwn(POD_PLACES, kind) ? POD_PLACES[kind] : undefined;
  if (place === undefined) throw bad('kind', `${typeof kind === 'string' ? kind : 'it'} contains no pod`);
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

/** A profile in a mistyped annotation would have no effect. */
function refuseUnknownAnnotations(annotations: Fields): void {
  const [unknown] = unknownAnnotations(Object.keys(annotations));
  if (unknown === undefined) return;
  throw bad(
    `metadata.annotations.${unknown.key}`,
    `there is no such annotation; known after portcullis.dev/: ${knownAnnotations}`,
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
  // The API server drops a field that is null: it says nothing.
  const placeOf = (field: string): string =>
    `${(own[field] ?? undefined) === undefined ? specPath : path}.securityContext`;
  const where = (field: string): string => `${placeOf(field)}.${field}`;
  const either_ = (field: string): unknown => own[field] ?? ofPod[field];
  const capabilities = closed(own, 'capabilities', ['add', 'drop'], `${path}.securityContext`);
  const text = typeof container['name'] === 'string' ? container['name'] : '';
  refuseUnknownAnnotations(annotations);
  const named = annotations[`portcullis.dev/profile.${text}`] ?? annotations['portcullis.dev/profile'];
  const profile = typeof named === 'string' ? references.profile(named) : undefined;
  if (named !== undefined && profile === undefined)
    throw bad(
      'metadata.annotations',
      `there is no profile ${JSON.stringify(named)}: name its file by --policy`,
    );
  const seccomp = readSeccomp(fieldsOf(either_('seccompProfile')), where('seccompProfile'), references);
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
      (own['allowPrivilegeEscalation'] ?? undefined) !== undefined &&
      !flag(own, 'allowPrivilegeEscalation', `${path}.securityContext`),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...readAppArmor(appArmorOf(own, ofPod, annotations, { name: text, path, specPath }), unmapped),
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
    throw bad(where('runAsUser'), 'it is not a user id');
  const nonRoot =
    flag({ runAsNonRoot: either_('runAsNonRoot') }, 'runAsNonRoot', placeOf('runAsNonRoot')) ||
    (typeof user === 'number' && user > 0);
  const volumes = listOf(spec['volumes'], `${specPath}.volumes`);
  const mounts = listOf(container['volumeMounts'], `${path}.volumeMounts`);
  const ofHost = volumes
    .filter((volume) => fieldsOf(volume)['hostPath'] !== undefined)
    .map((volume) => fieldsOf(volume)['name']);
  const sysctls = listOf(ofPod['sysctls'], `${specPath}.securityContext.sysctls`).map((item, at) => {
    const { name } = fieldsOf(item);
    if (typeof name !== 'string')
      throw bad(`${specPath}.securityContext.sysctls[${at}].name`, 'it is not a text');
    return name;
  });
  listUnmapped(own, ofPod, spec, where, specPath, unmapped, notes);
  if (listOf(container['volumeDevices'], `${path}.volumeDevices`).length > 0)
    notes.push({
      part: `${path}.volumeDevices`,
      why: 'the manifest does not contain the numbers of these block devices: grant the devices in the profile',
    });
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
  throw bad(
    `${part}.localhostProfile`,
    `the file ${file} of the node is not available, and the default filter may grant more`,
    "copy the node's seccomp folder, and name it by --seccomp-root",
  );
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

function unmasked(own: Fields, path: string): boolean {
  const mount = own['procMount'] ?? 'Default';
  if (mount !== 'Default' && mount !== 'Unmasked')
    throw bad(`${path}.securityContext.procMount`, 'it is not Default or Unmasked');
  return mount === 'Unmasked';
}
