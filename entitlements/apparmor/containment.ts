import { CAPABILITIES } from '../capabilities/capability-names.ts';
import { entitlementsError } from '../errors.ts';
import type { KernelAutomaton } from './automaton.ts';
import type { CompiledProfile } from './compiled-policy.ts';

/** Whether one policy grants no more than another. A no comes with one thing that it grants in addition. */
export type AppArmorContainment = { readonly yes: true } | { readonly yes: false; readonly witness: string };

/** The maximum number of state pairs that one question may visit. */
const MAX_PAIRS = 2_000_000;

/**
 * Decides whether the first profile of `outer` grants everything that the first of `inner` grants, and
 * likewise for the profiles inside them. It walks through the products of the compiled automata. An exec that
 * changes the profile counts as equal only if the target profile is the same, or if the outer policy lets the
 * program run unconfined.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function compiledWithin(
  inner: readonly CompiledProfile[],
  outer: readonly CompiledProfile[],
): AppArmorContainment {
  const [ours, theirs] = [byPlace(inner), byPlace(outer)];
  for (const [place, profile] of ours) {
    const other = theirs.get(place);
    const where = place === '' ? '' : `in the profile ${place} inside it: `;
    if (other === undefined) return { yes: false, witness: `the profile ${place} inside it` };
    const witness = excess(profile, other);
    if (witness !== undefined) return { yes: false, witness: where + witness };
  }
  return { yes: true };
}

/** By the name inside the first profile. The first profile has an empty name. */
function byPlace(profiles: readonly CompiledProfile[]): ReadonlyMap<string, CompiledProfile> {
  const main = profiles[0]?.name ?? '';
  return new Map(
    profiles.map((profile) => [profile.name === main ? '' : profile.name.replace(`${main}//`, ''), profile]),
  );
}

function excess(inner: CompiledProfile, outer: CompiledProfile): string | undefined {
  const denies = ({ mode }: CompiledProfile): boolean => mode === 'enforce' || mode === 'kill';
  if (!denies(outer)) return undefined;
  if (!denies(inner)) return 'everything: it denies nothing';
  if (inner.attachDisconnected && !outer.attachDisconnected)
    return 'files outside its root (the flag attach_disconnected)';
  const beyond = inner.capabilities & ~outer.capabilities;
  if (beyond !== 0n) {
    const number = (beyond & -beyond).toString(2).length - 1;
    return `the capability ${(CAPABILITIES[number] ?? `number ${number}`).toLowerCase()}`;
  }
  for (const [resource, bound] of outer.limits) {
    const own = inner.limits.get(resource);
    if (own === undefined || own > bound) return `more of the resource ${resource} than ${bound}`;
  }
  const family = inner.families?.findIndex((types, at) => (types & ~(outer.families?.[at] ?? 0)) !== 0) ?? -1;
  if (outer.families !== undefined && family >= 0) return `sockets of family ${family}`;
  return policyExcess(inner, outer) ?? fileExcess(inner, outer);
}

/** The subjects of rules by class (security/apparmor/include/apparmor.h, AA_CLASS_*). */
const CLASSES: ReadonlyMap<number, string> = new Map([
  [6, 'a change of profile'],
  [7, 'a mount'],
  [9, 'tracing'],
  [10, 'a signal'],
  [14, 'a socket'],
  [16, 'a label'],
  [17, 'a message queue'],
  [32, 'a message over D-Bus'],
]);

function policyExcess(inner: CompiledProfile, outer: CompiledProfile): string | undefined {
  const found = differing(inner.policy, outer.policy, (ours, theirs) =>
    (ours & ~theirs) === 0 ? undefined : 'granted',
  );
  if (found === undefined) return undefined;
  const [kind = 0, ...rest] = found.input;
  const detail = Buffer.from(rest.filter((byte) => byte >= 0x20 && byte < 0x7f)).toString('latin1');
  return `${CLASSES.get(kind) ?? `a rule of class ${kind}`}${detail === '' ? '' : ` (${detail})`}`;
}

/** The bits of one half of a file's permissions: security/apparmor/file.c, map_old_perms. */
const FILE_BITS: readonly (readonly [bit: number, words: string])[] = [
  [0x02, 'write to'],
  [0x04, 'read of'],
  [0x08, 'append to'],
  [0x01, 'execution of'],
  [0x40, 'mapping as code of'],
  [0x10, 'links to'],
  [0x20, 'locks on'],
];
const EXECUTE = 0x01;
/** The effect of an exec: dfa_map_xindex. */
const EXEC_BITS = 0x3f80;
const [UNCONFINED, UNSAFE] = [1 << 10, 0x100];

