/** Versions of the CNI protocol: which we speak, and how libcni compares them (pkg/version of containernetworking/cni). Pure. */

/** As libcni's `version.All`: results of each are understood and given. */
export const supportedVersions: readonly string[] = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

export const currentVersion = '1.1.0';

/** The answer to VERSION (section 3 of the specification). */
export const versionAnswer = { cniVersion: currentVersion, supportedVersions };

export type Version = readonly [major: number, minor: number, micro: number];

/** A missing version is 0.1.0; missing parts are zero. A sentence when it is no version. */
export function parseVersion(text: string): Version | string {
  if (text === '') return [0, 1, 0];
  const parts = text.split('.');
  if (parts.length > 3) return `invalid version ${JSON.stringify(text)}: too many parts`;
  const names = ['major', 'minor', 'micro'];
  const numbers = parts.map((part) => (/^[+-]?\d{1,9}$/u.test(part) ? Number(part) : undefined));
  const wrong = numbers.indexOf(undefined);
  if (wrong >= 0) return `failed to convert ${names[wrong] ?? ''} version part ${JSON.stringify(parts[wrong])}: not a number`;
  return [numbers[0] ?? 0, numbers[1] ?? 0, numbers[2] ?? 0];
}

export function isAtLeast(version: Version, other: Version): boolean {
  const at = version.findIndex((part, index) => part !== other[index]);
  return at < 0 || (version[at] ?? 0) > (other[at] ?? 0);
}
