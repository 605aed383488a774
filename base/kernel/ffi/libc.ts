import { koffi, unterminated } from '../../process/index.ts';
import type { NativeFunction, NativeLibrary } from '../../process/index.ts';

/**
 * C types that the calls of this folder use. `str` arguments must pass {@link cString} first; `void *` takes
 * a Buffer or null; `str *` is a list of strings that ends with null, like argv.
 */
type CType = 'int' | 'uint' | 'long' | 'ulong' | 'int64' | 'uint64' | 'size_t' | 'str' | 'str *' | 'void *';
type CValue = number | bigint | string | Uint8Array | readonly (string | null)[] | null;

let library: NativeLibrary | undefined;

/**
 * Binds one function of glibc at its first call. Each thread that loads this module binds its own, and no
 * named koffi type is ever defined, because all threads of a process share type names. Structures are plain
 * byte buffers instead. glibc's variadic functions (ioctl, prctl, open, syscall) are bound with fixed
 * arguments: on x86-64 and arm64 Linux, integers and pointers are passed the same way.
 */
export function glibc(name: string, result: CType, parameters: CType[]): (...values: CValue[]) => number {
  let bound: ((...values: CValue[]) => number) | undefined;
  // Native code reads a list element by element, which can fail. Reading a number, a text or a Buffer cannot
  // fail.
  const readsList = parameters.includes('str *');
  return (...values) => {
    const call = (bound ??= unterminated(
      () => bind(name, result, parameters) as (...values: CValue[]) => number,
    ));
    return readsList ? unterminated(() => call(...values)) : call(...values);
  };
}

/**
 * Does the same as {@link glibc}, but in a thread of libuv's pool. Its errno is not available. The caller
 * must keep the Buffers referenced until the call is over.
 */
export function glibcApart(
  name: string,
  result: CType,
  parameters: CType[],
): (...values: CValue[]) => Promise<number> {
  let bound: NativeFunction | undefined;
  return (...values) => {
    const call = (bound ??= unterminated(() => bind(name, result, parameters)));
    return new Promise((resolve, reject) => {
      call.async(...values, (failure: Error | null, returned: number) => {
        if (failure === null) resolve(returned);
        else reject(failure);
      });
    });
  };
}

function bind(name: string, result: CType, parameters: CType[]): NativeFunction {
  library ??= koffi().load('libc.so.6');
  return library.func(name, result, parameters);
}

/**
 * Returns errno of this thread. Read it directly after the call that failed: any other call may overwrite it.
 */
export function lastErrno(): number {
  return koffi().errno();
}

/** Buffers that running native code points to. */
let held: readonly Uint8Array[] = [];

/**
 * Passes the addresses of Buffers to `act`, for structures that point to them, and keeps the Buffers
 * referenced until it has returned. V8 frees a Buffer when no later code uses it, even while the function
 * that created it still runs. Native code would then read and write memory that belongs to other data.
 */
export function withAddresses<const T extends readonly Uint8Array[], R>(
  buffers: T,
  act: (addresses: { readonly [Index in keyof T]: bigint }) => R,
): R {
  const before = held;
  held = buffers;
  try {
    return act(
      buffers.map((buffer) => BigInt(koffi().address(buffer))) as unknown as {
        readonly [Index in keyof T]: bigint;
      },
    );
  } finally {
    held = before;
  }
}
