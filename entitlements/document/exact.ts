import { append } from '../../base/lists/index.ts';
import { formatPath, validate, writeYaml } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { capabilityName, sortedCapabilities } from '../capabilities/capability-names.ts';
import { parseCidr } from '../profile/cidr.ts';
import { LIMIT_NAMES, RESOURCE_NAMES } from '../profile/sets.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import type { Capability } from '../types.ts';
import { deviceGrants, formatDevice, parseDeviceGrants } from '../profile/devices.ts';
import { EXACT_KIND, exactProfileSchema } from './exact-schema.ts';
import { nameProblem } from './name-problem.ts';
import { readSyscalls, writeSyscalls } from './exact-syscalls.ts';
import type { WrittenSyscalls } from './exact-syscalls.ts';
import type { FileRules, Limit, LimitName, Profile, ResourceName } from '../profile/model.ts';
import type { NetworkRule } from '../types.ts';
import { MASKED_PATHS } from '../profile/builtin.ts';
import { pathRestrictions } from '../profile/paths.ts';
import { RLIM_INFINITY } from '../profile/values.ts';
import { knownFsType, plainPathProblem } from './rule-items.ts';

interface WrittenRule extends Omit<NetworkRule, 'ports'> {
  readonly ports: string;
}

type Amount = number | string;

/** A valid `kind: ExactProfile` document, according to its schema. */
type ExactDocument = Omit<
  Profile,
  'devices' | 'egress' | 'hostPorts' | 'ingress' | 'limits' | 'resources' | 'syscalls' | 'writableCgroups'
> & {
  /** Absent in documents of earlier versions, which means none. */
  readonly hostPorts?: boolean;
  readonly writableCgroups?: boolean;
  readonly metadata: { readonly name: string };
  readonly syscalls: WrittenSyscalls;
  readonly devices: readonly string[];
  readonly egress?: readonly WrittenRule[];
  readonly ingress?: readonly WrittenRule[];
  readonly limits: Readonly<Partial<Record<LimitName, { readonly soft: Amount; readonly hard: Amount }>>>;
  readonly resources: Readonly<Partial<Record<ResourceName, Amount>>>;
};

/**
 * Returns a profile as the value of a `kind: ExactProfile` document, from which {@link readExactProfiles}
 * creates an equal profile. Plain JSON.
 */
export function exactProfile(name: string, profile: Profile, description?: string): object {
  const { devices, egress, ingress, limits, resources, syscalls, ...rest } = profile;
  return {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: EXACT_KIND,
    metadata: { name, ...(description === undefined ? {} : { description }) },
    ...rest,
    devices: devices.map(formatDevice),
    ...(egress === undefined ? {} : { egress: egress.map(writeRule) }),
    ...(ingress === undefined ? {} : { ingress: ingress.map(writeRule) }),
    limits: Object.fromEntries(
      Object.entries(limits).map(([key, { soft, hard }]) => [key, { soft: plain(soft), hard: plain(hard) }]),
    ),
    resources: Object.fromEntries(Object.entries(resources).map(([key, bound]) => [key, plain(bound)])),
    syscalls: writeSyscalls(syscalls),
  };
}

/** Returns the same as YAML. */
export function writeExactProfile(name: string, profile: Profile, description?: string): string {
  return writeYaml(exactProfile(name, profile, description));
}

function writeRule({ cidr, protocol, ports }: NetworkRule): WrittenRule {
  return { cidr, protocol, ports: `${ports.low}-${ports.high}` };
}

