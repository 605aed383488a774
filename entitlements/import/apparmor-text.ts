import { append } from '../../base/lists/index.ts';
import { CAPABILITIES, capabilityName, sortedCapabilities } from '../capabilities/capability-names.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { FileRule, Limit, LimitName, MountRule, Profile } from '../profile/model.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { meetPolicies } from '../seccomp/policy.ts';
import type { Capability } from '../types.ts';
import { byPattern, deniedAccess, grantedAccess } from './apparmor-access.ts';
import { without } from './apparmor-calls.ts';
import type { CallKind } from './apparmor-calls.ts';
import { readLimit } from './apparmor-limits.ts';
import { readMountRule } from './apparmor-mounts.ts';
import { networkMeaning, readNetworkStatement } from './apparmor-network.ts';
import type { NetworkStatement } from './apparmor-network.ts';
import { appArmorPathPattern } from './apparmor-variables.ts';
import { profileName } from './imported.ts';
import type { Imported, Remark } from './imported.ts';
import { includeOf, readProfile, bad } from './apparmor-statements.ts';
import type { Statement } from './apparmor-statements.ts';

/** The meaning of a text's rules, collected while they are read. */
interface Reading {
  readonly file: string;
  readonly allow: FileRule[];
  readonly deny: FileRule[];
  readonly capabilities: Set<Capability>;
  readonly deniedCapabilities: Set<Capability>;
  readonly network: NetworkStatement[];
  readonly deniedNetwork: NetworkStatement[];
  readonly mounts: MountRule[];
  deniesMounts: boolean;
  /** Call types that a rule allows completely, and those that a rule denies. */
  readonly calls: Set<CallKind>;
  readonly deniedCalls: Set<CallKind>;
  /**
   * Paths that may be unmounted, each with a function that reports the rule if the matching mounts are
   * missing.
   */
  readonly unmounts: { readonly place: string; drop(): void }[];
  readonly limits: Map<LimitName, Limit>;
  /** Whether a rule grants something that a profile can only express more broadly. */
  broader: boolean;
  readonly unmapped: Remark[];
  readonly notes: Remark[];
}

/**
 * Imports an AppArmor profile's text (apparmor.d(5)) as the profile of a container that is confined by it:
 * rules on files, capabilities, networks, mounts, system calls and limits. What is not allowed is denied.
 * Rules of other types, and rules with conditions, are listed and grant nothing. Signals and tracing within a
 * container, and its standard devices, are always allowed by the runtime's own rules, so a denial of them is
 * refused.
 * @throws ENTITLEMENTS_BAD_PROFILE with the line, if the text has no profile, several profiles, an incomplete
 * profile, or a denial that a profile cannot express
 */
export function importAppArmorText(text: string, file: string): Imported {
  const { name, flags, statements } = readProfile(text, file);
  const reading: Reading = {
    file,
    allow: [],
    deny: [],
    capabilities: new Set(),
    deniedCapabilities: new Set(),
    network: [],
    deniedNetwork: [],
    mounts: [],
    deniesMounts: false,
    calls: new Set(),
    deniedCalls: new Set(),
    unmounts: [],
    limits: new Map(),
    broader: false,
    unmapped: [],
    notes: [],
  };
  if (/\bcomplain\b/.test(flags))
    reading.notes.push({
      part: 'flags',
      why: 'complain mode only logs; the rules are imported as if they were enforced',
    });
  for (const statement of statements) readStatement(statement, reading);
  // A profile allows unmounting exactly where it allows mounting.
  const { mounts, unmounts } = reading;
  const unmounted = new Set(unmounts.map(({ place }) => place));
  if (mounts.length > 0 && mounts.every(({ target }) => unmounted.has(target))) reading.calls.add('umount');
  else for (const { drop } of unmounts) drop();
  const capabilities = sortedCapabilities(
    [...reading.capabilities].filter((one) => !reading.deniedCapabilities.has(one)),
  );
  const { rules, sockets } = networkMeaning(reading.network, reading.deniedNetwork);
  const profile: Profile = {
    ...defaultProfile(),
    capabilities,
    syscalls: [sockets, without(deniedCalls(reading, text))].reduce(
      meetPolicies,
      defaultPolicy(capabilities),
    ),
    limits: Object.fromEntries(reading.limits),
    files: [{ allow: byPattern(reading.allow), deny: byPattern(reading.deny) }],
    mounts: reading.deniesMounts ? [] : reading.mounts,
    network: rules.length === 0 ? 'none' : 'user',
    egress: rules,
    ingress: rules,
  };
  reading.notes.push({
    part: 'signal, ptrace',
    why: 'within a container, and from its runtime, they are allowed regardless of the text',
  });
  if (reading.broader)
    reading.notes.push({
      part: 'file',
      why: 'read access includes mapping as code here, and write access includes linking and locking: m, k and l are not distinguished from r and w',
    });
  const called = profileName(name);
  return {
    ...(called === undefined ? {} : { name: called }),
    profile,
    unmapped: reading.unmapped,
    notes: reading.notes,
  };
}