function fileExcess(inner: CompiledProfile, outer: CompiledProfile): string | undefined {
  const half = (ours: number, theirs: number): string | undefined => {
    const granted = FILE_BITS.find(([bit]) => (ours & bit & ~theirs) !== 0);
    if (granted !== undefined) return granted[1];
    if ((ours & EXECUTE) === 0) return undefined;
    const [from, to] = [ours & EXEC_BITS, theirs & EXEC_BITS];
    const same = transition(from, inner) === transition(to, outer) || (to & (0xf << 10)) === UNCONFINED;
    if (!same) return 'execution under another profile of';
    return (from & UNSAFE & ~to) === 0 ? undefined : 'execution without environment scrubbing of';
  };
  const found = differing(inner.files, outer.files, (ours, theirs) => {
    const whole = half((ours >>> 14) & 0x3fff, (theirs >>> 14) & 0x3fff);
    if (whole !== undefined) return whole;
    const owned = half(ours & 0x3fff, theirs & 0x3fff);
    if (owned !== undefined) return `as its owner, ${owned}`;
    return (((ours & ~theirs) >>> 28) & 0xc) === 0 ? undefined : 'a change of profile to';
  });
  if (found === undefined) return undefined;
  return `${found.what} ${new TextDecoder().decode(Uint8Array.from(found.input))}`;
}

/** Equal texts mean equal results of an exec. */
function transition(bits: number, { targets }: CompiledProfile): string {
  const index = (bits >> 10) & 0xf;
  const inherits = (bits & 0x200) !== 0;
  const falls = (bits & 0x80) !== 0;
  const where = index >= 4 ? `to ${targets[index - 4] ?? ''}` : `${index}`;
  return `${where} ${inherits} ${falls}`;
}

/** Returns the shortest input after which `report` finds a difference between what the two accept. */
function differing(
  inner: KernelAutomaton | undefined,
  outer: KernelAutomaton | undefined,
  report: (inner: number, outer: number) => string | undefined,
): { readonly what: string; readonly input: readonly number[] } | undefined {
  if (inner === undefined) return undefined;
  // One byte for each class of bytes that neither automaton distinguishes, readable ones first.
  const bytes = new Map<string, number>();
  for (const byte of ORDER) {
    const key = `${inner.classOf(byte)} ${outer?.classOf(byte) ?? 0}`;
    if (!bytes.has(key)) bytes.set(key, byte);
  }
  interface Pair {
    readonly ours: number;
    readonly theirs: number;
    readonly byte: number;
    readonly before: Pair | undefined;
  }
  const queue: Pair[] = [{ ours: 1, theirs: outer === undefined ? 0 : 1, byte: 0, before: undefined }];
  const width = (outer?.states ?? 0) + 1;
  const seen = new Set<number>([width + 1]);
  for (const pair of queue) {
    const what = report(inner.accepts(pair.ours), outer?.accepts(pair.theirs) ?? 0);
    if (what !== undefined) {
      const input: number[] = [];
      for (let at: Pair = pair; at.before !== undefined; at = at.before) input.push(at.byte);
      return { what, input: input.reverse() };
    }
    for (const byte of bytes.values()) {
      const ours = inner.next(pair.ours, byte);
      if (ours === 0) continue;
      const theirs = outer === undefined || pair.theirs === 0 ? 0 : outer.next(pair.theirs, byte);
      const key = ours * width + theirs;
      if (seen.has(key)) continue;
      seen.add(key);
      queue.push({ ours, theirs, byte, before: pair });
    }
    if (queue.length > MAX_PAIRS) throw tooComplex();
  }
  return undefined;
}

const ORDER: readonly number[] = [
  ...Array.from('xabcdefghijklmnopqrstuvwyz0123456789/_-', (letter) => letter.charCodeAt(0)),
  ...Array.from({ length: 256 }, (_, byte) => byte),
];

function tooComplex(): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'compare AppArmor profiles',
    on: '',
    why: `their automata have more than ${MAX_PAIRS} pairs of states`,
    fix: 'use fewer patterns, or patterns with fewer wildcards',
  });
}
