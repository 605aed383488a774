import type { BeyondCri } from '../../containers/adjusted.ts';
import { cleanContainerPath } from '../../oci/container-path.ts';
import type { LinuxDevice } from '../protocol/contract.types.ts';
import type { OwnedChange } from './merge.ts';
import { badAdjustment } from './refusal.ts';

/** The widths of device numbers (include/linux/kdev_t.h). 0 is the major number of no device. */
const [mostMajor, mostMinor] = [2 ** 12 - 1, 2 ** 20 - 1];

/**
 * Returns the device node that a plugin adds. Pure. Its numbers are checked, because the numbers, not the
 * path, identify the device.
 * @throws PortcullisError NRI_BAD_ADJUSTMENT
 */
export function addedDevice(change: OwnedChange): BeyondCri['devices'][number] {
  const { path, type, major, minor, fileMode, uid, gid } = change.value as LinuxDevice;
  if (!path.startsWith('/') || cleanContainerPath(path) !== path)
    throw badAdjustment(
      change,
      'its path is not absolute and normalized',
      'give an absolute path without ".."',
    );
  if (!['b', 'c', 'u'].includes(type))
    throw badAdjustment(change, `its type is ${JSON.stringify(type.slice(0, 64))}`, 'use b or c');
  if (!(major > 0 && major <= mostMajor && minor >= 0 && minor <= mostMinor))
    throw badAdjustment(change, `no device has the numbers ${major}:${minor}`, 'correct its numbers');
  return {
    path,
    type: type === 'b' ? 'b' : 'c',
    major,
    minor,
    fileMode: (fileMode?.value ?? 0o666) & 0o777,
    uid: uid?.value ?? 0,
    gid: gid?.value ?? 0,
  };
}
