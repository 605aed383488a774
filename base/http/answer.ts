import { collectBytes } from '../lists/index.ts';
import { asHttpError, httpError } from './failure.ts';
import type { InPlace } from './in-place.ts';

/**
 * The head of an answer, and its body. The caller consumes the body: to its end, by `discard` or by
 * `destroy`.
 */
export interface HttpAnswer {
  readonly status: number;
  /** The URL of the answer, after redirects, without the fragment. */
  readonly url: URL;
  /** Returns the first value of a repeated header. @param name in lower case */
  header(name: string): string | undefined;
  /** Returns all values of a header that may be repeated. @param name in lower case */
  headerValues(name: string): readonly string[];
  /** Content-Length, if it is a number. */
  readonly length: number | undefined;
  /**
   * Yields the body as it arrives, exactly as it was sent: nothing is decompressed. @throws HTTP_TOO_LARGE ·
   * HTTP_TOO_SLOW · HTTP_UNREACHABLE · HTTP_BAD_ANSWER
   */
  chunks(mostBytes: number): AsyncIterable<Uint8Array>;
  /**
   * Passes the body to `take` as it arrives, as `chunks` yields it. The bytes are valid only until `take`
   * returns. This is the quickest way to read a large body: the next piece may be received into the same
   * memory.
   * @throws as `chunks`, and what `take` throws
   */
  each(mostBytes: number, take: (bytes: Uint8Array) => void): Promise<void>;
  /** Reads the whole body. A longer body is not read, and its connection is closed. @throws as `chunks` */
  bytes(mostBytes: number): Promise<Buffer>;
  /**
   * Reads a small remaining body, so that the connection can be used again. Closes the connection if more
   * remains.
   */
  discard(): Promise<void>;
  /** Closes the connection. @param reason the error that a reader of the body gets */
  destroy(reason?: Error): void;
}

/** The fields that undici returns for an answer. */
interface Received {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: AsyncIterable<Uint8Array> & {
    destroy(error?: Error): unknown;
    dump(options: { readonly limit: number; readonly signal?: AbortSignal }): Promise<void>;
    readonly readableLength: number;
    readonly closed: boolean;
    readonly errored: Error | null;
    on(event: 'error' | 'end' | 'close', listener: () => void): unknown;
    on(event: 'error', listener: (error: Error) => void): unknown;
    on(event: 'data', listener: (bytes: Uint8Array) => void): unknown;
  };
}

const discardedBytes = 64 * 1024;

/**
 * Returns the answer to a request, with a body that the caller reads or discards. Its deadline and the
 * cancellation of the caller, which `signal` has, apply to the body as well.
 */
export function answerOf(
  { statusCode, headers, body }: Received,
  url: URL,
  signal: AbortSignal,
  inPlace: InPlace,
): HttpAnswer {
  // An abandoned body emits an error that has no listener, which would end the process. A reader of the body
  // still gets the error.
  body.on('error', () => undefined);
  const headerValues = (name: string): readonly string[] => {
    const value = headers[name] ?? [];
    return Array.isArray(value) ? value : [value];
  };
  const header = (name: string): string | undefined => headerValues(name)[0];
  const announced = header('content-length');
  const length = announced !== undefined && /^\d{1,15}$/u.test(announced) ? Number(announced) : undefined;
  const tooLarge = (what: string, mostBytes: number): Error =>
    httpError('HTTP_TOO_LARGE', url, `${url.host} answers ${what} bytes, and at most ${mostBytes} are read`, {
      details: { limit: mostBytes },
    });

  // This is not a generator, because a generator adds 3 % to the time of a blob of 64 MiB.
  function chunks(mostBytes: number): AsyncIterable<Uint8Array> {
    const fail = (error: unknown): never => {
      // A loop whose source throws does not close the body.
      body.destroy();
      throw asHttpError(error, url, signal);
    };
    let size = 0;
    const counted = (result: IteratorResult<Uint8Array>): IteratorResult<Uint8Array> => {
      if (result.done !== true) size += result.value.length;
      return size > mostBytes ? fail(tooLarge(`more than ${mostBytes}`, mostBytes)) : result;
    };
    return {
      [Symbol.asyncIterator]() {
        if (length !== undefined && length > mostBytes) fail(tooLarge(String(length), mostBytes));
        const source = body[Symbol.asyncIterator]();
        return {
          next: () => source.next().then(counted, fail),
          async return() {
            await source.return?.();
            return { done: true, value: undefined };
          },
        };
      },
    };
  }

  function each(mostBytes: number, take: (bytes: Uint8Array) => void): Promise<void> {
    let size = 0;
    let failure: { readonly error: unknown } | undefined;
    const fail = (error: unknown): void => {
      failure ??= { error };
      body.destroy();
    };
    const counted = (bytes: Uint8Array): void => {
      if (failure !== undefined) return;
      size += bytes.length;
      if (size > mostBytes) return fail(tooLarge(`more than ${mostBytes}`, mostBytes));
      try {
        take(bytes);
      } catch (error) {
        fail(error);
      }
    };
    return new Promise<void>((resolve, reject) => {
      const rejectWith = (error: unknown): void => {
        reject(failure === undefined ? asHttpError(error, url, signal) : (failure.error as Error));
      };
      body.on('end', resolve);
      body.on('error', rejectWith);
      const rejectClosed = (): void => {
        rejectWith(body.errored ?? new Error('the body was closed before its end'));
      };
      body.on('close', rejectClosed);
      // Its events are over.
      if (body.closed) return rejectClosed();
      if (length !== undefined && length > mostBytes) return fail(tooLarge(String(length), mostBytes));
      // Bytes that arrived with the head wait in the body, and come first.
      inPlace.take = (bytes) => {
        if (body.readableLength > 0) return false;
        counted(bytes);
        return true;
      };
      body.on('data', counted);
    });
  }

  return {
    status: statusCode,
    url,
    header,
    headerValues,
    length,
    chunks,
    each,
    async bytes(mostBytes) {
      const body = collectBytes();
      for await (const chunk of chunks(mostBytes)) body.add(chunk);
      return body.join();
    },
    discard: () => body.dump({ limit: discardedBytes }).catch(() => undefined),
    destroy: (reason) => void body.destroy(reason),
  };
}
