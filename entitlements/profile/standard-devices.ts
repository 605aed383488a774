import { parseDeviceGrants } from './devices.ts';
import type { FileRules } from './model.ts';

/**
 * The devices that every container may use: null, zero, full, random, urandom, tty, console, ptmx, pts. An
 * OCI runtime adds them to the device rules that it is given, whatever these say, and also allows to create
 * any node, because that opens nothing (runtime-spec config-linux.md, "Default Devices"; default_devices of
 * crun, AllowedDevices of runc, which lacks console).
 */
export const STANDARD_DEVICES = parseDeviceGrants([
  'c *:* m',
  'b *:* m',
  'c 1:3 rwm',
  'c 1:5 rwm',
  'c 1:7 rwm',
  'c 1:8 rwm',
  'c 1:9 rwm',
  'c 5:0 rwm',
  'c 5:1 rwm',
  'c 5:2 rwm',
  'c 136:* rwm',
]);

/** File rules do not restrict these devices. */
const DEVICE_FILES: FileRules['allow'] = [
  { pattern: '/dev/{console,full,null,ptmx,random,tty,urandom,zero}', access: ['read', 'write'] },
  { pattern: '/dev/pts/**', access: ['read', 'write'] },
];

/**
 * Returns file rules as they are enforced: with the standard devices. An explicit denial of them still
 * counts.
 */
export function withStandardDevices(files: readonly FileRules[]): readonly FileRules[] {
  const members = files.length === 0 ? [{ allow: [], deny: [] }] : files;
  return members.map(({ allow, deny }) => ({ allow: [...allow, ...DEVICE_FILES], deny }));
}
