import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The location of `apparmor_parser` and of the folder from which its texts include: either where the package
 * is installed, or where packaging/prepare unpacked it.
 */
export interface AppArmorParser {
  readonly program: string;
  /** The folder that contains `abi`, `tunables` and `abstractions` (apparmor_parser(8), --base). */
  readonly base: string;
}

const ROOTS = ['/', '/var/cache/portcullis/debian'];
const PROGRAMS = ['sbin/apparmor_parser', 'usr/sbin/apparmor_parser'];

/** Returns undefined if there is none. The parser belongs to Debian's package `apparmor`. */
export function findAppArmorParser(): AppArmorParser | undefined {
  for (const root of ROOTS) {
    const program = PROGRAMS.map((path) => join(root, path)).find((path) => existsSync(path));
    if (program !== undefined) return { program, base: join(root, 'etc/apparmor.d') };
  }
  return undefined;
}
