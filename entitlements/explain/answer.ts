import { append, largest } from '../../base/lists/index.ts';
import { enforcedSyscalls } from '../compile/mount-rules.ts';
import { fileExcess } from '../compare/files.ts';
import { mountExcess } from '../compare/mounts.ts';
import { networkExcess } from '../compare/network-rules.ts';
import { deviceExcess } from '../profile/devices.ts';
import { matchesPath } from '../files/automaton.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import type { Profile } from '../profile/model.ts';
import { STANDARD_DEVICES, withStandardDevices } from '../profile/standard-devices.ts';
import { intersectClauses, remaining, witnessOf } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { always } from '../seccomp/decision.ts';
import { rank } from '../seccomp/outcome.ts';
import type { Outcome } from '../seccomp/outcome.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { requiredCapabilities } from '../seccomp/required-capabilities.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';
import type { Question } from './question.ts';
import type { FileAccess } from '../types.ts';
import { isRequestOfIoUring } from './io-uring.ts';
import { isLoopback, openingCalls, usingCalls } from './socket-calls.ts';
import type { NetworkQuestion } from './socket-calls.ts';
import { outcomeText, valueText } from './words.ts';

/**
 * The answer to a question. It is exact for the profile as it is compiled for the native architecture and the
 * compatibility architectures that it names.
 */
export interface Answer {
  readonly question: string;
  readonly yes: boolean;
  /** yes: how, with a witness. no: everything that blocks it. */
  readonly reasons: readonly string[];
  /** For a yes about a system call: the call with arguments that pass. */
  readonly witness?: string;
}

/** Answers whether the profile lets a program do it. @throws ENTITLEMENTS_TOO_COMPLEX */
export function answer(profile: Profile, question: Question): Answer {
  const found = find(profile, question);
  return { question: question.text, ...found };
}

type Found = Omit<Answer, 'question'>;

const yes = (reason: string, witness?: string): Found => ({
  yes: true,
  reasons: [reason],
  ...(witness === undefined ? {} : { witness }),
});
const no = (...reasons: readonly string[]): Found => ({ yes: false, reasons });

function find(profile: Profile, question: Question): Found {
  switch (question.kind) {
    case 'call':
      return call(profile, question.name, question.when);
    case 'file':
      return file(profile, question);
    case 'network':
      return network(profile, question);
    case 'mount':
      return mount(profile, question);
    case 'capability':
      return capability(profile, question);
    case 'device': {
      const { type, major, minor } = question;
      const wanted = question.access.map((access) => ({
        access,
        type,
        ...(major === undefined ? {} : { major }),
        ...(minor === undefined ? {} : { minor }),
      }));
      const excess = deviceExcess([...profile.devices, ...STANDARD_DEVICES], wanted);
      // A number that is not given means every number.
      const isOne = major !== undefined && minor !== undefined;
      const isListed = deviceExcess(profile.devices, wanted) === undefined;
      const how = isListed ? 'the list of devices contains' : 'every OCI runtime always allows';
      if (excess === undefined) return yes(`${how} ${isOne ? 'it' : 'all of them'}`);
      const act = { r: 'reading', w: 'writing', m: 'making' }[excess.access];
      return no(
        isOne
          ? `the list of devices grants no ${act} of it`
          : `the list of devices does not grant ${act} of all of them`,
      );
    }
    case 'share':
      return profile.hostNamespaces.includes(question.namespace)
        ? yes(`the host's ${question.namespace} namespace is granted`)
        : no(`the host's ${question.namespace} namespace is not granted`);
    case 'user-namespace':
      return userNamespace(profile);
    case 'gain':
      return profile.noNewPrivileges
        ? no('no_new_privs is set: set-user-id programs and file capabilities have no effect')
        : yes(
            'no_new_privs is not set: a set-user-id program gives what its owner has, within the capabilities of the profile',
          );
  }
}

