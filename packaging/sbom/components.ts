import type { LockedPackage } from '../archives/npm-package.ts';
import { compare } from '../archives/files.ts';
import type { BundledPackage } from '../notices.ts';

/** A package that a release contains. */
export interface Component {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly license: string;
  /** Digest of the archive that the registry of npm serves, or of the .deb of Debian, in hexadecimal. */
  readonly hash: { readonly algorithm: 'SHA-512' | 'SHA-256'; readonly value: string };
  /** Package URL (purl-spec). */
  readonly purl: string;
  /** Name for advisories (CPE 2.3), if the package contains a program that has one. */
  readonly cpe?: string;
}

/** The subject of one SBOM. */
export interface Subject {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly description: string;
  readonly purl: string;
  /** Time of the release, in seconds since 1970. */
  readonly time: number;
}

/**
 * Returns the components of a release, sorted by their package URL.
 * @param bundled what the bundle contains, and the packages beside it
 * @throws Error if package-lock.json does not pin one of them by SHA-512
 */
export function componentsOf(
  bundled: readonly Omit<BundledPackage, 'text'>[],
  locked: Readonly<Record<string, LockedPackage>>,
): Component[] {
  return bundled
    .map(({ name, version, license }) => {
      const entry = Object.entries(locked).find(
        ([path, one]) => path.endsWith(`node_modules/${name}`) && one.version === version,
      )?.[1];
      const hash = /^sha512-([A-Za-z0-9+/]{86}==)$/u.exec(entry?.integrity ?? '')?.[1];
      if (hash === undefined) throw new Error(`package-lock.json does not pin ${name} ${version} by SHA-512`);
      return {
        name,
        version,
        license,
        hash: { algorithm: 'SHA-512', value: Buffer.from(hash, 'base64').toString('hex') } as const,
        purl: npmPurl(name, version),
        ...(name.startsWith('node-linux-')
          ? { cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*` }
          : {}),
      };
    })
    .sort((a, b) => compare(a.purl, b.purl));
}

/** Returns the package URL of a package of npm: the `@` of a scope is encoded (purl-spec, npm). */
export function npmPurl(name: string, version: string): string {
  return `pkg:npm/${name.replace(/^@/u, '%40')}@${version}`;
}

/** Returns the package URL of a package of Debian 12 (purl-spec, deb). */
export function debPurl(name: string, version: string, architecture: string): string {
  return `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}&distro=debian-12`;
}
