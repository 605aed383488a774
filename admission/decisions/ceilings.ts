import { fieldsOf, listOf, textOf } from '../../base/kubernetes/index.ts';
import type { ObjectFields } from '../../base/kubernetes/index.ts';
import { append } from '../../base/lists/index.ts';
import {
  askedFromSecurityContext,
  boundPod,
  lackedDemands,
  publisherCeiling,
} from '../../entitlements/index.ts';
import type { Ceiling, Demand, ProfileSet } from '../../entitlements/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { podSpecPath } from '../../trust/gate/index.ts';
import type { Verdict } from '../../trust/index.ts';

/** The verdicts on the images of a pod, by the reference as the pod names it. */
export type VerdictsByImage = ReadonlyMap<string, readonly Verdict[]>;

/** The requests of a pod that ceilings bound. It is small, also if the pod is large. */
export interface PodDemands {
  readonly containers: readonly ContainerDemands[];
  readonly pod: Parameters<typeof boundPod>[0];
}

interface ContainerDemands {
  readonly name: string;
  readonly image: string;
  /** A text says why they cannot be read. */
  readonly demands: readonly Demand[] | string;
}

/** Returns the requests of a pod, or of the pod of a template; undefined for every other object. */
export function podDemands(object: unknown): PodDemands | undefined {
  const path = podSpecPath(object);
  if (path === undefined) return undefined;
  const spec = path.reduce<ObjectFields>((part, step) => fieldsOf(part[step]), fieldsOf(object));
  const containers = ['initContainers', 'containers', 'ephemeralContainers']
    .flatMap((list) => listOf(spec[list]))
    .map(fieldsOf);
  return {
    containers: containers.map((container) => ({
      name: textOf(container['name']),
      image: textOf(container['image']),
      demands: attempt(() => demandsOf(spec, container)),
    })),
    pod: podRequest(spec, containers),
  };
}

/**
 * Returns the requests of a pod that exceed the ceilings of its images: the node will refuse them. The
 * seccomp and AppArmor profiles of the node are not known here, and are not compared.
 */
export function ceilingWarnings(
  { containers, pod }: PodDemands,
  verdicts: VerdictsByImage,
  profiles: ProfileSet,
): readonly string[] {
  const warnings: string[] = [];
  const all: Ceiling[] = [];
  for (const { name, image, demands } of containers) {
    const ceilings = ceilingsOf(verdicts.get(image) ?? [], profiles);
    if (ceilings === undefined) continue;
    append(all, ceilings);
    const lacked = typeof demands === 'string' ? demands : attempt(() => lackedDemands(demands, ceilings));
    if (lacked !== undefined) warnings.push(`container ${name}: ${lacked}`);
  }
  const ofPod = attempt(() => void boundPod(pod, unique(all)));
  if (ofPod !== undefined) warnings.push(`pod: ${ofPod}`);
  return warnings.map((text) => `${text}: the node will refuse it`);
}

const unique = (ceilings: readonly Ceiling[]): Ceiling[] => [
  ...new Map(ceilings.map((ceiling) => [ceiling.name, ceiling])).values(),
];

/** Returns why the question failed, if it fails. */
function attempt<T>(question: () => T): T | string {
  try {
    return question();
  } catch (error) {
    return isPortcullisError(error) ? error.failure.why : reasonOf(error);
  }
}

/** Returns undefined if there is no decision about the image. */
function ceilingsOf(verdicts: readonly Verdict[], profiles: ProfileSet): Ceiling[] | undefined {
  if (verdicts.length === 0) return undefined;
  const ceilings = verdicts.flatMap(({ ceilings: demands, requestedEntitlements = [] }) => {
    const publisher = publisherCeiling(requestedEntitlements);
    return [
      ...demands.flatMap(({ ceiling }) => {
        const profile = profiles.resolve(ceiling);
        return profile === undefined ? [] : [{ name: ceiling, profile }];
      }),
      ...(publisher === undefined ? [] : [publisher]),
    ];
  });
  return unique(ceilings);
}

/** Returns the permissions that the security context of a container requests (core/v1 SecurityContext). */
function demandsOf(spec: ObjectFields, container: ObjectFields): readonly Demand[] {
  const security = fieldsOf(container['securityContext']);
  const capabilities = fieldsOf(security['capabilities']);
  const texts = (value: unknown): string[] =>
    listOf(value)
      .map(textOf)
      .filter((text) => text !== '');
  const { explicit } = askedFromSecurityContext({
    privileged: security['privileged'] === true,
    addCapabilities: texts(capabilities['add']),
    dropCapabilities: texts(capabilities['drop']),
    addAmbient: [],
    noNewPrivs: security['allowPrivilegeEscalation'] === false,
    readonlyRootfs: security['readOnlyRootFilesystem'] === true,
    ...{ hostNetwork: false, hostPid: false, hostIpc: false, boundingCapabilities: [] },
    ...(fieldsOf(security['appArmorProfile'] ?? fieldsOf(spec['securityContext'])['appArmorProfile'])[
      'type'
    ] === 'Unconfined' && { apparmor: 'Unconfined' as const }),
    ...(security['procMount'] === 'Unmasked' && { maskedPaths: [], readonlyPaths: [] }),
  });
  return explicit;
}

function podRequest(spec: ObjectFields, containers: readonly ObjectFields[]): PodDemands['pod'] {
  return {
    hostNetwork: spec['hostNetwork'] === true,
    hostPid: spec['hostPID'] === true,
    hostIpc: spec['hostIPC'] === true,
    privileged: false,
    sysctls: listOf(fieldsOf(spec['securityContext'])['sysctls'])
      .map((one) => textOf(fieldsOf(one)['name']))
      .filter((name) => name !== ''),
    hostPorts: containers.flatMap((container) =>
      listOf(container['ports']).flatMap((port) => {
        const { hostPort, protocol = 'TCP' } = fieldsOf(port);
        return typeof hostPort === 'number' && hostPort > 0
          ? [`${hostPort}/${textOf(protocol).toLowerCase()}`]
          : [];
      }),
    ),
  };
}
