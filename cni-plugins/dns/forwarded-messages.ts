import type { Query } from './query.ts';
import { encodeReply } from './reply.ts';
import { rcode, headerBytes, datagramBytes, flag, opcodeMask } from './message-format.ts';

/** RFC 1035, section 4.1.1. */
export const rcodeOf = (answer: Buffer): number => (answer[3] ?? 0) & 0xf;

/** Whether a server's answer is a failure, so that the next server may know the answer. */
export function isFailure(answer: Buffer): boolean {
  const code = rcodeOf(answer);
  return code !== rcode.NOERROR && code !== rcode.NXDOMAIN;
}

/**
 * Whether `answer` answers the question of `query`, apart from its id. The comparison ignores case, because a
 * server may change it. A failure may come without its question.
 */
export function answersTo(
  answer: Buffer,
  query: Buffer,
  { questionEnd }: Pick<Query, 'questionEnd'>,
): boolean {
  if (
    answer.length < headerBytes ||
    (answer.readUInt16BE(2) & (flag.response | opcodeMask)) !== flag.response
  )
    return false;
  if (answer.readUInt16BE(4) === 0) return isFailure(answer);
  if (answer.readUInt16BE(4) !== 1 || answer.length < questionEnd) return false;
  return inLowerCase(answer, questionEnd).equals(inLowerCase(query, questionEnd));
}

/** The type and the class of a question, after its name. */
const typeAndClassBytes = 4;

/**
 * Returns the question of a message with the letters of its name in lower case. Bytes of the type that are
 * letters as text (65 is HTTPS) stay as they are.
 */
export function inLowerCase(message: Buffer, questionEnd: number): Buffer {
  const question = Buffer.from(message.subarray(headerBytes, questionEnd));
  for (let at = 0; at < question.length - typeAndClassBytes; at += 1) question[at] = lower(question[at]);
  return question;
}

const lower = (byte = 0): number => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);

export const isTruncated = (answer: Buffer): boolean => (answer.readUInt16BE(2) & flag.truncated) !== 0;

/**
 * Returns another server's answer as the asker's own: with the asker's id and the case of its question, and
 * cut to the question if it does not fit. A failure without its question gets it, because some resolvers (Go,
 * c-ares) wait for an answer that has it.
 * @param answer one that {@link answersTo} the query
 */
export function relayed(answer: Buffer, query: Buffer, asked: Query, room: number): Buffer {
  const hasQuestion = answer.readUInt16BE(4) > 0;
  const own = hasQuestion ? Buffer.from(answer) : withQuestion(answer, query, asked);
  own.writeUInt16BE(asked.id, 0);
  query.copy(own, headerBytes, headerBytes, asked.questionEnd);
  own.writeUInt16BE(own.readUInt16BE(2) | flag.recursionAvailable, 2);
  if (own.length <= room) return own;
  const cut = encodeReply(
    query,
    asked,
    { rcode: own.readUInt16BE(2) & 0xf, answers: [], ttl: 0, authoritative: false },
    room,
  );
  cut.writeUInt16BE(cut.readUInt16BE(2) | flag.truncated, 2);
  return cut;
}

/** Returns the header of an answer with the question of the query, and nothing else. */
function withQuestion(answer: Buffer, query: Buffer, { questionEnd }: Query): Buffer {
  const counts = Buffer.alloc(headerBytes - 4);
  counts.writeUInt16BE(1, 0);
  return Buffer.concat([answer.subarray(0, 4), counts, query.subarray(headerBytes, questionEnd)]);
}

/** Returns the query for another server: with a new id, and a size that is passed on unfragmented. */
export function forwarded(query: Buffer, { edns }: Pick<Query, 'edns'>, id: number): Buffer {
  const own = Buffer.from(query);
  own.writeUInt16BE(id, 0);
  if (edns !== undefined) own.writeUInt16BE(Math.min(edns.datagramBytes, datagramBytes), edns.at + 3);
  return own;
}
