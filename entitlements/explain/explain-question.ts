import { largest } from '../../base/lists/index.ts';
import type { Operand } from '../import/operand.ts';
import type { LimitName, Profile, ResourceName } from '../profile/model.ts';
import { callsOfCapability } from '../seccomp/default-policy.ts';
import { isConstant } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { answer } from './answer.ts';
import type { Answer } from './answer.ts';
import { provenance } from './provenance.ts';
import type { Provenance } from './provenance.ts';
import { parseQuestion } from './question.ts';
import { clauseText, limitText, outcomeText, resourceText } from './words.ts';
import type { Question } from './question.ts';
import { CATALOG } from '../catalog/catalog.ts';
import { capabilityName } from '../capabilities/capability-names.ts';

/** An answer, and the parts of the profile that decide it. */
export interface Explained extends Answer {
  readonly decidedBy: Provenance;
  /** For a system call: its answer as a function of its arguments. */
  readonly rule?: string;
  /** Entitlements of the catalog that would grant it, or that cover it. */
  readonly hints: readonly string[];
}

/**
 * Answers one question about a profile (parseQuestion describes the grammar), and reports which parts of its
 * source decide the answer.
 * @throws ENTITLEMENTS_BAD_QUESTION, ENTITLEMENTS_TOO_COMPLEX
 */
export function explainQuestion({ profile, source }: Operand, text: string): Explained {
  const question = parseQuestion(text);
  const found = answer(profile, question);
  return {
    ...found,
    decidedBy: provenance(source, (other) => answer(other, question).yes),
    ...(question.kind === 'call' ? { rule: ruleText(profile, question.name) } : {}),
    hints: hintsOf(profile, question),
  };
}

function ruleText({ syscalls }: Profile, name: string): string {
  if (!syscalls.filtered) return `${name}: allow, as every call`;
  const of = decisionFor(syscalls, name);
  const otherwise = syscalls.rules.has(name)
    ? outcomeText(of.otherwise)
    : `${outcomeText(of.otherwise)}, as every call without a rule`;
  if (isConstant(of)) return `${name}: ${otherwise}`;
  return [
    ...of.pieces.map(({ outcome, when }) => `${name}: ${outcomeText(outcome)} if ${clauseText(name, when)}`),
    `${name}: else ${otherwise}`,
  ].join('\n');
}

function hintsOf(profile: Profile, question: Question): string[] {
  if (question.kind === 'call') {
    const held = profile.capabilities.filter((name) => callsOfCapability(name).includes(question.name));
    return [
      ...held.map((name) => `${question.name} goes with the capability ${name}, which the profile has`),
      ...entitlementsFor(
        ({ syscalls }) =>
          syscalls?.some((call) => (typeof call === 'string' ? call : call.call) === question.name) === true,
      ).map((name) => `the entitlement ${name} grants ${question.name}`),
    ];
  }
  if (question.kind === 'capability') {
    return entitlementsFor(({ capabilities }) => capabilities?.includes(question.name) === true).map(
      (name) => `the entitlement ${name} grants ${question.name}`,
    );
  }
  return [];
}

type Grants = NonNullable<ReturnType<typeof CATALOG.get>>['grants'];

function entitlementsFor(grants: (of: Grants) => boolean): string[] {
  return [...CATALOG.values()].filter((entitlement) => grants(entitlement.grants)).map(({ name }) => name);
}

/**
 * Returns the entitlements of the catalog that grant a capability; undefined if there is no such capability.
 */
export function entitlementsGiving(capability: string): string[] | undefined {
  const name = capabilityName(capability);
  return name === undefined
    ? undefined
    : entitlementsFor(({ capabilities }) => capabilities?.includes(name) === true);
}

/** Describes an explained answer as text. */
export function describeExplained({
  question,
  yes,
  reasons,
  witness,
  rule,
  decidedBy,
  hints,
}: Explained): string {
  const { parts, otherwise } = decidedBy;
  const enough = otherwise === 'several parts' ? ', which is enough alone' : '';
  const who =
    parts.length > 0
      ? parts.map(({ place, path, text }) => `  decided by ${place}: ${path}: ${text}${enough}\n`)
      : [`  decided by ${otherwise === 'several parts' ? 'several parts together' : (otherwise ?? '')}\n`];
  return [
    `${question}: ${yes ? 'yes' : 'no'}\n`,
    ...reasons.map((reason) => `  ${reason}\n`),
    ...(rule === undefined ? [] : rule.split('\n').map((line) => `  ${line}\n`)),
    ...(witness === undefined ? [] : [`  witness: ${witness}\n`]),
    ...who,
    ...hints.map((hint) => `  ${hint}\n`),
  ].join('');
}

