import { codeIs, tolerate } from '../../base/errors/index.ts';
import { checkProfiles } from '../document/check.ts';
import type { SourceFile } from '../document/check.ts';
import { referencesOf } from '../document/parameters.ts';
import type { ResolvedProfile } from '../document/resolve.ts';
import { broadGrants } from './broad.ts';
import { deadGrants } from './unusable-grants.ts';
import { finder } from './finding.ts';
import type { Find, Finding } from './finding.ts';
import { shadowedRules } from './shadowed.ts';

/**
 * Finds what profiles allow and is probably not intended, by file, line and column. Profiles with problems
 * have no findings: see checkProfiles. Never throws.
 */
export function lintProfiles(files: readonly SourceFile[]): Finding[] {
  return checkProfiles(files)
    .examined.flatMap(lintProfile)
    .sort(
      (a, b) =>
        a.position.file.localeCompare(b.position.file) ||
        a.position.line - b.position.line ||
        a.position.column - b.position.column,
    );
}

function lintProfile(profile: ResolvedProfile): Finding[] {
  const { find, findings } = finder(profile.document);
  for (const rule of [shadowedRules, deadGrants, broadGrants, unusedParameters]) {
    // A rule that would have to compare too much reports nothing. The profile itself is valid.
    tolerate(codeIs('ENTITLEMENTS_TOO_COMPLEX'), () => rule(profile, find));
  }
  return findings;
}

function unusedParameters({ document }: ResolvedProfile, find: Find): void {
  const { parameters = {}, ...rest } = document.value as { readonly parameters?: object };
  const used = new Set(referencesOf(rest).map(({ name }) => name));
  for (const name of Object.keys(parameters)) {
    if (!used.has(name))
      find(
        'unused-parameter',
        ['parameters', name],
        `nothing refers to \${${name}}`,
        'remove it, or use it',
        'key',
      );
  }
}
