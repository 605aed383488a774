/**
 * Calls whose effect a program also gets by requests of io_uring (linux/io_uring.h, enum io_uring_op). The
 * kernel runs no filter for such a request.
 */
const REQUESTS: ReadonlySet<string> = new Set(
  [
    'accept accept4 bind close connect creat epoll_ctl epoll_wait fadvise64 fallocate fdatasync fgetxattr fsetxattr',
    'fsync ftruncate futex getsockopt getxattr link linkat listen madvise mkdir mkdirat open openat openat2 pipe',
    'pipe2 poll pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv recvfrom recvmsg rename renameat',
    'renameat2 rmdir sendmsg sendto setsockopt setxattr shutdown socket splice statx symlink symlinkat',
    'sync_file_range tee unlink unlinkat waitid write writev',
  ].flatMap((line) => line.split(' ')),
);

/** Whether a program that may use io_uring gets the effect of a call without making the call. */
export function isRequestOfIoUring(call: string): boolean {
  return REQUESTS.has(call);
}
