import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { parseCutJson, parseJson } from '../json/index.ts';
import { isPortcullisError } from '../errors/index.ts';
import { isHttpError } from '../http/index.ts';
import type { HttpAnswer } from '../http/index.ts';
import { createListSplitter } from './list-stream.ts';
import { readMessage } from './protobuf-fields.ts';
import type { MessageFields } from './protobuf-fields.ts';
import { createProtobufListSplitter, protobufType } from './protobuf-list.ts';

/** Reads the bodies of the API server's answers: one object, the items of a list, or a stream of events. */

/** etcd stores objects of at most 1.5 MiB, and a page has 500 of them. Few objects come near the limit. */
const answerBytes = 256 * 1024 * 1024;
const eventBytes = 16 * 1024 * 1024;
const itemBytes = eventBytes;

/** When a stream is considered dead, in milliseconds. */
export interface WatchLimits {
  readonly silence: number;
  readonly whole: number;
}

/** Calls `onEvent` for each event of a stream. @throws when the stream breaks, is silent or does not end */
export async function readEvents(
  answer: HttpAnswer,
  limits: WatchLimits,
  onEvent: (event: unknown) => void,
): Promise<void> {
  let given: Error | undefined;
  const give = (why: string): void => {
    given = new Error(why);
    answer.destroy(given);
  };
  const whole = setTimeout(give, limits.whole, 'the stream did not end within its time limit');
  const silent = setTimeout(give, limits.silence, `no data arrived for ${limits.silence / 1000} s`);
  try {
    for await (const line of linesOf(answer.chunks(Infinity))) {
      silent.refresh();
      onEvent(parseCutJson(line));
    }
  } catch (thrown) {
    if (isPortcullisError(thrown) && !isHttpError(thrown)) throw thrown;
    throw given ?? thrown;
  } finally {
    clearTimeout(whole);
    clearTimeout(silent);
    answer.destroy();
  }
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      rest.push(chunk.subarray(from, end));
      const line = Buffer.concat(rest).toString('utf8');
      rest = [];
      length = 0;
      from = end + 1;
      if (line.trim() !== '') yield line;
    }
    length += chunk.length - from;
    if (length > eventBytes) throw new Error(`an event is larger than ${eventBytes} bytes`);
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (length > 0) throw new Error('the stream ended in the middle of an event');
}

/** Reads an answer of one object. @throws Error when the answer is larger than 256 MiB or is not JSON */
export const readWhole = async (answer: HttpAnswer): Promise<unknown> =>
  parseJson((await bodyOf(answer, answerBytes)).toString('utf8'));

/**
 * Calls `onItem` for each item of a list. @returns the list without its items
 * @param fields of an item that comes as protobuf
 */
export async function readItems(
  answer: HttpAnswer,
  onItem: (item: unknown) => void,
  fields?: MessageFields,
): Promise<unknown> {
  if (fields !== undefined && isProtobuf(answer)) return readProtobufItems(answer, onItem, fields);
  const splitter = createListSplitter(itemBytes);
  for await (const chunk of chunksOf(answer, Infinity))
    for (const item of splitter.take(chunk)) onItem(parseCutJson(item));
  return parseJson(splitter.end());
}

/** Whether the body is in the API's encoding of Protocol Buffers. */
export const isProtobuf = (answer: HttpAnswer): boolean =>
  answer.header('content-type')?.startsWith(protobufType) === true;

async function readProtobufItems(
  answer: HttpAnswer,
  onItem: (item: unknown) => void,
  fields: MessageFields,
): Promise<unknown> {
  const splitter = createProtobufListSplitter(itemBytes);
  for await (const chunk of chunksOf(answer, Infinity))
    for (const item of splitter.take(chunk)) onItem(readMessage(item, fields));
  return splitter.end();
}

/** @param mostBytes of the body as it is sent */
function chunksOf(answer: HttpAnswer, mostBytes: number): AsyncIterable<Buffer> {
  if (answer.header('content-encoding') !== 'gzip') return answer.chunks(mostBytes) as AsyncIterable<Buffer>;
  const sent = Readable.from(answer.chunks(mostBytes));
  const body = createGunzip();
  sent.once('error', (error) => body.destroy(error)).pipe(body);
  return body as AsyncIterable<Buffer>;
}

/** Reads a body that may be compressed. */
export async function bodyOf(answer: HttpAnswer, mostBytes: number): Promise<Buffer> {
  if (answer.header('content-encoding') !== 'gzip') return answer.bytes(mostBytes);
  const body = chunksOf(answer, mostBytes);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > mostBytes) throw new Error(`the answer is larger than ${mostBytes} bytes`);
  }
  return Buffer.concat(chunks);
}
