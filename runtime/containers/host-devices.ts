import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Device } from '../cri/contract/contract.types.ts';
import type { OciDevice } from '../oci/spec.types.ts';

/**
 * The device nodes behind what a container asks for; a folder gives every device in it.
 * @throws PortcullisError RUNTIME_BAD_DEVICE
 */
export function askedDevices(asked: readonly Device[]): OciDevice[] {
  return asked.flatMap((device) => {
    if (!device.hostPath.startsWith('/') || !device.containerPath.startsWith('/') || !/^[rwm]{0,3}$/.test(device.permissions)) {
      throw badDevice(device.hostPath, 'its paths are not absolute, or its permissions are not of r, w and m', 'correct the device');
    }
    const found = devicesAt(device.hostPath, device.containerPath);
    if (found.length === 0) throw badDevice(device.hostPath, 'there is no device', 'name a device of the host');
    return found;
  });
}

/** Folders of /dev that are kernel file systems of their own, or belong to each container. */
const notDevices = new Set([
  '/dev/pts',
  '/dev/shm',
  '/dev/fd',
  '/dev/mqueue',
  '/dev/console',
  '/dev/.lxc',
  '/dev/.lxd-mounts',
  '/dev/.udev',
]);

/** Every device of the host, for a privileged container. */
export function allHostDevices(): OciDevice[] {
  return devicesAt('/dev', '/dev');
}

function devicesAt(hostPath: string, containerPath: string): OciDevice[] {
  if (notDevices.has(hostPath)) return [];
  let facts;
  try {
    facts = statSync(hostPath);
  } catch {
    return [];
  }
  if (facts.isDirectory()) return readdirSync(hostPath).flatMap((name) => devicesAt(join(hostPath, name), join(containerPath, name)));
  if (!facts.isCharacterDevice() && !facts.isBlockDevice()) return [];
  const { rdev } = facts;
  return [
    {
      path: containerPath,
      type: facts.isBlockDevice() ? 'b' : 'c',
      // Encoding of dev_t: sys/sysmacros.h.
      major: ((rdev >>> 8) & 0xfff) | (Math.floor(rdev / 2 ** 32) & 0xfffff000),
      minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00),
      fileMode: facts.mode & 0o777,
      uid: facts.uid,
      gid: facts.gid,
    },
  ];
}

function badDevice(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code: 'RUNTIME_BAD_DEVICE', kind: 'invalid', attempted: 'add device', on, why, fix });
}
