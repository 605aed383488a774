import { setImmediate } from 'node:timers/promises';
import { createInflate } from 'node:zlib';
import { headerDictionary } from './dictionary.ts';

/** No client needs more than this for a stream. */
const largestBlock = 64 * 1024;
const mostHeaders = 100;

/**
 * Reads the name/value blocks of one connection. They share one compression state, so every block must be
 * read, in order.
 */
export interface HeaderReader {
  /**
   * Returns names in lower case, each with the first of its values (separated by NUL). @throws when the block
   * is damaged or too large; the connection is then lost
   */
  read(block: Uint8Array): Promise<ReadonlyMap<string, string>>;
  close(): void;
}

/** SPDY protocol draft 3, sections 2.6.10 and 2.6.10.1. */
export function createHeaderReader(): HeaderReader {
  const inflate = createInflate({ dictionary: headerDictionary, chunkSize: 4096 });
  let parts: Buffer[] = [];
  let size = 0;
  let fail: (reason: Error) => void = () => undefined;
  inflate.on('data', (part: Buffer) => {
    parts.push(part);
    size += part.length;
    if (size > largestBlock) inflate.destroy();
  });
  inflate.on('error', (reason) => fail(reason));
  return {
    read: async (block) => {
      [parts, size] = [[], 0];
      await new Promise<void>((resolve, reject) => {
        fail = reject;
        inflate.write(block, (reason) => (reason ? reject(reason) : resolve()));
      });
      // The last inflated data may still be on its way to the listener.
      await setImmediate();
      if (size > largestBlock) throw new Error(`a header block has more than ${largestBlock} bytes`);
      return parseHeaders(Buffer.concat(parts));
    },
    close: () => inflate.destroy(),
  };
}

/** Parses an inflated block: the number of headers, then length and bytes of each name and value. */
export function parseHeaders(block: Buffer): ReadonlyMap<string, string> {
  let at = 0;
  const number = (): number => {
    if (at + 4 > block.length) throw new Error('a header block ends too early');
    at += 4;
    return block.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = number();
    if (at + length > block.length) throw new Error('a header block ends too early');
    at += length;
    return block.toString('latin1', at - length, at);
  };
  const count = number();
  if (count > mostHeaders) throw new Error(`a header block has ${count} headers`);
  const headers = new Map<string, string>();
  for (let index = 0; index < count; index += 1) {
    const name = text().toLowerCase();
    const [value = ''] = text().split('\0');
    if (!headers.has(name)) headers.set(name, value);
  }
  return headers;
}

/**
 * An empty stored block: zlib's Z_SYNC_FLUSH writes it, and Go's reader waits for it before it returns any
 * data.
 */
const flush = Buffer.from([0, 0, 0, 0xff, 0xff]);

/**
 * Writes name/value blocks as stored deflate blocks. They are valid for every reader, and save the 256 KiB
 * per connection of a compressor. The first block begins the zlib stream (RFC 1950, without dictionary).
 */
export function createHeaderWriter(): (headers: ReadonlyMap<string, string>) => Buffer {
  let begun = false;
  return (headers) => {
    const plain = formatHeaders(headers);
    const prefix = Buffer.alloc(5); // RFC 1951, section 3.2.4: not the last, stored; length; its complement
    prefix.writeUInt16LE(plain.length, 1);
    prefix.writeUInt16LE(plain.length ^ 0xffff, 3);
    const start = begun ? [] : [Buffer.from([0x78, 0x01])];
    begun = true;
    return Buffer.concat([...start, prefix, plain, flush]);
  };
}

/** Formats a block for {@link parseHeaders}. */
export function formatHeaders(headers: ReadonlyMap<string, string>): Buffer {
  const number = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const texts = [...headers]
    .flat()
    .flatMap((text) => [number(Buffer.byteLength(text, 'latin1')), Buffer.from(text, 'latin1')]);
  return Buffer.concat([number(headers.size), ...texts]);
}
