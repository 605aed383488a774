import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import { formatProblems, parseDocuments, validate } from '../../base/schema/index.ts';
import type { Document, Problem } from '../../base/schema/index.ts';
import { entitlementsError } from '../errors.ts';
import { builtinNames, builtinProfile } from './builtin.ts';
import { readProfile } from './document.ts';
import type { NamedProfile } from './document.ts';
import type { Profile } from './model.ts';
import { PROFILE_KIND, profileSchema } from './schema.ts';

/** The built-in profiles and those of the loaded documents. */
export interface ProfileSet {
  /** The profile of that name, or undefined. */
  resolve(name: string): Profile | undefined;
  /** All names: the built-in ones first, then by name. */
  names(): string[];
  /** Those that documents define, in the order of files and places. */
  readonly defined: readonly NamedProfile[];
}

const MAX_BYTES = 1024 * 1024;

/**
 * Loads the documents of kind EntitlementProfile from files and folders (of a folder: .yaml, .yml and .json by name); documents of
 * other kinds are skipped.
 * @throws ENTITLEMENTS_BAD_PROFILE with every problem at once as file:line:column, in `details.problems` too
 */
export async function loadProfiles(options: { readonly paths: readonly string[] }): Promise<ProfileSet> {
  const problems: Problem[] = [];
  const documents: Document[] = [];
  const files = (await Promise.all(options.paths.map((path) => filesAt(path, problems)))).flat();
  for (const file of new Set(files)) documents.push(...(await documentsOf(file, problems)));
  const defined: NamedProfile[] = [];
  const places = new Map<string, string>();
  for (const document of documents) {
    if (kindOf(document.value) !== PROFILE_KIND) continue;
    const shape = validate(document, profileSchema);
    problems.push(...shape);
    if (shape.length > 0) continue;
    const { found, problems: deeper } = readProfile(document);
    problems.push(...deeper);
    if (found === undefined) continue;
    const position = document.positionOf(['metadata', 'name']);
    const earlier = places.get(found.name);
    if (earlier !== undefined) {
      problems.push({
        position,
        path: 'metadata.name',
        message: `the profile \`${found.name}\` stands at ${earlier} already`,
        fix: 'rename one of the two',
      });
    }
    places.set(found.name, `${position.file}:${position.line}`);
    defined.push(found);
  }
  if (problems.length > 0) throw invalid(options.paths, problems);
  return profileSet(defined);
}

/** The set of the built-in profiles and these. */
export function profileSet(defined: readonly NamedProfile[]): ProfileSet {
  const byName = new Map(defined.map((named) => [named.name, named.profile]));
  return {
    resolve: (name) => builtinProfile(name) ?? byName.get(name),
    names: () => [...builtinNames(), ...[...byName.keys()].sort()],
    defined,
  };
}

function kindOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined;
}

async function documentsOf(file: string, problems: Problem[]): Promise<readonly Document[]> {
  try {
    const facts = await stat(file);
    // A FIFO would wait for ever, a device has no end.
    if (!facts.isFile()) throw new Error('it is not a file');
    if (facts.size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`);
    const parsed = parseDocuments(await readFile(file, 'utf8'), file);
    problems.push(...parsed.problems);
    return parsed.documents;
  } catch (error) {
    problems.push(unreadable(file, error));
    return [];
  }
}

async function filesAt(path: string, problems: Problem[]): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = (await readdir(path)).filter((name) => /^[^.].*\.(ya?ml|json)$/.test(name)).sort();
    return names.map((name) => join(path, name));
  } catch (error) {
    problems.push(unreadable(path, error));
    return [];
  }
}

function unreadable(file: string, error: unknown): Problem {
  return { position: { file, line: 1, column: 1 }, path: '', message: `can not be read: ${reasonOf(error)}`, fix: 'name a readable file' };
}

function invalid(paths: readonly string[], problems: readonly Problem[]): Error {
  const sorted = problems.toSorted(
    (a, b) => a.position.file.localeCompare(b.position.file) || a.position.line - b.position.line || a.position.column - b.position.column,
  );
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'load entitlement profiles',
    on: paths.join(', '),
    why: `${sorted.length} problem${sorted.length === 1 ? '' : 's'}:\n${formatProblems(sorted)}\n`,
    fix: 'correct the lines named',
    details: { problems: sorted },
  });
}
