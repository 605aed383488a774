import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { Refused, onlyCopied } from './engine.ts';
import type { Engine, Step } from './engine.ts';

/**
 * The native object that Node's streams of `node:zlib` use internally. The streams allocate each chunk of
 * output; this takes a buffer, which halves the processor time of what comes after it. It is not a documented
 * interface: see {@link findNodeEngines}.
 */
interface Handle {
  onerror: (message: string, errno: number, code: string) => void;
  init(...options: unknown[]): void;
  /** Runs in a thread of libuv's pool, and then calls the callback given to `init`, or `onerror`. */
  write(
    flush: number,
    input: Buffer,
    from: number,
    length: number,
    output: Buffer,
    at: number,
    room: number,
  ): void;
  /** Runs in this thread. Calls `onerror`, and no other callback. */
  writeSync: Handle['write'];
  close(): void;
}

const handleMethods = ['init', 'write', 'writeSync', 'close'] as const;

/** Starts an engine of Node's own inflaters. */
export interface NodeEngines {
  readonly gzip: () => Engine;
  /** @param windowLog base-2 logarithm of the largest window that a frame may claim */
  readonly zstd: (windowLog: number) => Engine;
}

let engines: NodeEngines | undefined;

/** The release line that this interface is tried in. In others, `init` may abort the process. */
const triedLine = /^26\./u;

/** Returns the engines; undefined if this version of Node has no such interface. */
export function findNodeEngines(): NodeEngines | undefined {
  if (!triedLine.test(process.versions.node)) return undefined;
  return (engines ??= load());
}

function load(): NodeEngines | undefined {
  const gunzip = handleClassOf(createGunzip());
  const zstd = handleClassOf(createZstdDecompress());
  if (gunzip === undefined || zstd === undefined) return undefined;
  return {
    gzip: () =>
      createNodeEngine(
        new gunzip(constants.GUNZIP),
        constants.Z_NO_FLUSH,
        constants.Z_FINISH,
        (handle, state, callback) => {
          // Window bits of the header, and what only a deflater uses.
          handle.init(
            0,
            constants.Z_DEFAULT_LEVEL,
            constants.Z_DEFAULT_MEMLEVEL,
            constants.Z_DEFAULT_STRATEGY,
            state,
            callback,
            undefined,
            false,
          );
        },
      ),
    zstd: (windowLog) =>
      createNodeEngine(
        new zstd(),
        constants.ZSTD_e_continue,
        constants.ZSTD_e_end,
        (handle, state, callback) => {
          const parameters = new Uint32Array(constants.ZSTD_d_windowLogMax + 1).fill(0xffff_ffff);
          parameters[constants.ZSTD_d_windowLogMax] = windowLog;
          handle.init(parameters, undefined, state, callback, undefined, false);
        },
      ),
  };
}

type HandleClass = new (...options: unknown[]) => Handle;

function handleClassOf(stream: { destroy(): unknown }): HandleClass | undefined {
  const handle = (stream as { _handle?: unknown })._handle;
  stream.destroy();
  if (typeof handle !== 'object' || handle === null) return undefined;
  const methods = handle as Record<string, unknown>;
  if (!handleMethods.every((name) => typeof methods[name] === 'function')) return undefined;
  return typeof handle.constructor === 'function' ? (handle.constructor as HandleClass) : undefined;
}

/** Objects that running native code uses. V8 does not see that use, and would free them. */
const running = new Set<readonly unknown[]>();

function createNodeEngine(
  handle: Handle,
  noFlush: number,
  lastFlush: number,
  init: (handle: Handle, state: Uint32Array, callback: () => void) => void,
): Engine {
  /** Room left in the output, input left: written by native code. */
  const state = new Uint32Array(2);
  let pending = Promise.withResolvers<void>();
  let isInline = false;
  handle.onerror = () => {
    pending.reject(new Refused());
  };
  init(handle, state, () => {
    pending.resolve();
  });

  async function write(
    flush: number,
    input: Buffer,
    from: number,
    to: number,
    output: Buffer,
    at: number,
  ): Promise<Step> {
    pending = Promise.withResolvers();
    const call = [handle, state, input, output];
    running.add(call);
    try {
      if (isInline) {
        handle.writeSync(flush, input, from, to - from, output, at, output.length - at);
        pending.resolve();
      } else {
        handle.write(flush, input, from, to - from, output, at, output.length - at);
      }
      await pending.promise;
    } finally {
      running.delete(call);
    }
    const [room = 0, left = 0] = state;
    const [produced, next] = [output.length - at - room, to - left];
    isInline = onlyCopied(next - from, produced);
    // The rest of the input does not belong to the stream, if there was room and the inflater did not take
    // it.
    return { produced, next, ended: room > 0 && left > 0 };
  }

  return {
    get isInline() {
      return isInline;
    },
    step: (input, from, to, output, at) => write(noFlush, input, from, to, output, at),
    async finish(input, from, output, at) {
      const done = await write(lastFlush, input, from, from, output, at);
      return { ...done, ended: done.produced < output.length - at };
    },
    close() {
      handle.close();
    },
  };
}
