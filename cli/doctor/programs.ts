import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openAdvisories, programFolders } from '../../runtime/index.ts';
import type { Finding } from './finding.ts';

interface Requirement {
  readonly packageName: string;
  /** A command, or the absolute path of a file. */
  readonly command: string;
  /** `daemon`, `story` (the quickstart and the tests) or `tests`. */
  readonly neededBy: string;
  /** Where it is; undefined if it is missing. */
  readonly path: string | undefined;
  readonly why: string;
  readonly elsewhere: string;
}

/** The configuration of a node determines which OCI runtimes it needs, and where: see `runtimes.ts`. */
export const ociRuntimes = ['crun', 'runc'] as const;

/** Folders where packaging/prepare unpacks programs that it does not install. */
const unpacked = ['/usr/bin', '/bin', '/sbin'].map((folder) => `/var/cache/portcullis/debian${folder}`);
const systemFolders = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * Reports the programs of the operating system, except OCI runtimes, with their versions and open
 * vulnerabilities. The list is the table that packaging/prepare installs from. An installed package has no
 * tests, so it needs no program of theirs.
 */
export function programFindings(packageRoot: string): readonly Finding[] {
  const isCheckout = existsSync(join(packageRoot, 'cli/main.ts'));
  const requirements = requirementsOf(packageRoot)
    .filter(({ command }) => !ociRuntimes.some((name) => name === command))
    .filter(({ neededBy }) => neededBy !== 'tests' || isCheckout);
  const absent = (...kinds: readonly string[]): readonly Requirement[] =>
    requirements.filter(({ neededBy, path }) => path === undefined && kinds.includes(neededBy));
  return [
    ...absent('daemon').map((requirement) => absentProgram(requirement)),
    ...requirements.flatMap(({ path, ...requirement }) =>
      path === undefined ? [] : [presentProgram(requirement, path)],
    ),
    ...lacking('quickstart', absent('story')),
    ...lacking('tests', absent('tests')),
  ];
}

/** Returns the packages that the quickstart needs and that are not installed, by the same table. */
export function lackedByQuickstart(packageRoot: string): readonly string[] {
  return (
    requirementsOf(packageRoot)
      .filter(({ neededBy, path }) => neededBy === 'story' && path === undefined)
      .map(({ packageName }) => packageName)
      // The default handler is crun. Without AppArmor in the kernel nothing compiles its profiles.
      .filter((name) => name !== 'runc' && name !== 'apparmor')
  );
}

function requirementsOf(packageRoot: string): readonly Requirement[] {
  return (
    readFileSync(join(packageRoot, 'packaging/debian-packages'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      // Skip libraries that Node itself is linked with: without them this code would not run.
      .filter((line) => !line.includes('|lib:'))
      .map((line): Requirement => {
        const [packageName = '', command = '', neededBy = '', , why = '', elsewhere = ''] = line.split('|');
        // The daemon does not search PATH.
        const path = findProgram(command, neededBy === 'daemon' ? programFolders : undefined);
        return { packageName, command, neededBy, path, why, elsewhere };
      })
  );
}

function absentProgram({ packageName, why, elsewhere }: Requirement): Finding {
  return {
    topic: packageName,
    state: 'missing',
    found: 'not found',
    meaning: [why],
    fix: `portcullis doctor --fix, apt-get install ${packageName}, or ${elsewhere}`,
  };
}

/** Reports programs that the daemon does not need in one finding. */
function lacking(topic: string, requirements: readonly Requirement[]): readonly Finding[] {
  if (requirements.length === 0) return [];
  const names = requirements.map(({ packageName }) => packageName);
  return [
    {
      topic,
      state: 'degraded',
      found: `lacks ${names.join(', ')}`,
      meaning: [
        'the daemon runs without them',
        ...requirements.map(({ packageName, why, elsewhere }) => `${packageName}: ${why}; ${elsewhere}`),
      ],
      fix: topic === 'tests' ? 'sh packaging/prepare test' : 'portcullis doctor --fix',
    },
  ];
}

function presentProgram(requirement: Omit<Requirement, 'path'>, path: string): Finding {
  const { packageName, command, elsewhere } = requirement;
  if (command.startsWith('/')) return { topic: packageName, state: 'fine', found: path };
  const version = versionOf(path);
  const open = openAdvisories(command, version, (fix) => debianPackageIsAtLeast(packageName, path, fix));
  return {
    topic: packageName,
    state: open.length === 0 ? 'fine' : 'degraded',
    found: version === '' ? path : `${version}  ${path}`,
    ...(open.length > 0 && {
      meaning: open.map((advisory) => `${advisory.cve}: ${advisory.what}; ${advisory.guard}`),
      open: open.map((advisory) => advisory.cve),
      fix: `a newer ${command} from ${elsewhere}; \`strict: true\` in the configuration refuses this one`,
    }),
  };
}

/** Returns the path of a program, from PATH and the folders of the system unless other folders are given. */
export function findProgram(command: string, where?: readonly string[]): string | undefined {
  if (command.startsWith('/')) return existsSync(command) ? command : undefined;
  const folders = where ?? [...(process.env['PATH'] ?? '').split(':'), ...systemFolders, ...unpacked];
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, command))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Returns the first dotted number in the program's version output; empty when there is none. */
function versionOf(path: string): string {
  for (const flag of ['--version', '-V']) {
    const run = spawnSync(path, [flag], { encoding: 'utf8', timeout: 5000 });
    const version = /\d+\.\d+(?:\.\d+)*/.exec(`${run.stdout}\n${run.stderr}`)?.[0];
    if (run.status === 0 && version !== undefined) return version;
  }
  return (
    /v(\d+\.\d+\.\d+)/.exec(spawnSync(path, ['--help'], { encoding: 'utf8', timeout: 5000 }).stderr)?.[1] ??
    ''
  );
}

/** Reports whether a program of a Debian package has at least this version of the package. */
export function debianPackageIsAtLeast(packageName: string, path: string, version: string): boolean {
  // A program outside of the standard folders does not belong to the package.
  if (!path.startsWith('/usr/bin/') && !path.startsWith('/usr/sbin/')) return false;
  const installed = spawnSync('dpkg-query', ['-W', '-f', '${Version}', packageName], { encoding: 'utf8' });
  if (installed.status !== 0) return false;
  return spawnSync('dpkg', ['--compare-versions', installed.stdout, 'ge', version]).status === 0;
}
