import type { Profile } from '../profile/model.ts';

/** A part of a source that a profile expresses differently or not at all. */
export interface Remark {
  /** The position in the source: `syscalls[3].args[0]`, `spec.selinuxOptions`, `line 12`. */
  readonly part: string;
  readonly why: string;
}

/** A source converted to a profile, which never grants more than the source where the two can be compared. */
export interface Imported {
  /** The source's own name, in the syntax of profile names; undefined if it has none. */
  readonly name?: string;
  readonly profile: Profile;
  /**
   * Restrictions that a profile cannot express. A grant that depends on one of them is omitted, or the
   * profile lacks the restriction.
   */
  readonly unmapped: readonly Remark[];
  /** Where the profile is tighter than the text of the source, or expresses the same differently. */
  readonly notes: readonly Remark[];
}

/**
 * Converts a name to the syntax of profile names (lower-case letters, digits, dots and dashes; at most 63);
 * undefined if nothing remains.
 */
export function profileName(text: string): string | undefined {
  const name = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]+/g, '-')
    .slice(0, 63)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '');
  return name === '' ? undefined : name;
}
