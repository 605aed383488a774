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

/**
 * Returns the requests of a pod, or of the pod of a template, that exceed the ceilings of its images: the
 * node will refuse them. The seccomp and AppArmor profiles of the node are not known here, and are not
 * compared.
 */
export function ceilingWarnings(
  object: unknown,
  verdicts: VerdictsByImage,
  profiles: ProfileSet,
): readonly string[] {
  const path = podSpecPath(object);
  if (path === undefined) return [];
  const spec = path.reduce<ObjectFields>((part, step) => fieldsOf(part[step]), fieldsOf(object));
  const containers = ['initContainers', 'containers', 'ephemeralContainers']
    .flatMap((list) => listOf(spec[list]))
    .map(fieldsOf);
  const warnings: string[] = [];
  const all: Ceiling[] = [];
  for (const container of containers) {
    const ceilings = ceilingsOf(verdicts.get(textOf(container['image'])) ?? [], profiles);
    if (ceilings === undefined) continue;
    append(all, ceilings);
    const lacked = attempt(() => lackedDemands(demandsOf(spec, container), ceilings));
    if (lacked !== undefined) warnings.push(`container ${textOf(container['name'])}: ${lacked}`);
  }
  const ofPod = attempt(() => {
    boundPod(podRequest(spec, containers), unique(all));
    return undefined;
  });
  if (ofPod !== undefined) warnings.push(`pod: ${ofPod}`);
  return warnings.map((text) => `${text}: the node will refuse it`);
}

const unique = (ceilings: readonly Ceiling[]): Ceiling[] => [
  ...new Map(ceilings.map((ceiling) => [ceiling.name, ceiling])).values(),
];

function attempt(question: () => string | undefined): string | undefined {
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

function podRequest(spec: ObjectFields, containers: readonly ObjectFields[]): Parameters<typeof boundPod>[0] {
  return {
    hostNetwork: spec['hostNetwork'] === true,
    hostPid: spec['hostPID'] === true,
    hostIpc: spec['hostIPC'] === true,
    privileged: false,
    sysctls: listOf(fieldsOf(spec['securityContext'])['sysctls']).map((one) => textOf(fieldsOf(one)['name'])),
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
