import { asHttpError, httpError } from './failure.ts';

/** The head of an answer, and its body for whoever reads it: to its end, by `discard` or by `destroy`. */
export interface HttpAnswer {
  readonly status: number;
  /** Where it came from, after redirects; without the fragment. */
  readonly url: URL;
  /** The first of a repeated header. @param name in lower case */
  header(name: string): string | undefined;
  /** Content-Length, where it is a number. */
  readonly length: number | undefined;
  /** The body as it comes, as it was sent: nothing is decompressed. @throws HTTP_TOO_LARGE · HTTP_TOO_SLOW · HTTP_UNREACHABLE · HTTP_BAD_ANSWER */
  chunks(mostBytes: number): AsyncIterable<Uint8Array>;
  /** The whole body. A longer one is not read: its connection is ended. @throws as `chunks` */
  bytes(mostBytes: number): Promise<Buffer>;
  /** Reads a small rest, so that the connection can be used again; ends it where there is more. */
  discard(): Promise<void>;
  /** Ends the connection. @param reason the error that a reader of the body gets */
  destroy(reason?: Error): void;
}

/** What undici gives of an answer. */
interface Received {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: AsyncIterable<Uint8Array> & {
    destroy(error?: Error): unknown;
    dump(options: { readonly limit: number; readonly signal?: AbortSignal }): Promise<void>;
    on(event: 'error', listener: () => void): unknown;
  };
}

const discardedBytes = 64 * 1024;

/** @param signal of the request: its deadline and its caller's wish hold for the body as well */
export function answerOf({ statusCode, headers, body }: Received, url: URL, signal: AbortSignal): HttpAnswer {
  // A body that is given up emits an error to nobody, which would end the process; whoever reads the body gets it all the same.
  body.on('error', () => undefined);
  const header = (name: string): string | undefined => {
    const value = headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  const announced = header('content-length');
  const length = announced !== undefined && /^\d{1,15}$/u.test(announced) ? Number(announced) : undefined;
  const tooLarge = (what: string, mostBytes: number): Error =>
    httpError('HTTP_TOO_LARGE', url, `${url.host} answers ${what} bytes; at most ${mostBytes} are read`, { details: { limit: mostBytes } });

  // Not a generator: that costs a blob of 64 MiB 3 % of its time.
  function chunks(mostBytes: number): AsyncIterable<Uint8Array> {
    const fail = (error: unknown): never => {
      // A loop whose source throws does not end it.
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

  return {
    status: statusCode,
    url,
    header,
    length,
    chunks,
    async bytes(mostBytes) {
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of chunks(mostBytes)) {
        parts.push(chunk);
        size += chunk.length;
      }
      return Buffer.concat(parts, size);
    },
    discard: () => body.dump({ limit: discardedBytes }).catch(() => undefined),
    destroy: (reason) => void body.destroy(reason),
  };
}