function plain(value: bigint): Amount {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

/**
 * Reads the profiles of `kind: ExactProfile` documents.
 * @param others documents whose names are already used
 * @returns the profiles, and every problem
 */
export function readExactProfiles(
  documents: readonly Document[],
  others: readonly Document[],
): {
  readonly profiles: { readonly name: string; readonly profile: Profile }[];
  readonly problems: Problem[];
} {
  const problems: Problem[] = [];
  const profiles: { name: string; profile: Profile }[] = [];
  const taken = new Map(
    others.map((document) => [nameOf(document), document.positionOf(['metadata', 'name'])]),
  );
  for (const document of documents) {
    const shape = validate(document, exactProfileSchema);
    append(problems, shape);
    if (shape.length > 0) continue;
    const { name, profile, problems: deeper } = readExactProfile(document);
    append(problems, deeper);
    const position = document.positionOf(['metadata', 'name']);
    const earlier = taken.get(name);
    const problem = nameProblem(name, position, earlier);
    if (problem !== undefined) problems.push(problem);
    taken.set(name, position);
    if (profile !== undefined) profiles.push({ name, profile });
  }
  return { profiles, problems };
}

function nameOf({ value }: Document): string {
  return (value as { readonly metadata: { readonly name: string } }).metadata.name;
}

/** @param document passes {@link exactProfileSchema} */
function readExactProfile(document: Document): {
  readonly name: string;
  readonly profile?: Profile;
  readonly problems: readonly Problem[];
} {
  const value = document.value as ExactDocument;
  const problems: Problem[] = [];
  const wrong = (path: readonly PathSegment[], message: string, fix: string): void => {
    problems.push({ position: document.positionOf(path), path: formatPath(path), message, fix });
  };
  const { metadata, devices, egress, ingress, files, mounts } = value;
  const capabilities = readCapabilities(value.capabilities, 'capabilities', wrong);
  const ambient = readCapabilities(value.ambient, 'ambient', wrong);
  ambient.forEach((name) => {
    if (!capabilities.includes(name))
      wrong(['ambient'], `${name} is not under capabilities`, 'add it there, or remove it');
  });
  (['masked', 'readonly'] as const).forEach((list) => {
    value.paths[list].forEach((path, at) => {
      // The default profile has a path with a pattern, which the kernel's features replace.
      const problem = MASKED_PATHS.includes(path) ? undefined : plainPathProblem(path);
      if (problem !== undefined) wrong(['paths', list, at], problem.message, problem.fix);
    });
  });
  const grants = devices.flatMap((line, at) => {
    try {
      return parseDeviceGrants([line]);
    } catch {
      wrong(['devices', at], `\`${line.slice(0, 80)}\` is not a device`, 'write it as c 1:3 rwm');
      return [];
    }
  });
  files?.forEach((member, at) => {
    checkPatterns(member, ['files', at], wrong);
  });
  mounts?.forEach(({ fstype, target }, at) => {
    knownFsType(fstype, ['mounts', at, 'fstype'], wrong);
    checkPattern(target, ['mounts', at, 'target'], wrong);
  });
  const rules = {
    ...(egress === undefined ? {} : { egress: readRules(egress, 'egress', wrong) }),
    ...(ingress === undefined ? {} : { ingress: readRules(ingress, 'ingress', wrong) }),
    ...(files === undefined ? {} : { files: files.map(sortedMember) }),
    ...(mounts === undefined ? {} : { mounts }),
  };
  try {
    const syscalls = readSyscalls(value.syscalls, (path, message, fix) => {
      wrong(['syscalls', ...path], message, fix);
    });
    const profile: Profile = {
      capabilities,
      ambient,
      syscalls,
      noNewPrivileges: value.noNewPrivileges,
      paths: pathRestrictions(value.paths.masked, value.paths.readonly),
      devices: deviceGrants(grants),
      hostDevices: value.hostDevices,
      hostPaths: value.hostPaths,
      hostPorts: value.hostPorts ?? false,
      hostNamespaces: [...new Set(value.hostNamespaces)].sort(),
      ownNamespaces: [...new Set(value.ownNamespaces)].sort(),
      readonlyVolumes: value.readonlyVolumes,
      nonRoot: value.nonRoot,
      network: value.network,
      ...rules,
      limits: readLimits(value.limits, wrong),
      resources: readResources(value.resources, wrong),
      sysctls: value.sysctls,
      writableSys: value.writableSys,
      writableCgroups: value.writableSys || (value.writableCgroups ?? false),
      readonlyRootfs: value.readonlyRootfs,
      apparmor: value.apparmor,
    };
    return problems.length > 0
      ? { name: metadata.name, problems }
      : { name: metadata.name, profile, problems };
  } catch (error) {
    if (!isPortcullisError(error)) throw error;
    wrong(['syscalls'], error.failure.why, error.failure.fix);
    return { name: metadata.name, problems };
  }
}

type Report = (path: readonly PathSegment[], message: string, fix: string) => void;

function readCapabilities(names: readonly string[], field: string, wrong: Report): Capability[] {
  return sortedCapabilities(
    names.flatMap((text, at) => {
      const name = capabilityName(text);
      if (name === undefined)
        wrong(
          [field, at],
          `there is no capability \`${text.slice(0, 80)}\``,
          'use a name of capabilities(7), such as NET_BIND_SERVICE',
        );
      return name ?? [];
    }),
  );
}

function readRules(rules: readonly WrittenRule[], field: string, wrong: Report): NetworkRule[] {
  return rules.map(({ cidr, protocol, ports }, at) => {
    if (parseCidr(cidr) === undefined)
      wrong(
        [field, at, 'cidr'],
        `${cidr} is not a block of addresses`,
        'write it as 10.0.0.0/8, the bits of hosts zero',
      );
    const [low = 0, high = 0] = ports.split('-').map(Number);
    if (low > high || high > 65535)
      wrong(
        [field, at, 'ports'],
        `${ports} is not a range of ports`,
        'write the lower one first, and none above 65535',
      );
    return { cidr, protocol, ports: { low, high } };
  });
}

function checkPatterns(member: FileRules, path: readonly PathSegment[], wrong: Report): void {
  for (const list of ['allow', 'deny'] as const) {
    member[list].forEach(({ pattern }, at) => {
      checkPattern(pattern, [...path, list, at, 'pattern'], wrong);
    });
  }
}

function checkPattern(pattern: string, path: readonly PathSegment[], wrong: Report): void {
  const parsed = parsePathPattern(pattern);
  if ('problem' in parsed) wrong(path, parsed.problem.message, parsed.problem.fix);
}

function sortedMember({ allow, deny }: FileRules): FileRules {
  const sorted = (rules: FileRules['allow']): FileRules['allow'] =>
    rules.map(({ pattern, access }) => ({ pattern, access: [...new Set(access)].sort() }));
  return { allow: sorted(allow), deny: sorted(deny) };
}

function readLimits(written: ExactDocument['limits'], wrong: Report): Profile['limits'] {
  const found: Partial<Record<LimitName, Limit>> = {};
  for (const name of LIMIT_NAMES) {
    const limit = written[name];
    if (limit === undefined) continue;
    const [soft, hard] = [BigInt(limit.soft), BigInt(limit.hard)];
    if (soft > hard) wrong(['limits', name, 'soft'], 'the soft limit is above the hard one', 'lower it');
    if (hard > RLIM_INFINITY)
      wrong(['limits', name, 'hard'], 'a limit has 64 bits', `write ${RLIM_INFINITY} at most`);
    found[name] = { soft, hard };
  }
  return found;
}

function readResources(written: ExactDocument['resources'], wrong: Report): Profile['resources'] {
  const found: Partial<Record<ResourceName, bigint>> = {};
  for (const name of RESOURCE_NAMES) {
    const bound = written[name];
    if (bound === undefined) continue;
    found[name] = BigInt(bound);
    if (found[name] === 0n && name !== 'swap')
      wrong(['resources', name], `no process can run with ${bound}`, 'write 1 or more');
  }
  return found;
}