/**
 * Returns the calls that the text does not mention and that are therefore denied, as in AppArmor: userns,
 * io_uring and mqueue are mediated since ABI 4.0, and by `abi <kernel>`.
 */
function deniedCalls({ calls, deniedCalls: denied }: Reading, text: string): Set<CallKind> {
  const isNewer = (line: string): boolean =>
    /^\s*abi\s/.test(line) && !/^\s*abi\s+[<"][^>"]*abi\/3\./.test(line);
  const mediated: readonly CallKind[] = text.split('\n').some(isNewer)
    ? ['pivot_root', 'umount', 'userns', 'io_uring', 'mqueue']
    : ['pivot_root', 'umount'];
  return new Set([...denied, ...mediated.filter((kind) => !calls.has(kind))]);
}

function readStatement({ line, text }: Statement, reading: Reading): void {
  const part = `${reading.file}:${line}`;
  const drop = (why: string): void => {
    reading.unmapped.push({ part, why: `${JSON.stringify(text.slice(0, 120))}: ${why}` });
  };
  const included = includeOf(text);
  if (included === 'unknown')
    throw bad(
      `${reading.file}:${line}:1`,
      'included files are not read, and this one may contain denials: put its rules in place of the include',
    );
  if (included === 'granting') {
    drop('included files are not read: their rules grant nothing here');
    return;
  }
  const [denied, audit, owner, rest] = splitPrefix(text);
  if (audit) reading.notes.push({ part, why: 'denials are not logged separately' });
  const deny = denied;
  const place: Place = { file: reading.file, line, part, reading, drop };
  const [word = ''] = rest.split(/[\s,]/, 1);
  switch (word) {
    case 'capability':
      readCapabilities(rest, deny, reading, drop);
      return;
    case 'network':
      readNetwork(rest, deny, place);
      return;
    case 'mount':
      readMount(rest, deny, place);
      return;
    case 'unix':
      // A profile cannot express the peers of local sockets, only whether local sockets are allowed.
      if (deny) reading.deniedNetwork.push({ family: 'unix' });
      else if (rest === 'unix') reading.network.push({ family: 'unix' });
      else drop('a profile cannot express peers and types of local sockets; it grants nothing here');
      return;
    case 'remount':
      if (deny) readMount(rest, true, place);
      else drop('it grants nothing here: mount, without conditions, allows every remount');
      return;
    case 'umount':
    case 'pivot_root':
    case 'userns':
    case 'io_uring':
    case 'mqueue':
      // A denial may only become wider here, and a grant only narrower.
      if (deny) reading.deniedCalls.add(word);
      else if (rest === word || (word === 'userns' && /^userns\s+create$/.test(rest)))
        reading.calls.add(word);
      else {
        const say = (): void => drop(`it grants nothing here: write ${word}, without conditions`);
        const place = appArmorPathPattern(/^umount\s+"?([^\s"]+)"?$/.exec(rest)?.[1] ?? '')?.replace(
          /\{,\/\}$/,
          '',
        );
        if (place === undefined || place === '') say();
        else reading.unmounts.push({ place, drop: say });
      }
      return;
    case 'rlimit':
    case 'set': {
      const limit = deny ? undefined : readLimit(rest);
      if (limit === undefined)
        throw unsaid(reading.file, line, 'write the limit as set rlimit NAME <= NUMBER', 'bound');
      if (limit !== 'unlimited') reading.limits.set(...limit);
      return;
    }
    case 'change_profile':
      if (deny) reading.notes.push({ part, why: 'a profile cannot grant a change to another profile' });
      else drop('a profile cannot express it; it grants nothing here');
      return;
    case 'signal':
    case 'ptrace':
    case 'dbus':
    case 'all':
    case 'link':
      if (deny) throw unsaid(reading.file, line, `a profile cannot express rules of ${word}`);
      drop('a profile cannot express it; it grants nothing here');
      return;
    default:
      if (owner && !deny) drop('a profile does not distinguish owners; it grants nothing here');
      else readFile(rest, deny, place);
  }
}

