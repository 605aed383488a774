import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { describeProblems, problemAt, sortProblems, validate } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';
import { predicateTypeOf } from '../attestation/predicate-types.ts';
import { recordOf, textOf } from '../json/strict-json.ts';
import { readPolicyFiles } from '../policy/documents.ts';
import { parseInstant } from '../requirements/duration.ts';
import { parseImagePattern } from '../requirements/image-pattern.ts';
import { waiversSchema } from './waiver-schema.ts';

/** A refusal that the gate lets pass for a limited time. */
export interface Waiver {
  readonly id: string;
  readonly images: readonly string[];
  readonly digest?: string;
  readonly namespaces?: readonly string[];
  readonly codes: readonly string[];
  /** The name of a requirement in a policy, or a predicate type. */
  readonly requirement?: string;
  readonly owner: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly created: string;
  readonly expires: string;
  /** `FILE:LINE`. */
  readonly place: string;
}

/** Whether a waiver applies at this time. */
export function isInForce({ expires }: Pick<Waiver, 'expires'>, now: Date): boolean {
  return now.getTime() < Date.parse(expires);
}

const day = 86_400_000;
/** A longer exception is a change of the policy. */
const longestDays = 90;

/** The names that `requirement` accepts beside predicate types. */
const requirementNames = ['cosign', 'sigstore', 'pki', 'notation', 'gpg', 'tuf', 'vsa'];

/**
 * Loads the Waivers documents of files and folders. Ignores the documents of policies beside them.
 * @throws PortcullisError `TRUST_WAIVERS_INVALID` with every problem, each with file, line and column
 */
export async function loadWaivers(paths: readonly string[], now: Date): Promise<readonly Waiver[]> {
  const read = await readPolicyFiles(paths);
  const problems: Problem[] = [...read.problems];
  const documents = read.documents.filter(
    ({ value }) => !otherKinds.includes(textOf(recordOf(value)?.['kind']) ?? ''),
  );
  const waivers: Waiver[] = [];
  for (const document of documents) {
    const found = validate(document, waiversSchema);
    append(problems, found);
    if (found.length === 0) append(waivers, readWaivers(document, now, problems, waivers));
  }
  if (documents.length === 0 && problems.length === 0)
    problems.push({
      ...{ position: { file: paths[0] ?? '', line: 1, column: 1 }, path: '' },
      ...{ message: 'no document of kind Waivers', fix: 'write one: see docs/ci-gate.md' },
    });
  if (problems.length > 0) throw invalid(paths, sortProblems(problems));
  return waivers;
}

const otherKinds = ['TrustPolicy', 'EntitlementProfile', 'ExactProfile', 'PolicyTest'];

/** A value that {@link waiversSchema} accepts. */
type Written = Omit<Waiver, 'place'>;

function readWaivers(
  document: Document,
  now: Date,
  problems: Problem[],
  earlier: readonly Waiver[],
): readonly Waiver[] {
  const { waivers } = document.value as { readonly waivers: readonly Written[] };
  const seen = new Set(earlier.map(({ id }) => id));
  return waivers.flatMap((written, index) => {
    const path = ['waivers', index];
    const before = problems.length;
    const say = (at: readonly PathSegment[], message: string, fix: string): void =>
      void problems.push(problemAt(document, [...path, ...at], message, fix));
    if (seen.has(written.id))
      say(['id'], `another waiver has the id ${written.id}`, 'give each waiver its own id');
    seen.add(written.id);
    for (const [position, pattern] of written.images.entries())
      try {
        parseImagePattern(pattern);
      } catch (error) {
        say(
          ['images', position],
          `"${pattern}" is not an image pattern: ${reasonOf(error)}`,
          'write it like registry.example.com/team/**',
        );
      }
    const { requirement } = written;
    const type = requirement === undefined ? undefined : namedRequirement(requirement);
    if (requirement !== undefined && type === undefined)
      say(
        ['requirement'],
        `"${requirement}" is not a requirement`,
        `write one of ${requirementNames.join(', ')}, or a predicate type`,
      );
    const [created, expires] = [parseInstant(written.created), parseInstant(written.expires)];
    if (created === undefined) say(['created'], `"${written.created}" is not a valid date`, 'correct it');
    if (expires === undefined) say(['expires'], `"${written.expires}" is not a valid date`, 'correct it');
    if (created === undefined || expires === undefined) return [];
    if (Date.parse(created) > now.getTime() + day)
      say(
        ['created'],
        `\`created\` is in the future: ${written.created}`,
        'write the day on which it was made',
      );
    if (Date.parse(expires) <= Date.parse(created))
      say(['expires'], 'it ends before it begins', 'write a later time than `created`');
    if (Date.parse(expires) > Date.parse(created) + longestDays * day)
      say(
        ['expires'],
        `it lasts longer than ${longestDays} days`,
        'end it earlier: it can be renewed, or the policy changed',
      );
    if (problems.length > before) return [];
    const { file, line } = document.positionOf(path);
    return [
      {
        ...written,
        ...{ created, expires, place: `${file}:${line}` },
        ...(type === undefined ? {} : { requirement: type }),
      },
    ];
  });
}

function namedRequirement(name: string): string | undefined {
  return requirementNames.includes(name) ? name : predicateTypeOf(name);
}

function invalid(paths: readonly string[], problems: readonly Problem[]): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_WAIVERS_INVALID',
    kind: 'invalid',
    attempted: 'load waivers',
    on: paths.join(', '),
    why: describeProblems(problems),
    fix: 'correct the lines named',
    details: { problems },
  });
}