/**
 * Describes a profile in plain words, one line per subject: what it lets a program do, and what it does not.
 */
export function describeProfile(label: string, profile: Profile): string {
  const { syscalls } = profile;
  const lines: (readonly [string, string])[] = [
    ['profile', label],
    ['capabilities', listed(profile.capabilities)],
    [
      'ambient',
      profile.ambient.length === 0
        ? 'none, and a pod may request none'
        : `none that a pod does not request; it may request ${listed(profile.ambient)}`,
    ],
    ...(syscalls.filtered
      ? filterLines(profile)
      : [['system calls', 'every one, of every architecture: no filter'] as const]),
    [
      'privileges',
      profile.noNewPrivileges
        ? 'no program gains any by exec (no_new_privs)'
        : 'set-user-id programs and file capabilities count',
    ],
    ['users', profile.nonRoot ? 'no process starts as root of the host' : 'any, root too'],
    [
      'network',
      `class ${profile.network}; reaches ${rules(profile.egress)}; is reached by ${rules(profile.ingress)}`,
    ],
    ['host namespaces', listed(profile.hostNamespaces)],
    [
      'own namespaces',
      listed(['ipc, mount, network, pid and uts unless shared above', ...profile.ownNamespaces]),
    ],
    [
      'devices',
      profile.hostDevices
        ? "all of the host's appear"
        : `${profile.devices.length} grants; the host's do not appear`,
    ],
    ['host ports', profile.hostPorts ? 'may lead to its pod' : 'lead elsewhere'],
    ['host paths', profile.hostPaths ? 'may be volumes' : 'may not be volumes'],
    ['volumes', profile.readonlyVolumes ? 'read-only' : 'as they are mounted'],
    ['files', profile.files === undefined ? "not restricted beyond the files' own modes" : fileText(profile)],
    [
      'mounts',
      profile.mounts === undefined
        ? 'as far as capabilities and system calls let it'
        : `${profile.mounts.length} rules`,
    ],
    ['masked paths', listed(profile.paths.masked)],
    ['read-only paths', listed(profile.paths.readonly)],
    ['root file system', profile.readonlyRootfs ? 'read-only' : 'writable'],
    ['/sys', profile.writableSys ? 'writable' : 'read-only'],
    ['own cgroups', profile.writableCgroups ? 'writable' : 'read-only'],
    [
      'limits',
      listed(Object.entries(profile.limits).map(([name, limit]) => limitText(name as LimitName, limit))),
    ],
    [
      'resources',
      listed(
        Object.entries(profile.resources).map(([name, bound]) => resourceText(name as ResourceName, bound)),
      ),
    ],
    ['sysctls', profile.sysctls === 'any' ? 'any namespaced one' : 'those that Kubernetes calls safe'],
    [
      'AppArmor',
      profile.apparmor === 'default' ? "this runtime's own profile, where the kernel has AppArmor" : 'none',
    ],
  ];
  const width = largest(lines.map(([name]) => name.length));
  return lines.map(([name, text]) => `${name.padEnd(width)}  ${text}\n`).join('');
}

function filterLines({ syscalls }: Profile): (readonly [string, string])[] {
  if (!syscalls.filtered) return [];
  const all = [...syscalls.rules];
  const allowed = all.filter(([, of]) => isConstant(of) && of.otherwise === 'allow').length;
  const conditional = all.filter(([, of]) => !isConstant(of));
  const others = all.filter(([, of]) => isConstant(of) && of.otherwise !== 'allow');
  return [
    [
      'system calls',
      `${allowed} allowed, ${conditional.length} by their arguments; any other answers ${outcomeText(syscalls.fallback)}`,
    ],
    ...(syscalls.compat.length === 0
      ? []
      : [['', `programs of ${syscalls.compat.join(', ')} run, too`] as const]),
    ...conditional.flatMap(([name, of]) =>
      of.pieces.map(
        ({ outcome, when }) => ['', `${name}: ${outcomeText(outcome)} if ${clauseText(name, when)}`] as const,
      ),
    ),
    ...others.map(([name, of]) => ['', `${name}: ${outcomeText(of.otherwise)}`] as const),
  ];
}

function fileText({ files = [] }: Profile): string {
  const count = files.reduce((sum, { allow, deny }) => sum + allow.length + deny.length, 0);
  return files.length === 0 ? 'none may be used' : `${count} rules; ask with --can 'write PATH'`;
}

function rules(list: readonly unknown[] | undefined): string {
  return list === undefined ? 'anybody' : list.length === 0 ? 'nobody' : `what ${list.length} rules name`;
}

function listed(items: readonly string[]): string {
  return items.length === 0 ? 'none' : items.join(', ');
}
