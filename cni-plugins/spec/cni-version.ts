/**
 * Versions of the CNI protocol: those that we support, and libcni's order of versions (pkg/version of
 * containernetworking/cni). Pure.
 */

/** The same as libcni's `version.All`. Results of each version are read and written. */
export const supportedVersions: readonly string[] = [
  '0.1.0',
  '0.2.0',
  '0.3.0',
  '0.3.1',
  '0.4.0',
  '1.0.0',
  '1.1.0',
];

export const currentVersion = '1.1.0';

/** The answer to VERSION (section 3 of the specification). */
export const versionAnswer = { cniVersion: currentVersion, supportedVersions };

export type Version = readonly [major: number, minor: number, micro: number];

/**
 * Parses a version. A missing version is 0.1.0; missing components are zero. Returns a sentence if the text
 * is not a version.
 */
export function parseVersion(text: string): Version | string {
  if (text === '') return [0, 1, 0];
  const parts = text.split('.');
  if (parts.length > 3) return `invalid version ${JSON.stringify(text)}: too many parts`;
  const names = ['major', 'minor', 'micro'];
  const numbers = parts.map((part) => (/^[+-]?\d{1,9}$/u.test(part) ? Number(part) : undefined));
  const wrong = numbers.indexOf(undefined);
  if (wrong >= 0)
    return `failed to convert ${names[wrong] ?? ''} version part ${JSON.stringify(parts[wrong])}: not a number`;
  return [numbers[0] ?? 0, numbers[1] ?? 0, numbers[2] ?? 0];
}

export function isAtLeast(version: Version, other: Version): boolean {
  const at = version.findIndex((part, index) => part !== other[index]);
  return at < 0 || (version[at] ?? 0) > (other[at] ?? 0);
}
