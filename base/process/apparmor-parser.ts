import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** `apparmor_parser` and the folder that its texts include from: where the package is installed, or where packaging/prepare unpacked it. */
export interface AppArmorParser {
  readonly program: string;
  /** `abi`, `tunables` and `abstractions` lie below it (apparmor_parser(8), --base). */
  readonly base: string;
}

const ROOTS = ['/', '/var/cache/portcullis/debian'];
const PROGRAMS = ['sbin/apparmor_parser', 'usr/sbin/apparmor_parser'];

/** Undefined where there is none: it belongs to Debian's package `apparmor`. */
export function findAppArmorParser(): AppArmorParser | undefined {
  for (const root of ROOTS) {
    const program = PROGRAMS.map((path) => join(root, path)).find((path) => existsSync(path));
    if (program !== undefined) return { program, base: join(root, 'etc/apparmor.d') };
  }
  return undefined;
}
