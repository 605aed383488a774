import { parentPort } from 'node:worker_threads';
import { glibc } from './ffi/libc.ts';

/** Binds functions and passes lists to native code, repeatedly. */
parentPort?.postMessage('ready');
const programs = Buffer.alloc(4);
for (;;) {
  glibc('getpid', 'int', [])();
  glibc('posix_spawn', 'int', ['void *', 'str', 'void *', 'void *', 'str *', 'str *'])(
    programs,
    '/',
    null,
    null,
    ['/', null],
    [null],
  );
}
