import { hasManyValues, parseJson } from '../../base/json/index.ts';
import { describeProblems, validate } from '../../base/schema/index.ts';
import { policyRevision } from '../../trust/policy/index.ts';
import { mostPolicyLength, policyTextSchema } from '../records/policy.ts';
import type { PolicyText } from '../records/policy.ts';

/** More values than the names, texts and digests of a policy have: a policy is mostly text. */
const mostValues = 2 ** 15;

/**
 * Reads a policy that a node sent, and computes its revision. Returns why it is refused instead.
 * @param body JSON of a {@link PolicyText}
 */
export function readPolicyText(
  body: string,
): { readonly revision: string; readonly json: string } | { readonly refused: string } {
  if (body.length > mostPolicyLength)
    return { refused: `a policy is longer than ${mostPolicyLength} characters` };
  if (hasManyValues(body, mostValues)) return { refused: `a policy has more than ${mostValues} values` };
  let value: unknown;
  try {
    value = parseJson(body);
  } catch {
    return { refused: 'a policy is not JSON' };
  }
  const position = { file: 'policy', line: 0, column: 0 };
  const problems = validate({ value, file: 'policy', positionOf: () => position }, policyTextSchema);
  if (problems.length > 0)
    return { refused: `a policy is malformed: ${describeProblems(problems.slice(0, 3)).trimEnd()}` };
  const { revision, files, keys } = value as PolicyText;
  // The revision is computed from UTF-8, in which every half of a surrogate pair has the same bytes.
  const texts = [...files.flatMap(({ name, text }) => [name, text]), ...keys.map(({ name }) => name)];
  if (!texts.every((text) => text.isWellFormed()))
    return { refused: 'a policy contains half of a surrogate pair' };
  const computed = policyRevision({ files, keys });
  if (computed !== revision) return { refused: `a policy has the revision ${computed}, not ${revision}` };
  return { revision, json: JSON.stringify({ files, keys }) };
}
