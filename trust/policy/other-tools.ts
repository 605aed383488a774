import type { Document, Problem } from '../../base/schema/index.ts';
import { recordOf, textOf } from '../json/strict-json.ts';

/** How a document shows that it is the policy of a tool, by the tool's name in `policy import --from`. */
const tools: readonly (readonly [
  from: string,
  is: (document: Readonly<Record<string, unknown>>) => boolean,
])[] = [
  ['cluster-image-policy', ({ apiVersion }) => /^policy\.sigstore\.dev\//u.test(textOf(apiVersion) ?? '')],
  ['kyverno', ({ apiVersion }) => /^(?:policies\.)?kyverno\.io\//u.test(textOf(apiVersion) ?? '')],
  ['notation', ({ trustPolicies }) => Array.isArray(trustPolicies)],
  // containers-policy.json(5): an array. In a TrustPolicy, `default` is a word.
  ['containers', ({ default: byDefault }) => Array.isArray(byDefault)],
];

/**
 * Returns the problem of a document that is the policy of another tool, in place of a list of all fields that
 * a TrustPolicy does not have. Undefined: it is not.
 */
export function otherTools({ file, value, positionOf }: Document): Problem | undefined {
  const record = recordOf(value);
  const from = record === undefined ? undefined : tools.find(([, is]) => is(record))?.[0];
  if (from === undefined) return undefined;
  return {
    ...{ position: positionOf([]), path: '' },
    message: `this is a policy of another tool (${from}), and not a TrustPolicy`,
    fix: `convert it: portcullis policy import --from ${from} ${file}`,
  };
}

/**
 * Returns the problem of a field that policy-controller and Kyverno call `keyless`, with its name in a
 * TrustPolicy in place of a list of all names. Other problems stay.
 */
export function withOwnName(problem: Problem): Problem {
  if (problem.message !== 'unknown field `keyless`') return problem;
  return { ...problem, fix: 'require a keyless signature with `sigstore`, `issuer` and `subject`' };
}
