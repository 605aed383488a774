import { isPortcullisError } from '../../base/errors/index.ts';
import { sortProblems } from '../../base/schema/index.ts';
import type { PathSegment, Problem } from '../../base/schema/index.ts';
import { defaultProfile } from '../profile/builtin.ts';
import { checkProfiles } from '../document/check.ts';
import type { SourceFile } from '../document/check.ts';
import { collectProfileFiles } from '../document/load.ts';
import type { Finding } from '../lint/finding.ts';
import { lintProfiles } from '../lint/lint.ts';
import { jsonPlaces } from '../lint/json-positions.ts';
import { lintSeccomp, lintSeccompText } from '../lint/seccomp.ts';
import { parseSeccompJson } from '../seccomp/oci-shape.ts';
import { resolveConditions } from './conditional-seccomp.ts';
import { isSeccomp } from './operand.ts';

/** The result of a check of files. */
export interface CheckedFiles {
  readonly profiles: readonly { readonly name: string; readonly entitlements: readonly string[] }[];
  /** The number of files with seccomp JSON. */
  readonly filters: number;
  /** Errors that make the files unusable, by file, line and column. */
  readonly problems: readonly Problem[];
  /** Permissions that are probably not intended. */
  readonly findings: readonly Finding[];
}

/** Checks profiles and seccomp JSON in files and folders. Never throws because of their content. */
export async function checkFiles(
  paths: readonly string[],
  standardInput?: Uint8Array,
): Promise<CheckedFiles> {
  const { texts, unread } = await collectProfileFiles(paths, standardInput);
  const seccomp = texts.filter(({ text }) => isSeccomp(text));
  const documents = texts.filter((file) => !seccomp.includes(file));
  const { profiles, exact, problems } = checkProfiles(documents);
  const filters = seccomp.map(lintFilter);
  return {
    profiles: [
      ...profiles.map(({ name, entitlements }) => ({ name, entitlements })),
      ...exact.map(({ name }) => ({ name, entitlements: [] })),
    ],
    filters: filters.length,
    problems: sortProblems([...unread, ...problems, ...filters.flatMap((one) => one.problems)]),
    findings: [...lintProfiles(documents), ...filters.flatMap((one) => one.findings)],
  };
}

/** Lints the rules that apply to a default container on x86_64, at their positions in the source. */
function lintFilter({ file, text }: SourceFile): ReturnType<typeof lintSeccompText> {
  try {
    const { plain, places } = resolveConditions(parseSeccompJson(text), {
      architecture: 'x86_64',
      capabilities: defaultProfile().capabilities,
    });
    const positionOf = jsonPlaces(text, file);
    const inSource = (path: readonly PathSegment[]): readonly PathSegment[] =>
      path[0] === 'syscalls' && typeof path[1] === 'number'
        ? ['syscalls', places[path[1]] ?? path[1], ...path.slice(2)]
        : path;
    return { findings: lintSeccomp(plain, (path) => positionOf(inSource(path))), problems: [] };
  } catch (error) {
    if (!isPortcullisError(error)) throw error;
    const { findings, problems } = lintSeccompText(text, file);
    if (problems.length > 0) return { findings, problems };
    const { on, why, fix } = error.failure;
    return {
      findings: [],
      problems: [{ position: jsonPlaces(text, file)([]), path: on, message: why, fix }],
    };
  }
}
