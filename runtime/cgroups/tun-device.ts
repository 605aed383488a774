import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { denyDeviceInCgroup } from '../../base/kernel/index.ts';
import type { CgroupMounts } from './cgroups.ts';

/** /dev/net/tun (Documentation/admin-guide/devices.txt). */
const tun = { type: 'c', major: 10, minor: 200 } as const;

/** The file of a cgroup of version 1 that takes denied devices. */
const denied = 'devices.deny';

/** A rule of the OCI specification (config-linux.md, "Allowed Device list"). */
export interface DeviceRule {
  readonly allow: boolean;
  readonly type?: string | undefined;
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  readonly access?: string | undefined;
}

/** Returns whether rules allow reading or writing /dev/net/tun. The last rule that names it applies. Pure. */
export function allowsTun(rules: readonly DeviceRule[]): boolean {
  const names = (wanted: number, named: number | undefined): boolean =>
    named === undefined || named < 0 || named === wanted;
  const rule = rules.findLast(
    ({ type = 'a', major, minor, access = 'rwm' }) =>
      (type === 'a' || type === tun.type) &&
      names(tun.major, major) &&
      names(tun.minor, minor) &&
      /[rw]/u.test(access),
  );
  return rule?.allow === true;
}

/**
 * Denies /dev/net/tun to the processes of a cgroup. runc before 1.2 allows this device to every container, as
 * the last of its rules.
 * @throws the error of the kernel if it does not take the rule
 */
export async function denyTun({ version, roots }: CgroupMounts, path: string): Promise<void> {
  if (version === 2) return denyDeviceInCgroup(join(roots[0] ?? '/sys/fs/cgroup', path), tun);
  const root = roots.find((each) => existsSync(join(each, denied)));
  // Without this controller the runtime restricts no device.
  if (root !== undefined)
    await writeFile(join(root, path, denied), `${tun.type} ${tun.major}:${tun.minor} rwm`);
}
