import type { Mutant } from './mutant.ts';

const oci = 'runtime/oci';
const mounts = 'runtime/container-mounts';
const launcherName = ['test/e2e/launcher-name.test.ts'];
const kernelFolders = ['test/e2e/kernel-folders.test.ts'];

/** The resolution of paths in a container. */
export const mutants: readonly Mutant[] = [
  {
    file: `${mounts}/launcher-name.ts`,
    removes: 'the exclusive creation of the launcher’s name',
    from: 'O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW',
    to: 'O_WRONLY | O_CREAT',
    tests: launcherName,
  },
  {
    file: 'runtime/containers/bundle/bundle.ts',
    removes: 'the reservation of the launcher’s name',
    from: 'if (settings.landlock !== undefined) reserveLauncherName(rootfs.path);',
    to: '',
    tests: launcherName,
  },
  {
    file: 'base/kernel/mounts/null-device.ts',
    removes: 'the separate null device',
    from: 'mknod(path, S_IFCHR | 0o666, 1, 3);',
    to: "return openFile('/dev/null', O_RDWR);",
    tests: ['base/kernel/mounts/null-device.test.ts'],
  },
  {
    file: `${oci}/start-command.ts`,
    removes: 'the check of the launcher before each command',
    from: 'await checkCommandPlace(target, input.place, input.paths);',
    to: '',
    tests: launcherName,
  },
  {
    file: `${mounts}/launcher-name.ts`,
    removes: 'the check that the launcher’s mount is read-only',
    from: 'if (isWritable(path))',
    to: 'if (false as boolean)',
    tests: launcherName,
  },
  {
    file: `${mounts}/launcher-name.ts`,
    removes: 'the check that the launcher is our file',
    from: '!== basename(launcher)',
    to: "=== ''",
    tests: launcherName,
  },
  {
    file: `${mounts}/launcher-name.ts`,
    removes: 'the check that the launcher is a mount of a file',
    from: '!place.mountRoot || !place.isFile',
    to: '(false as boolean)',
    tests: launcherName,
  },
  {
    file: `${oci}/destinations.ts`,
    removes: 'the refusal of destinations in /proc and /sys',
    from: 'if (through.size > 0) return false;',
    to: '',
    tests: kernelFolders,
  },
  {
    file: `${oci}/destinations.ts`,
    removes: 'the refusal of a volume at /dev',
    from: "path === '/dev' || runtimesNames.has",
    to: 'runtimesNames.has',
    tests: [`${oci}/destinations.test.ts`],
  },
  {
    file: `${oci}/destinations.ts`,
    removes: 'the refusal of folders below /dev',
    from: 'return !(await isFolder(mount, paths));',
    to: 'return true;',
    tests: kernelFolders,
  },
  {
    file: `${oci}/destinations.ts`,
    removes: 'the names that the runtime itself uses',
    from: 'if (reserved !== undefined) throw',
    to: 'if (false as boolean) throw',
    tests: kernelFolders,
  },
  {
    file: `${oci}/destinations.ts`,
    removes: 'the check of where a device is made',
    from: 'through.size > 0 || !isHarmlessDevice(path, device)',
    to: '(false as boolean)',
    tests: kernelFolders,
  },
  {
    file: `${oci}/destinations.ts`,
    removes: 'the refusal of a working directory in /proc before create',
    from: "if (through.has('/proc')) throw",
    to: 'if (false as boolean) throw',
    tests: kernelFolders,
  },
  {
    file: `${mounts}/created-container.ts`,
    removes: 'the check of masked files after create',
    from: 'if (found !== undefined) throw',
    to: 'if (false as boolean) throw',
    tests: [`${mounts}/created-container.test.ts`],
  },
  {
    file: `${mounts}/created-container.ts`,
    removes: 'the check of mounts through volumes after create',
    from: 'if (!byTarget.has(destination))',
    to: 'if (false as boolean)',
    tests: [`${mounts}/created-container.test.ts`],
  },
  {
    file: `${mounts}/mountinfo.ts`,
    removes: 'the check of mounts that cover a masked path from a folder above',
    from: 'if (mounts[0]?.id !== below.parent) return undefined;',
    to: '',
    tests: [`${mounts}/created-container.test.ts`, `${oci}/mapped-mounts.test.ts`],
  },
  {
    file: `${mounts}/mountinfo.ts`,
    removes: 'the check of other mounts at a masked path',
    from: 'return others.length === 0 ? shown : undefined;',
    to: 'return shown;',
    tests: [`${mounts}/created-container.test.ts`, `${oci}/mapped-mounts.test.ts`],
  },
  {
    file: `${mounts}/local-mounts.ts`,
    removes: 'the check that a table of mounts covers the whole namespace',
    from: "root.split(' ')[3] === '/' && root.includes(' - overlay ') && root.includes(`/${container}/upper,`)",
    to: 'true',
    tests: [`${mounts}/local-mounts.test.ts`],
  },
  // RESOLVE_NO_MAGICLINKS of folder-location.ts is not a mutant: current kernels always refuse magic links
  // under RESOLVE_IN_ROOT (openat2(2)).
  {
    file: `${mounts}/folder-location.ts`,
    removes: 'the check that a working directory is not in /proc before a command',
    from: "kernelFileSystemOf(fd) === 'proc' ? 'proc' : 'elsewhere'",
    to: "'elsewhere'",
    tests: [`${mounts}/working-dir.test.ts`],
  },
  {
    file: `${oci}/container-path.ts`,
    removes: 'the bound on names of a container’s paths',
    from: 'if (names > mostNames) throw',
    to: 'if (false as boolean) throw',
    tests: [`${oci}/container-path.test.ts`],
  },
  {
    file: `${oci}/container-path.ts`,
    removes: 'the bound on links of a path',
    from: 'if (links > mostLinks) throw',
    to: 'if (links > 1e6) throw',
    tests: [`${oci}/container-path.test.ts`],
  },
];
