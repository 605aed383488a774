import { createReadStream } from 'node:fs';
import { join, resolve } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import { createHttpClient } from '../../base/http/index.ts';

/** Where the files of a node image come from. */
export interface UpdateSource {
  /** Shown in messages. */
  readonly name: string;
  /** Reads a small file completely. @throws if it has more bytes, or cannot be read */
  small(file: string, mostBytes: number): Promise<Buffer>;
  /** Yields a file piece by piece. @throws if it has more bytes, or cannot be read */
  pieces(file: string, mostBytes: number): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

const smallMs = 60_000;
/** For the largest part, over a slow link. */
const largeMs = 3_600_000;

/**
 * Opens a folder, or a folder of a web server, which an `http:` or `https:` URL names. The bytes need no
 * protection on their way: the signature and the digests protect them.
 */
export function openUpdateSource(source: string, signal: AbortSignal): UpdateSource {
  return /^https?:\/\//u.test(source) ? webSource(source, signal) : folderSource(resolve(source), signal);
}

function folderSource(folder: string, signal: AbortSignal): UpdateSource {
  return {
    name: folder,
    small: (file, mostBytes) =>
      readPlainFile(join(folder, file), mostBytes).catch((thrown: unknown) => {
        throw unread(join(folder, file), fileReason(thrown, join(folder, file)));
      }),
    async *pieces(file, mostBytes) {
      const path = join(folder, file);
      try {
        // One byte more shows that the file is longer than its manifest says.
        for await (const piece of createReadStream(path, { signal, end: mostBytes }))
          yield piece as Uint8Array;
      } catch (thrown) {
        throw unread(path, fileReason(thrown, path));
      }
    },
    close: () => Promise.resolve(),
  };
}

function webSource(source: string, signal: AbortSignal): UpdateSource {
  const client = createHttpClient({ connections: 1 });
  const base = new URL(source.endsWith('/') ? source : `${source}/`);
  const ask = async (file: string, totalMs: number) => {
    const url = new URL(file, base);
    const answer = await client.send({ url, totalMs, signal, redirects: 5 });
    if (answer.status === 200) return answer;
    await answer.discard();
    throw unread(url.href, `the server answers ${answer.status}`);
  };
  return {
    name: base.href,
    small: async (file, mostBytes) => (await ask(file, smallMs)).bytes(mostBytes),
    async *pieces(file, mostBytes) {
      yield* (await ask(file, largeMs)).chunks(mostBytes);
    },
    close: () => client.close(),
  };
}

function unread(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NODE_IMAGE_UNREADABLE',
    kind: 'unavailable',
    attempted: 'read a node image',
    on,
    why,
    fix: 'check the source of the update',
  });
}
