/**
 * A published vulnerability of a program that the daemon starts, and how the daemon mitigates it while it is
 * not fixed.
 */
export interface Advisory {
  readonly cve: string;
  /**
   * The first fixed version of each maintained branch, in ascending order. Empty if no version has a fix yet.
   */
  readonly fixedIn: readonly string[];
  /** The first vulnerable version. Absent if all versions before the fix are vulnerable. */
  readonly since?: string;
  /** The Debian package version that contains the backported fix. */
  readonly fixedInDebian?: string;
  readonly what: string;
  /** Why the vulnerability does not affect containers that the daemon starts, or which risk remains. */
  readonly guard: string;
}

const devCheck =
  '/dev, /proc and /sys of an image must be plain folders, which is checked before each create';
const noVolumes =
  'no volume, device or link of an image leads to /dev, /proc or /sys unless every ceiling contains `privileged`, which is checked before each create';

/** Sources: the projects' security advisories and release notes. */
export const advisories: Readonly<Record<string, readonly Advisory[]>> = {
  crun: [
    {
      cve: 'CVE-2026-88264',
      fixedIn: [],
      what: '/dev/console created through a symlink where no fresh /dev is mounted',
      guard: 'the image’s own /dev is always covered by a mount',
    },
    {
      cve: 'CVE-2026-88265',
      fixedIn: [],
      what: '/dev/null reopened through a symlink where no fresh /dev is mounted',
      guard: 'the image’s own /dev is always covered by a mount',
    },
    {
      cve: 'CVE-2026-47766',
      fixedIn: ['1.28'],
      what: 'a /dev symlink in an image makes device nodes on the host',
      guard: devCheck,
    },
    {
      cve: 'CVE-2026-30892',
      since: '1.19',
      fixedIn: ['1.27'],
      what: '`exec -u` runs as another user than requested',
      guard: 'the daemon describes processes as JSON with numeric ids, and never uses -u',
    },
    {
      cve: 'CVE-2025-24965',
      fixedIn: ['1.20'],
      what: 'the krun handler follows a link out of the root file system',
      guard: 'the krun handler is not used',
    },
  ],
  runc: [
    {
      cve: 'CVE-2026-41579',
      fixedIn: ['1.3.6', '1.4.3', '1.5.2'],
      what: 'a /dev symlink in an image makes links on the host',
      guard: devCheck,
    },
    {
      cve: 'CVE-2025-31133',
      fixedIn: ['1.2.8', '1.3.3', '1.4.0'],
      what: 'a masked path is replaced by a link while it is mounted',
      guard: `${noVolumes}; a container whose masked paths show files of the kernel is not started`,
    },
    {
      cve: 'CVE-2025-52565',
      fixedIn: ['1.2.8', '1.3.3', '1.4.0'],
      what: '/dev/console is replaced by a link while it is mounted',
      guard: `${noVolumes}; with such a ceiling, nothing prevents it in runc; crun, the default, is not affected`,
    },
    {
      cve: 'CVE-2025-52881',
      fixedIn: ['1.2.8', '1.3.3', '1.4.0'],
      what: 'writes to /proc are led elsewhere, past the LSM label',
      guard: `${noVolumes}; containers that share a volume, mount inside it and change it during a create remain: the changed container is not started, and crun, the default, is not affected`,
    },
    {
      cve: 'CVE-2024-45310',
      fixedIn: ['1.1.14'],
      what: 'a race over a shared volume makes empty files on the host',
      guard: 'not mitigated: only pods that share a writable volume can attack',
    },
    {
      cve: 'CVE-2024-21626',
      fixedIn: ['1.1.12'],
      fixedInDebian: '1.1.5+ds1-1+deb12u1',
      what: 'a leaked file descriptor as working folder leads to the host',
      guard:
        'a working directory that leads into /proc, directly or through links, is refused before create and before each command',
    },
  ],
  conmon: [
    {
      cve: 'CVE-2022-1708',
      fixedIn: ['2.1.2'],
      what: 'the output of an exec fills the memory',
      guard: 'the output of ExecSync is capped at 16 MiB a stream',
    },
  ],
};

/**
 * Returns the advisories of `program` that are not fixed in `version` (for example `1.8.1`). `debianFixes(v)`
 * reports whether the installed Debian package is at least version `v`.
 */
export function openAdvisories(
  program: string,
  version: string,
  debianFixes: (version: string) => boolean,
): readonly Advisory[] {
  return (advisories[program] ?? []).filter((advisory) => {
    if (advisory.since !== undefined && compareVersions(version, advisory.since) < 0) return false;
    if (isFixed(version, advisory.fixedIn)) return false;
    return advisory.fixedInDebian === undefined || !debianFixes(advisory.fixedInDebian);
  });
}

function isFixed(version: string, fixedIn: readonly string[]): boolean {
  const newest = fixedIn.at(-1);
  if (newest === undefined) return false;
  const branch = (text: string): string => text.split('.').slice(0, 2).join('.');
  return (
    compareVersions(version, newest) >= 0 ||
    fixedIn.some((fix) => branch(fix) === branch(version) && compareVersions(version, fix) >= 0)
  );
}

/**
 * Compares two dotted version numbers. Returns a negative number, a positive number or zero. A missing
 * component counts as 0.
 */
export function compareVersions(a: string, b: string): number {
  const numbers = (text: string): number[] => text.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const [left, right] = [numbers(a), numbers(b)];
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
