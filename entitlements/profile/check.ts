import { append } from '../../base/lists/index.ts';
import { parseDocuments, validate } from '../../base/schema/index.ts';
import type { Document, Problem } from '../../base/schema/index.ts';
import { readExactProfiles } from './exact.ts';
import { EXACT_KIND } from './exact-schema.ts';
import type { Profile } from './model.ts';
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
}

/**
 * Reads the EntitlementProfile documents in YAML or JSON texts. Documents of other kinds are skipped. A
 * parent can be in any of the files. Never throws.
 */
export function checkProfiles(files: readonly SourceFile[]): Checked {
  const problems: Problem[] = [];
  const documents: Document[] = [];
  const exact: Document[] = [];
  for (const { file, text } of files) {
    const parsed = parseDocuments(text, file);
    append(problems, parsed.problems);
    for (const document of parsed.documents) {
      if (kindOf(document.value) === EXACT_KIND) exact.push(document);
      if (kindOf(document.value) !== PROFILE_KIND) continue;
      const shape = validate(document, profileSchema);
      append(problems, shape);
      if (shape.length === 0) documents.push(document);
    }
  }
  const whole = readExactProfiles(exact, documents);
  const { defined, examined, incomplete, problems: deeper } = resolveProfiles(documents);
  return { profiles: defined, examined, incomplete, problems: byPlace([...problems, ...deeper, ...whole.problems]), exact: whole.profiles };
}

/** Sorts problems by file, line and column, without duplicates. */
export function byPlace(problems: readonly Problem[]): Problem[] {
  const key = ({ position, message }: Problem): string => `${position.file}\0${position.line}:${position.column}\0${message}`;
  return [...new Map(problems.map((problem) => [key(problem), problem])).values()].sort(
    (a, b) => a.position.file.localeCompare(b.position.file) || a.position.line - b.position.line || a.position.column - b.position.column,
  );
}

function kindOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined;
}
