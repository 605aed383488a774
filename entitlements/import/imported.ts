import type { Profile } from '../profile/model.ts';

/** A part of a source that a profile does not say as the source did. */
export interface Remark {
  /** Where in the source: `syscalls[3].args[0]`, `spec.selinuxOptions`, `line 12`. */
  readonly part: string;
  readonly why: string;
}

/** A source said as a profile, which never grants more than the source did where the two can be compared. */
export interface Imported {
  /** What the source calls itself, as a profile may be called; undefined when it has no name. */
  readonly name?: string;
  readonly profile: Profile;
  /** Restrictions that a profile has no words for. What depended on them is granted by no other part, or the profile stays without it. */
  readonly unmapped: readonly Remark[];
  /** Where the profile is tighter than the source's letter, or says the same in another way. */
  readonly notes: readonly Remark[];
}

/** The name as profiles may be called (lower-case letters, digits, dots and dashes; 63 at most); undefined when nothing of it is left. */
export function profileName(text: string): string | undefined {
  const name = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]+/g, '-')
    .slice(0, 63)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '');
  return name === '' ? undefined : name;
}