/** Answers whether the filter lets a call through, and whether a program can have the capabilities for it. */
function call(profile: Profile, name: string, when: Clause): Found {
  const lacked = requiredCapabilities(name).filter((one) => !profile.capabilities.includes(one.capability));
  const free = filtered(
    profile,
    name,
    when,
    lacked.map((one) => one.when),
  );
  const [first] = lacked;
  if (free.yes || first === undefined) return free;
  const passed = filtered(profile, name, when);
  if (!passed.yes) return passed;
  const own = first.within === 'own' ? userNamespace(profile) : undefined;
  if (own?.yes === true)
    return {
      ...passed,
      reasons: [...passed.reasons, ...own.reasons, `in it a program has ${first.capability}`],
    };
  const elsewhere =
    own === undefined ? '' : ', and no user namespace can be made in which a program would have it';
  return no(
    ...passed.reasons,
    `the kernel refuses it without ${first.capability}, which is not in the bounding set${elsewhere}`,
  );
}

/** Answers whether the filter lets a call through. @param except calls that do not count */
function filtered(profile: Profile, name: string, when: Clause, except: readonly Clause[] = []): Found {
  // A kernel without AppArmor refuses rules on mounts, or enforces them by less.
  const policy = enforcedSyscalls(profile, { kernel: { apparmor: true } });
  const decision = policy.filtered ? decisionFor(policy, name) : always('allow');
  const passes = (outcome: Outcome): boolean => rank(outcome) >= rank('log');
  const found = [...decision.pieces, { outcome: decision.otherwise, when: [] }]
    .filter(({ outcome }) => passes(outcome))
    .map((piece) => intersectClauses(piece.when, when))
    .map((both) => both && remaining(both, except))
    .find((left) => left !== undefined);
  if (found !== undefined) {
    const witness = callText(name, witnessOf(found));
    const how = policy.filtered
      ? `the system call filter lets ${witness} through`
      : `no system call is filtered: ${witness} is allowed`;
    return yes(how, witness);
  }
  if (isRequestOfIoUring(name) && remaining(when, except) !== undefined) {
    const ring = filtered(profile, 'io_uring_setup', []);
    if (ring.yes) return yes(`${ring.reasons.join()}, and no filter sees a request of io_uring for ${name}`);
  }
  // A call of a compatibility architecture never gets more than the native call of the same name
  // (seccomp/compat.ts).
  const answers = [
    ...new Set([
      ...decision.pieces
        .filter((piece) => intersectClauses(piece.when, when) !== undefined)
        .map(({ outcome }) => outcome),
      decision.otherwise,
    ]),
  ];
  return no(
    `no program under this profile can call ${formatAsked(name, when)}: the filter answers ${answers.map(outcomeText).join(' or ')}, regardless of the other arguments`,
  );
}

/** Formats a call as in C, with names where the kernel's headers have one. */
export function callText(name: string, args: readonly bigint[]): string {
  const last = args.findLastIndex((value) => value !== 0n);
  const shown = args.slice(0, last + 1).map((value, index) => valueText(name, index, value, args[0]));
  return `${name}(${shown.join(', ')})`;
}

/** Formats a call with the arguments that a question fixed, and `_` for the others. */
function formatAsked(name: string, when: Clause): string {
  const last = Math.max(-1, largest(when.map(({ index }) => index)));
  const shown = Array.from({ length: last + 1 }, (_, index) => {
    const test = when.find((one) => one.index === index);
    if (test === undefined) return '_';
    const value = test.low === test.high ? test.low : test.value;
    const text = valueText(name, index, value, when.find((one) => one.index === 0)?.low);
    return test.low === test.high ? text : `&${text}`;
  });
  return `${name}(${shown.join(', ')})`;
}

/** Returns a pattern that matches only this path. */
function literal(path: string): string {
  return path.replaceAll(/[\\*?[\]{},]/g, '\\$&');
}

/**
 * Returns the restriction that covers the path. Restrictions may contain a `*`, which stays within a
 * component.
 */
