import { createRequire } from 'node:module';
import { attempt, PortcullisError, reasonOf } from '../errors/index.ts';
import { isMainThread } from 'node:worker_threads';
import { unterminated } from './termination.ts';

/** A function of a C library, with the types that it was bound with. */
export interface NativeFunction {
  (...values: readonly unknown[]): unknown;
  /** Calls it in a thread of libuv's pool. The last value is the callback. */
  async(...values: readonly unknown[]): void;
}

export interface NativeLibrary {
  func(name: string, result: string, parameters: string[]): NativeFunction;
}

/** The type of a function that is called by its address. */
interface NativeType {
  readonly name: string;
}

interface Poll {
  close(): void;
  unref(): void;
}

/** The part of koffi that the product uses. The public types need no package that is not installed. */
export interface NativeCalls {
  load(path: string): NativeLibrary;
  /** Returns errno of this thread, or sets it. */
  errno(value?: number): number;
  address(bytes: Uint8Array): number | bigint;
  view(pointer: bigint, bytes: number): ArrayBuffer;
  proto(result: string, parameters: string[]): NativeType;
  call(pointer: bigint, type: NativeType, ...values: readonly unknown[]): unknown;
  readonly node: {
    poll(fd: number, events: { readonly readable: boolean }, callback: () => void): Poll;
  };
}

let loaded: NativeCalls | undefined;

/**
 * Returns the calls of C libraries, which are loaded at the first call: commands that never call the kernel
 * run where the native package is not installed. No other file of the product loads it. The package of the
 * platform is loaded without the package `koffi`, which only selects it.
 * A Worker tries to load it at its start, so that its first call needs no file.
 * @throws NATIVE_CALLS_MISSING when the package for this platform is not installed or cannot be loaded
 */
export function koffi(): NativeCalls {
  // A Worker that is terminated while it loads a native module aborts the whole process.
  return (loaded ??= unterminated(load));
}

/** Node's codes for a package that is not installed, or is for another platform. */
const absent: ReadonlySet<unknown> = new Set(['MODULE_NOT_FOUND', 'ERR_DLOPEN_FAILED']);

function load(): NativeCalls {
  const name = `@koromix/koffi-${process.platform}-${process.arch}`;
  try {
    return createRequire(import.meta.url)(name) as NativeCalls;
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
