import { append, closest } from '../../base/lists/index.ts';
import { parseDocuments, problemAt, sortProblems, validateParts } from '../../base/schema/index.ts';
import type { Document, Problem } from '../../base/schema/index.ts';
import { readExactProfiles } from './exact.ts';
import { EXACT_KIND } from './exact-schema.ts';
import type { Profile } from '../profile/model.ts';
import { resolveProfiles } from './resolve.ts';
import type { ResolvedProfile } from './resolve.ts';
import { PROFILE_KIND, profileSchema } from './schema.ts';

export interface SourceFile {
  /** Its name, for positions. */
  readonly file: string;
  readonly text: string;
}

export interface Checked {
  /** Complete profiles, in the order of files and positions. */
  readonly profiles: readonly ResolvedProfile[];
  /** The complete profiles, and the incomplete ones with samples for missing values. For inspection only. */
  readonly examined: readonly ResolvedProfile[];
  /** Profiles of kind ExactProfile. */
  readonly exact: readonly { readonly name: string; readonly profile: Profile }[];
  /** Profiles that need values from another profile, with the parameters that lack one. */
  readonly incomplete: ReadonlyMap<string, readonly string[]>;
  /** All problems, sorted by file, line and column. If there is one, no profile may be used. */
  readonly problems: readonly Problem[];
  /**
   * Whether a document has the name, with or without a problem, or a document could not be parsed. Then it is
   * no problem of its own that a name leads to no profile.
   */
  mayExist(name: string): boolean;
}

/**
 * Reads the EntitlementProfile documents in YAML or JSON texts. Documents of other kinds are skipped,
 * except for those whose kind is misspelt. A parent can be in any of the files. Never throws.
 */
export function checkProfiles(files: readonly SourceFile[]): Checked {
  const problems: Problem[] = [];
  const documents: Document[] = [];
  const exact: Document[] = [];
  const partial = new Set<Document>();
  const named = new Set<string>();
  const broken = new Set<string>();
  let isComplete = true;
  for (const { file, text } of files) {
    const parsed = parseDocuments(text, file);
    append(problems, parsed.problems);
    if (parsed.problems.length > 0) isComplete = false;
    for (const document of parsed.documents) {
      const kind = kindOf(document.value);
      if (kind === EXACT_KIND) exact.push(document);
      if (kind !== EXACT_KIND && kind !== PROFILE_KIND) {
        append(problems, misspeltKind(document, kind));
        continue;
      }
      const name = nameIn(document.value);
      if (name !== undefined) named.add(name);
      if (kind === EXACT_KIND) continue;
      const { problems: shape, rest } = validateParts(document, profileSchema, referredTo);
      append(problems, shape);
      if (shape.length > 0 && name !== undefined) broken.add(name);
      if (rest === undefined) continue;
      documents.push(rest);
      if (shape.length > 0) partial.add(rest);
    }
  }
  const whole = readExactProfiles(exact, documents);
  const {
    defined,
    examined,
    incomplete,
    problems: deeper,
  } = resolveProfiles(documents, {
    mayExist: (name) => !isComplete || broken.has(name),
    partial,
  });
  return {
    profiles: defined,
    examined,
    incomplete,
    problems: sortProblems([...problems, ...deeper, ...whole.problems]),
    exact: whole.profiles,
    mayExist: (name) => !isComplete || named.has(name),
  };
}

/**
 * Other parts of a profile refer to what these fields define: with a part of them, sound references look
 * wrong.
 */
const referredTo = ['parameters', 'extends', 'entitlements'];

/** A profile must not silently have no effect, so a document that was meant as one is reported. */
function misspeltKind(document: Document, kind: unknown): Problem[] {
  const { value } = document;
  if (typeof value !== 'object' || value === null) return [];
  const { apiVersion } = value as { readonly apiVersion?: unknown };
  if (typeof apiVersion !== 'string' || !apiVersion.startsWith('portcullis.dev/')) return [];
  if (kind === undefined && 'entitlements' in value)
    return [problemAt(document, [], 'the field `kind` is missing', `add kind: ${PROFILE_KIND}`)];
  if (typeof kind !== 'string') return [];
  const near = closest(kind, [PROFILE_KIND, EXACT_KIND]);
  if (near === undefined && !/profile/iu.test(kind)) return [];
  const fix = `did you mean \`${near ?? PROFILE_KIND}\`?`;
  return [problemAt(document, ['kind'], `"${kind}" is not known here`, fix)];
}

function nameIn(value: unknown): string | undefined {
  const { metadata } = value as { readonly metadata?: unknown };
  const name: unknown =
    typeof metadata === 'object' && metadata !== null && 'name' in metadata ? metadata.name : undefined;
  return typeof name === 'string' ? name : undefined;
}

function kindOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined;
}