function restricted(path: string, by: readonly string[]): string | undefined {
  return by.find((top) =>
    [top, `${top}/**`, `${top}/`].some((text) => {
      const parsed = parsePathPattern(text);
      return 'pattern' in parsed && matchesPath(parsed.pattern, path);
    }),
  );
}

/** Whether the path is in /sys and not writable. The cgroups of a container have a mount of their own. */
function isReadonlySys({ writableSys, writableCgroups }: Profile, path: string): boolean {
  if (writableSys || (path !== '/sys' && !path.startsWith('/sys/'))) return false;
  return !(writableCgroups && /^\/sys\/fs\/cgroup(\/|$)/.test(path));
}

function file(profile: Profile, { access, path }: Extract<Question, { kind: 'file' }>): Found {
  const mounted = mountedAgainst(profile, access, path);
  const undo = mounted.length === 0 ? undefined : undoOfMounts(profile);
  const against = undo === undefined ? [...mounted] : [];
  const asked = [{ allow: [{ pattern: literal(path), access: [access] }], deny: [] }];
  const enforced = profile.files && withStandardDevices(profile.files);
  if (fileExcess(enforced, asked) !== undefined)
    against.push(`no file rule grants it${deniedBy(profile, path, access)}`);
  if (against.length > 0) return no(...against);
  const how =
    profile.files === undefined
      ? 'the profile does not restrict files there'
      : fileExcess(profile.files, asked) === undefined
        ? 'a file rule grants it'
        : 'file rules do not restrict standard devices';
  const found = yes(`${how}; the file's own mode and owner count as well`);
  return undo === undefined
    ? found
    : { ...found, reasons: [...mounted, `SYS_ADMIN and ${undo} let a program undo this`, ...found.reasons] };
}

/** Returns the mounts of the runtime that prevent the access. */
function mountedAgainst(profile: Profile, access: FileAccess, path: string): readonly string[] {
  const against: string[] = [];
  const masked = restricted(path, profile.paths.masked);
  if (masked !== undefined) against.push(`${masked} is masked: it reads as empty`);
  if (access !== 'write') return against;
  const readonly = restricted(path, profile.paths.readonly);
  if (readonly !== undefined) against.push(`${readonly} is mounted read-only`);
  if (isReadonlySys(profile, path)) against.push('/sys is mounted read-only');
  if (profile.readonlyRootfs && !/^\/(proc|sys|dev)(\/|$)/.test(path)) {
    against.push(
      'the root file system is read-only (a volume that is mounted there has its own mount options)',
    );
  }
  return against;
}

/**
 * Returns the calls by which a program undoes mounts of the runtime. In a user namespace of its own it
 * cannot: the kernel locks them there.
 */
function undoOfMounts(profile: Profile): string | undefined {
  if (!profile.capabilities.includes('SYS_ADMIN') || profile.mounts !== undefined) return undefined;
  return [...MOUNT_WAYS, ['umount2'], ['mount_setattr']]
    .find((calls) => calls.every((name) => filtered(profile, name, []).yes))
    ?.join(', ');
}

function deniedBy(profile: Profile, path: string, access: string): string {
  const rule = profile.files
    ?.flatMap(({ deny }) => deny)
    .find((one) => {
      const parsed = parsePathPattern(one.pattern);
      return (
        one.access.some((name) => name === access) && 'pattern' in parsed && matchesPath(parsed.pattern, path)
      );
    });
  return rule === undefined ? '' : `, and ${rule.pattern} denies it`;
}

/** Returns what blocks the calls; empty if they pass. */
function blockedCalls(profile: Profile, question: NetworkQuestion): readonly string[] {
  return [openingCalls(question), usingCalls(question)].flatMap((calls) => {
    const found = calls.map(([name, when]) => call(profile, name, when));
    return found.some(({ yes: passes }) => passes) ? [] : found.flatMap(({ reasons }) => reasons);
  });
}

