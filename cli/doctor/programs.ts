import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openAdvisories, programFolders } from '../../runtime/index.ts';
import type { Finding } from './finding.ts';

interface Requirement {
  readonly packageName: string;
  /** A command, or the absolute path of a file. */
  readonly command: string;
  readonly neededBy: string;
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
 * vulnerabilities. The list is the table that packaging/prepare installs from.
 */
export function programFindings(packageRoot: string): readonly Finding[] {
  return (
    readFileSync(join(packageRoot, 'packaging/debian-packages'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      // Skip libraries that Node itself is linked with: without them this code would not run.
      .filter((line) => !line.includes('|lib:'))
      .map((line) => {
        const [packageName = '', command = '', neededBy = '', , why = '', elsewhere = ''] = line.split('|');
        return { packageName, command, neededBy, why, elsewhere };
      })
      .filter(({ command }) => !ociRuntimes.some((name) => name === command))
      .map((requirement) => programFinding(requirement))
  );
}

function programFinding(requirement: Requirement): Finding {
  const { packageName, command, neededBy, why, elsewhere } = requirement;
  // The daemon does not search PATH.
  const path = neededBy === 'daemon' ? findProgram(command, programFolders) : findProgram(command);
  if (path === undefined) {
    const story = neededBy === 'story' ? ' (the quickstart and the tests only)' : '';
    return {
      topic: packageName,
      state: neededBy === 'daemon' ? 'missing' : 'degraded',
      found: 'not found',
      meaning: [`${why}${story}`],
      fix: `portcullis doctor --fix, apt-get install ${packageName}, or ${elsewhere}`,
    };
  }
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
