import { createRequire } from 'node:module';
import type Koffi from 'koffi';
import { attempt, PortcullisError, reasonOf } from '../errors/index.ts';
import { isMainThread } from 'node:worker_threads';
import { unterminated } from './termination.ts';

export type NativeLibrary = ReturnType<typeof Koffi.load>;
export type NativeFunction = ReturnType<NativeLibrary['func']>;

let loaded: typeof Koffi | undefined;

/**
 * Returns the calls of C libraries, which are loaded at the first call: commands that never call the kernel
 * run where the native package is not installed. No other file of the product loads it. The package of the
 * platform is loaded without the package `koffi`, which only selects it.
 * A Worker tries to load it at its start, so that its first call needs no file.
 * @throws NATIVE_CALLS_MISSING when the package for this platform is not installed or cannot be loaded
 */
export function koffi(): typeof Koffi {
  // A Worker that is terminated while it loads a native module aborts the whole process.
  return (loaded ??= unterminated(load));
}

/** Node's codes for a package that is not installed, or is for another platform. */
const absent: ReadonlySet<unknown> = new Set(['MODULE_NOT_FOUND', 'ERR_DLOPEN_FAILED']);

function load(): typeof Koffi {
  const name = `@koromix/koffi-${process.platform}-${process.arch}`;
  try {
    return createRequire(import.meta.url)(name) as typeof Koffi;
  } catch (cause) {
    // Such as a lack of descriptors: the next call tries again.
    if (!(cause instanceof Error && 'code' in cause && absent.has(cause.code))) throw cause;
    throw new PortcullisError({
      code: 'NATIVE_CALLS_MISSING',
      kind: 'unavailable',
      attempted: 'load',
      on: name,
      why: `this operation needs native code, which is not installed here: ${reasonOf(cause).split('\n', 1)[0] ?? ''}`,
      fix: 'run it on Linux on x86-64 or arm64, and install the package with its optional dependencies',
      cause,
    });
  }
}

// If this fails, the first call reports why.
if (!isMainThread) attempt(koffi);