function network(profile: Profile, question: NetworkQuestion): Found {
  const { direction, protocol, cidr, port } = question;
  const against = [...blockedCalls(profile, question)];
  if (isLoopback(cidr) && against.length === 0) return yes('nothing restricts the loopback of the pod');
  if (profile.network === 'none') against.unshift('the network class is none: the pod has no link');
  const rules = direction === 'egress' ? profile.egress : profile.ingress;
  if (
    networkExcess(rules, [
      { cidr, protocol, ports: { low: port, high: protocol === 'icmp' ? 65535 : port } },
    ]) !== undefined
  ) {
    against.push(`no ${direction} rule covers it`);
  }
  if (against.length > 0) return no(...against);
  return yes(
    `the network class is ${profile.network}${rules === undefined ? ` and has no ${direction} rules` : `, and a rule of ${direction} covers it`}`,
  );
}

/** Ways to mount something. Each way needs all of its calls. */
const MOUNT_WAYS: readonly (readonly string[])[] = [
  ['mount'],
  ['fsopen', 'fsconfig', 'fsmount', 'move_mount'],
  ['open_tree', 'move_mount'],
  ['open_tree_attr', 'move_mount'],
];

function mount(profile: Profile, { fstype, target }: Extract<Question, { kind: 'mount' }>): Found {
  const against: string[] = [];
  const held = capability(profile, { kind: 'capability', text: '', name: 'SYS_ADMIN', anyNamespace: true });
  if (!held.yes) append(against, held.reasons);
  const ways = MOUNT_WAYS.filter((calls) => calls.every((name) => filtered(profile, name, []).yes));
  if (ways.length === 0)
    against.push(
      'the system call filter lets neither mount nor the calls of the newer interface (fsopen … move_mount) through',
    );
  if (profile.mounts !== undefined && !mountRuleCovers(profile, fstype, target))
    against.push('no mount rule covers it');
  if (against.length > 0) return no(...against);
  return yes(`${held.reasons.join('; ')}; the filter lets ${(ways[0] ?? []).join(', ')} through`);
}

function mountRuleCovers(profile: Profile, fstype: string | undefined, target: string | undefined): boolean {
  const rules = (profile.mounts ?? []).filter(
    (rule) => fstype === undefined || rule.fstype === '*' || rule.fstype === fstype,
  );
  if (target === undefined) return rules.length > 0;
  const wanted = { fstype: fstype ?? '', target: literal(target), readonly: true };
  return rules.some((rule) => mountExcess([{ ...rule, fstype: wanted.fstype }], [wanted]) === undefined);
}

function capability(
  profile: Profile,
  { name, anyNamespace }: Extract<Question, { kind: 'capability' }>,
): Found {
  if (profile.capabilities.includes(name)) return yes(`${name} is in the bounding set`);
  if (!anyNamespace) return no(`${name} is not in the bounding set`);
  const own = userNamespace(profile);
  return own.yes
    ? yes(`${own.reasons.join('; ')}, and in it a program has ${name}`, own.witness)
    : no(
        `${name} is not in the bounding set, and no user namespace can be made in which a program would have it`,
      );
}

/** clone3's flags are in memory: a filter allows all of them, or none. */
const USER_NAMESPACE_CALLS = ['unshare', 'clone', 'clone3'] as const;
const CLONE_NEWUSER = 0x10000000n;

function userNamespace(profile: Profile): Found {
  for (const name of USER_NAMESPACE_CALLS) {
    const test =
      name === 'clone3'
        ? undefined
        : argumentTest(0, argumentWidth(name, 0), { mask: CLONE_NEWUSER, value: CLONE_NEWUSER });
    const found = filtered(profile, name, test === undefined ? [] : [test]);
    if (found.yes) return yes(`${found.witness ?? name} makes a user namespace`, found.witness);
  }
  return no(
    'the filter lets no call through that makes a user namespace: unshare and clone with CLONE_NEWUSER, clone3',
  );
}
