import { isPortcullisError, codeIs, tolerate } from '../../base/errors/index.ts';
import type { PathSegment, Position, Problem } from '../../base/schema/index.ts';
import { matches } from '../seccomp/clause.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionOf, outcomeOf } from '../seccomp/oci-import.ts';
import { parseSeccompJson, readOciSeccomp } from '../seccomp/oci-shape.ts';
import type { OciRule } from '../seccomp/oci-shape.ts';
import { finder } from './finding.ts';
import type { Find, Finding } from './finding.ts';
import { highBits, shownCall } from './high-bits.ts';
import { jsonPlaces } from './json-positions.ts';

/** The width that a filter compares if it does not know the kernel's types. */
const allBits = (): 64 => 64;

/**
 * Lints an OCI seccomp object (runtime-spec, config-linux.md#seccomp) as runc and crun load it: over all 64
 * bits of every argument.
 * @param positionOf returns the position of a part of the object
 * @throws ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_UNSUPPORTED for notify and trace
 */
export function lintSeccomp(
  json: unknown,
  positionOf: (path: readonly PathSegment[]) => Position,
): Finding[] {
  const oci = readOciSeccomp(json);
  const { find, findings } = finder({ positionOf });
  const fallback = outcomeOf(oci.defaultAction, oci.defaultErrnoRet);
  const byName = new Map<string, { readonly rule: OciRule; readonly at: number }[]>();
  oci.syscalls.forEach((rule, at) => {
    for (const name of rule.names) byName.set(name, [...(byName.get(name) ?? []), { rule, at }]);
  });
  for (const [name, rules] of byName) {
    for (const check of [passable, repeated]) {
      tolerate(codeIs('ENTITLEMENTS_TOO_COMPLEX'), () => check(name, rules, fallback, find));
    }
  }
  return findings;
}

type Rules = readonly { readonly rule: OciRule; readonly at: number }[];
type Check = (name: string, rules: Rules, fallback: ReturnType<typeof outcomeOf>, find: Find) => void;

const passable: Check = (name, rules, fallback, find) => {
  const of = decisionOf(
    name,
    rules.map(({ rule }) => rule),
    fallback,
    allBits,
  );
  const found = highBits(name, of);
  if (found === undefined) return;
  // The rule that lets the call pass. If the default does, the first rule that names the call.
  const by = rules.find(({ rule }) => {
    const alone = decisionOf(name, [rule], fallback, allBits);
    return outcomeOf(rule.action, rule.errnoRet) === found.answer && answers(alone, found.args, found.answer);
  });
  const at =
    (by ?? rules.find(({ rule }) => rule.args.some((arg) => arg.index === found.index)) ?? rules[0])?.at ?? 0;
  const [passing, read] = [shownCall(name, found.args), shownCall(name, found.read)];
  find(
    'int-arg-high-bits',
    ['syscalls', at],
    `${passing} is answered "${found.answer}", and the kernel reads it as ${read}, which is answered "${found.meant}"`,
    'list what is allowed by SCMP_CMP_EQ or SCMP_CMP_MASKED_EQ with a mask of the bits that the kernel reads',
  );
};

function answers(of: ReturnType<typeof decisionOf>, args: readonly bigint[], answer: string): boolean {
  return (
    of.pieces.some(({ when, outcome }) => outcome === answer && matches(when, args)) ||
    decide(of, args) === answer
  );
}

/** Finds a rule without which the call gets the same answer. */
const repeated: Check = (name, rules, fallback, find) => {
  if (rules.length < 2 || rules.length > 64) return;
  const key = (some: Rules): string =>
    JSON.stringify(
      decisionOf(
        name,
        some.map(({ rule }) => rule),
        fallback,
        allBits,
      ),
      (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value),
    );
  const whole = key(rules);
  let left = rules;
  for (const one of rules.toReversed()) {
    const rest = left.filter((other) => other !== one);
    if (rest.length === 0 || key(rest) !== whole) continue;
    left = rest;
    find('shadowed-rule', ['syscalls', one.at], `${name} is answered the same without it`, 'remove the name');
  }
};

/**
 * Runs {@link lintSeccomp} on a JSON text. An error in the text becomes a problem.
 * @throws no PortcullisError: only a defect of the linter itself
 */
export function lintSeccompText(
  text: string,
  file: string,
): { readonly findings: readonly Finding[]; readonly problems: readonly Problem[] } {
  const places = jsonPlaces(text, file);
  try {
    return { findings: lintSeccomp(parseSeccompJson(text), places), problems: [] };
  } catch (error) {
    if (!isPortcullisError(error)) throw error;
    const { on, why, fix } = error.failure;
    const path = [...on.matchAll(/([^.[\]]+)|\[(\d+)\]/g)].map(([, name, index]) =>
      index === undefined ? (name ?? '') : Number(index),
    );
    return { findings: [], problems: [{ position: places(path), path: on, message: why, fix }] };
  }
}