function splitPrefix(text: string): [boolean, boolean, boolean, string] {
  let rest = text;
  const seen = { deny: false, audit: false, owner: false };
  for (;;) {
    const word = /^(audit|deny|allow|owner)\s+/.exec(rest);
    if (word === null) return [seen.deny, seen.audit, seen.owner, rest];
    if (word[1] !== 'allow') seen[word[1] as keyof typeof seen] = true;
    rest = rest.slice(word[0].length);
  }
}

type Drop = (why: string) => void;

/** The position of a rule, and the reading to which it belongs. */
interface Place {
  readonly file: string;
  readonly line: number;
  readonly part: string;
  readonly reading: Reading;
  readonly drop: Drop;
}

function readCapabilities(rest: string, deny: boolean, reading: Reading, drop: Drop): void {
  const names = rest.split(/\s+/).slice(1);
  const into = deny ? reading.deniedCapabilities : reading.capabilities;
  if (names.length === 0) for (const name of CAPABILITIES) into.add(name);
  for (const text of names) {
    const name = capabilityName(text);
    if (name === undefined) drop(`there is no capability ${text}`);
    else into.add(name);
  }
}

function readNetwork(rest: string, deny: boolean, { file, line, reading, drop }: Place): void {
  const found = readNetworkStatement(rest.split(/\s+/).slice(1));
  if (typeof found !== 'string') (deny ? reading.deniedNetwork : reading.network).push(found);
  else if (deny) throw unsaid(file, line, found);
  else drop(`${found}; it grants nothing here`);
}

function readMount(rest: string, deny: boolean, { part, reading, drop }: Place): void {
  if (deny) {
    reading.deniesMounts = true;
    if (rest !== 'mount')
      reading.notes.push({ part, why: 'a profile cannot express denying some mounts: all are denied' });
    return;
  }
  const found = readMountRule(rest);
  if (typeof found === 'string') drop(`it grants nothing here: ${found}`);
  else append(reading.mounts, found);
}

/** Why {@link appArmorPathPattern} returns no pattern. */
const unknownPart =
  'a variable has no known value, the code of a character is not supported, or the path begins with two slashes';

function readFile(rest: string, deny: boolean, { file, line, reading, drop }: Place): void {
  if (rest === 'file') {
    (deny ? reading.deny : reading.allow).push({ pattern: '/**', access: ['execute', 'read', 'write'] });
    return;
  }
  const found = /^(?:file\s+)?(?:("[^"]+"|[/@]\S*)\s+([a-zA-Z]+)|([a-zA-Z]+)\s+("[^"]+"|[/@]\S*))$/.exec(
    rest,
  );
  if (found === null) {
    const shown = JSON.stringify(rest.slice(0, 80));
    if (!/^(file\s|["/@]|[rwamkliupcxUPC]+\s+["/@])/.test(rest))
      throw bad(`${file}:${line}:1`, `${shown} is not a rule of AppArmor`);
    if (deny) throw unsaid(file, line, `${shown} is not a known rule on files`);
    drop('a profile cannot express it; it grants nothing here');
    return;
  }
  const written = (found[1] ?? found[4] ?? '').replace(/^"(.*)"$/, '$1');
  const letters = found[2] ?? found[3] ?? '';
  const pattern = appArmorPathPattern(written);
  const parsed = pattern === undefined ? undefined : parsePathPattern(pattern);
  if (pattern === undefined || parsed === undefined || 'problem' in parsed) {
    const why = parsed !== undefined && 'problem' in parsed ? parsed.problem.message : unknownPart;
    if (deny) throw unsaid(file, line, why);
    drop(`${why}; it grants nothing here`);
    return;
  }
  const access = deny ? deniedAccess(letters) : grantedAccess(letters, drop);
  if (
    !deny &&
    ((letters.includes('r') && !letters.includes('m')) ||
      (letters.includes('w') && !(letters.includes('k') && letters.includes('l'))))
  )
    reading.broader = true;
  if (access.length > 0) (deny ? reading.deny : reading.allow).push({ pattern, access });
}

/**
 * Returns the error for a denial that a profile cannot express: without it the profile would grant more than
 * the text.
 */
function unsaid(file: string, line: number, why: string, what = 'denial'): Error {
  return bad(
    `${file}:${line}:1`,
    `${why}, and a ${what} that is left out would grant more than the text does`,
  );
}
