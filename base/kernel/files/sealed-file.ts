import { checked, cString, isErrno } from '../ffi/errno.ts';
import { prepareFd, writeFd } from './files.ts';
import { glibc } from '../ffi/libc.ts';

const c = {
  memfdCreate: glibc('memfd_create', 'int', ['str', 'uint']),
  fcntl: glibc('fcntl', 'int', ['int', 'int', 'long']),
};

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Since Linux 6.3. Without this flag, vm.memfd_noexec may make the file non-executable. */
const MFD_EXEC = 0x10;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE. */
const everySeal = 1 | 2 | 4 | 8;

/**
 * Creates a file in memory that no process can change any more, not even root (memfd_create(2), file
 * sealing). It exists as long as a descriptor of it is open or a process executes it. Other processes can
 * execute it through `/proc/PID/fd/N` of this process.
 * @param name shown in /proc only
 * @returns the descriptor, close-on-exec
 * @throws KERNEL_<ERRNO>; EACCES if vm.memfd_noexec forbids it
 */
export function sealedFile(name: string, content: Uint8Array): number {
  return prepareFd(createExecutable(name), (fd) => {
    writeFd(fd, content);
    checked(c.fcntl(fd, F_ADD_SEALS, everySeal), 'fcntl F_ADD_SEALS', name);
  });
}

function createExecutable(name: string): number {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  try {
    return checked(c.memfdCreate(cString(name, 'memfd_create'), flags | MFD_EXEC), 'memfd_create', name);
  } catch (error) {
    if (!isErrno(error, 'EINVAL')) throw error;
    return checked(c.memfdCreate(cString(name, 'memfd_create'), flags), 'memfd_create', name);
  }
}
