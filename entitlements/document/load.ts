import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileReason } from '../../base/errors/index.ts';
import { tryPlainFile } from '../../base/files/index.ts';
import { describeProblems, sortProblems, textOf } from '../../base/schema/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { entitlementsError } from '../errors.ts';
import { builtinNames, builtinProfile } from '../profile/builtin.ts';
import { checkProfiles } from './check.ts';
import type { Checked, SourceFile } from './check.ts';
import type { Profile } from '../profile/model.ts';
import type { NamedProfile } from './resolve.ts';

/** The built-in profiles and the profiles of the loaded documents. */
export interface ProfileSet {
  /** Returns the profile with that name, or undefined. */
  resolve(name: string): Profile | undefined;
  /** Returns all names: the built-in ones first, then sorted by name. */
  names(): string[];
  /** Profiles that documents define, in the order of files and positions. */
  readonly defined: readonly NamedProfile[];
  /**
   * Profiles that are complete only through a profile that extends them, with the parameters that have no
   * value. They cannot be resolved.
   */
  readonly incomplete: ReadonlyMap<string, readonly string[]>;
}

const MAX_BYTES = 1024 * 1024;

/**
 * Loads EntitlementProfile and ExactProfile documents from files and folders (from a folder: .yaml, .yml and
 * .json by name). Documents of other kinds are skipped.
 * @throws ENTITLEMENTS_BAD_PROFILE with all problems as file:line:column, also in `details.problems`
 */
export async function loadProfiles(options: { readonly paths: readonly string[] }): Promise<ProfileSet> {
  return profilesOf(options.paths, await readProfileFiles(options.paths));
}

/**
 * Reads the texts of files and folders, in the form that {@link loadProfiles} accepts.
 * @throws ENTITLEMENTS_BAD_PROFILE naming each file that cannot be read or is not UTF-8
 */
export async function readProfileFiles(paths: readonly string[]): Promise<readonly SourceFile[]> {
  const { texts, unread } = await collectProfileFiles(paths);
  if (unread.length > 0) throw invalid(paths, sortProblems([...unread, ...checkProfiles(texts).problems]));
  return texts;
}

/**
 * Reads the texts of files and folders, and reports those that could not be read or are not UTF-8.
 * @param standardInput the bytes of the path `-`; without them, `-` is the name of a file
 */
export async function collectProfileFiles(
  paths: readonly string[],
  standardInput?: Uint8Array,
): Promise<{ readonly texts: readonly SourceFile[]; readonly unread: readonly Problem[] }> {
  const unread: Problem[] = [];
  const isInput = (path: string): boolean => path === '-' && standardInput !== undefined;
  const filesOf = async (path: string): Promise<string[]> => (isInput(path) ? [path] : filesAt(path, unread));
  const files = (await Promise.all(paths.map(filesOf))).flat();
  const texts: SourceFile[] = [];
  for (const file of new Set(files)) {
    const bytes = isInput(file) ? (standardInput ?? new Uint8Array()) : await bytesOf(file, unread);
    if (bytes === undefined) continue;
    const read = textOf(file, bytes);
    if ('text' in read) texts.push({ file, text: read.text });
    else unread.push(read);
  }
  return { texts, unread };
}

/**
 * Returns the profiles in texts that were read from `paths`.
 * @throws ENTITLEMENTS_BAD_PROFILE with every problem
 */
export function profilesOf(paths: readonly string[], texts: readonly SourceFile[]): ProfileSet {
  const checked = checkProfiles(texts);
  if (checked.problems.length > 0) throw invalid(paths, checked.problems);
  return checkedSet(checked);
}

/**
 * Returns the profiles of documents that were checked. Without a problem, these are all profiles of the
 * documents.
 */
export function checkedSet({ profiles, exact, incomplete }: Checked): ProfileSet {
  return profileSet([...profiles, ...exact.map((one) => ({ ...one, entitlements: [] }))], incomplete);
}

/** Returns the set of the built-in profiles and the given ones. */
export function profileSet(
  defined: readonly NamedProfile[],
  incomplete: ReadonlyMap<string, readonly string[]> = new Map(),
): ProfileSet {
  const byName = new Map(defined.map((named) => [named.name, named.profile]));
  return {
    resolve: (name) => builtinProfile(name) ?? byName.get(name),
    names: () => [...builtinNames(), ...[...byName.keys()].sort()],
    defined,
    incomplete,
  };
}

async function bytesOf(file: string, problems: Problem[]): Promise<Uint8Array | undefined> {
  try {
    const read = await tryPlainFile(file, MAX_BYTES);
    if ('bytes' in read) return read.bytes;
    if (read.refused === 'not a plain file') throw new Error('it is not a regular file');
    problems.push({
      position: { file, line: 1, column: 1 },
      path: '',
      message: `it is larger than ${MAX_BYTES} bytes`,
      fix: 'split it into several files of one folder',
      hidesOthers: true,
    });
    return undefined;
  } catch (error) {
    problems.push(unreadable(file, error));
    return undefined;
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
  return {
    position: { file, line: 1, column: 1 },
    path: '',
    message: `cannot be read: ${fileReason(error, file)}`,
    fix: 'name a readable file',
    unread: true,
    hidesOthers: true,
  };
}

function invalid(paths: readonly string[], problems: readonly Problem[]): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'load entitlement profiles',
    on: paths.join(', '),
    why: describeProblems(problems),
    fix: problems.every(({ unread }) => unread === true)
      ? 'name files that exist and can be read'
      : 'correct the lines named',
    details: { problems },
  });
}
