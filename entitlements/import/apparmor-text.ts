import { append } from '../../base/lists/index.ts';
import { CAPABILITIES, capabilityName, sortedCapabilities } from '../capabilities/capability-names.ts';
import { entitlementsError } from '../errors.ts';
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

/** One rule of a profile, without its comma. */
interface Statement {
  readonly line: number;
  readonly text: string;
}

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
      why: 'complain enforces nothing and logs; the rules are taken as if they were enforced',
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
 * io_uring and mqueue are mediated since ABI 4.0.
 */
function deniedCalls({ calls, deniedCalls: denied }: Reading, text: string): Set<CallKind> {
  const mediated: readonly CallKind[] = text.split('\n').some((line) => /^\s*abi\s+<abi\/[4-9]/.test(line))
    ? ['pivot_root', 'umount', 'userns', 'io_uring', 'mqueue']
    : ['pivot_root', 'umount'];
  return new Set([...denied, ...mediated.filter((kind) => !calls.has(kind))]);
}

/** Returns true for text with the header of an AppArmor profile. */
export function isAppArmorText(text: string): boolean {
  return !/^\s*(apiVersion:|\{)/.test(text) && text.split('\n').some(isHeader);
}

/** Matches in two steps: a single expression would try every end of the name with every brace. */
function isHeader(line: string): boolean {
  const head = /^\s*(?:profile\s+\S|\/\S)/.exec(line);
  return head !== null && /\{\s*(#.*)?$/.test(line.slice(head[0].length));
}

/** The longest profile header that is read. The expression would backtrack too often on a longer one. */
const maxHeaderLength = 1024;
const headerForm =
  /^(?:profile\s+)?(?:"([^"]+)"|(\S+))(?:\s+(\S*\/\S+))?\s*(?:flags=\(([^)]*)\)|\(([^)]*)\))?\s*\{$/;

function readProfile(
  text: string,
  file: string,
): { readonly name: string; readonly flags: string; readonly statements: readonly Statement[] } {
  const lines = text.split('\n');
  let header: { readonly name: string; readonly flags: string; readonly line: number } | undefined;
  const statements: Statement[] = [];
  /** Lines of a rule that is not complete yet. */
  let pending: string[] = [];
  let scan = newScan();
  let began = 0;
  let ended = false;
  lines.forEach((raw, at) => {
    const line = at + 1;
    const include = /^\s*#?include\s/.test(raw);
    const stripped = (include ? raw : raw.replace(/(^|\s)#.*$/, '')).trim();
    if (stripped === '') return;
    if (header === undefined || ended) {
      if (include || /^(abi\s|@\{\w+\}\s*\+?=|alias\s)/.test(stripped)) return;
      const found = stripped.length > maxHeaderLength ? null : headerForm.exec(stripped);
      if (found === null)
        throw bad(`${file}:${line}:1`, `${JSON.stringify(stripped.slice(0, 80))} is no header of a profile`);
      if (ended) throw bad(`${file}:${line}:1`, 'a second profile begins here: give each a file of its own');
      header = { name: found[1] ?? found[2] ?? '', flags: found[4] ?? found[5] ?? '', line };
      return;
    }
    if (include) {
      statements.push({ line, text: stripped });
      return;
    }
    if (stripped === '}' && pending.length === 0) {
      ended = true;
      return;
    }
    if (pending.length === 0) began = line;
    if (/^(profile\s|\^|hat\s)/.test(pending[0] ?? stripped) && stripped.endsWith('{'))
      throw bad(`${file}:${line}:1`, 'a profile within the profile has no counterpart');
    // A comma ends a rule, except within braces and parentheses.
    let rest = pending.length === 0 ? stripped : ` ${stripped}`;
    for (let end = endOfRule(rest, scan); end >= 0; end = endOfRule(rest, scan)) {
      statements.push({ line: began, text: [...pending, rest.slice(0, end)].join('').trim() });
      pending = [];
      scan = newScan();
      rest = rest.slice(end + 1).trim();
    }
    if (rest !== '') pending.push(rest);
  });
  // Assigned in a callback, which the type checker does not see.
  const found = header as
    { readonly name: string; readonly flags: string; readonly line: number } | undefined;
  if (found === undefined) throw bad(`${file}:1:1`, 'there is no profile in it');
  if (pending.length > 0)
    throw bad(
      `${file}:${began}:1`,
      `the rule ${JSON.stringify(pending.join('').slice(0, 80))} has no comma at its end`,
    );
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- likewise
  if (!ended) throw bad(`${file}:${found.line}:1`, 'the profile has no closing brace');
  return { name: found.name, flags: found.flags, statements };
}

/** The state of reading a rule between its lines. */
interface Scan {
  depth: number;
  quoted: boolean;
  escaped: boolean;
}

function newScan(): Scan {
  return { depth: 0, quoted: false, escaped: false };
}

/** Returns the index of the comma that ends the rule; -1: it continues on the next line. */
function endOfRule(text: string, scan: Scan): number {
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (scan.escaped) scan.escaped = false;
    else if (letter === '\\') scan.escaped = true;
    else if (letter === '"') scan.quoted = !scan.quoted;
    else if (scan.quoted) continue;
    else if (letter === '{' || letter === '(' || letter === '[') scan.depth += 1;
    else if (letter === '}' || letter === ')' || letter === ']') scan.depth -= 1;
    else if (letter === ',' && scan.depth === 0) return at;
  }
  return -1;
}

function readStatement({ line, text }: Statement, reading: Reading): void {
  const part = `${reading.file}:${line}`;
  const drop = (why: string): void => {
    reading.unmapped.push({ part, why: `${JSON.stringify(text.slice(0, 120))}: ${why}` });
  };
  if (/^#?include\b/.test(text)) {
    drop('what is included is not read: its rules grant nothing here');
    return;
  }
  const [denied, audit, owner, rest] = splitPrefix(text);
  if (audit) reading.notes.push({ part, why: 'what is denied is not logged apart' });
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
      if (deny) reading.deniedNetwork.push({ family: 'unix', narrowed: false });
      else if (rest === 'unix') reading.network.push({ family: 'unix', narrowed: false });
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
      if (deny) reading.notes.push({ part, why: 'a profile grants no change to another one' });
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
      if (owner && !deny) drop('a profile does not tell owners apart; it grants nothing here');
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
      throw bad(`${file}:${line}:1`, `${shown} is no rule of AppArmor`);
    if (deny) throw unsaid(file, line, `${shown} is no rule on files that is known here`);
    drop('a profile cannot express it; it grants nothing here');
    return;
  }
  const written = (found[1] ?? found[4] ?? '').replaceAll('"', '');
  const letters = found[2] ?? found[3] ?? '';
  const pattern = appArmorPathPattern(written);
  const parsed = pattern === undefined ? undefined : parsePathPattern(pattern);
  if (pattern === undefined || parsed === undefined || 'problem' in parsed) {
    const why =
      parsed !== undefined && 'problem' in parsed ? parsed.problem.message : 'a variable has no known value';
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

function bad(at: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read AppArmor profile',
    on: at,
    why,
    fix: 'write one profile, as apparmor.d(5) has it; apparmor_parser -Q -K FILE checks it',
  });
}
