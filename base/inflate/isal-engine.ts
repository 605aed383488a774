import { Refused, headroom, onlyCopied } from './engine.ts';
import type { Engine, Step } from './engine.ts';
import { createGzipHeader } from './gzip-header.ts';
import { blockFinish, isalState, pointTo, rawWithCrc, readUpTo } from './isal-library.ts';
import type { Isal } from './isal-library.ts';

const trailerBytes = 8;
/**
 * The start of each member but the first is inflated in this thread, up to this number of bytes. Archives
 * with a member for each file would otherwise spend their time on switches between two threads.
 */
const shortBytes = 32 * 1024;
/** Space after the state: a release with a larger state must not write into other memory. */
const slackBytes = 16 * 1024;

/**
 * Inflates gzip, all members, with libisal. The library gets raw deflate data; headers and trailers are read
 * here, by the rules of Node's gunzip: what follows a member is another one, except from a zero byte on,
 * which is ignored with all that follows. Source: RFC 1952.
 */
export function createIsalEngine(isal: Isal): Engine {
  const state = Buffer.alloc(isalState.bytes + slackBytes);
  const trailer = Buffer.alloc(trailerBytes);
  let phase: 'header' | 'data' | 'trailer' | 'between' = 'header';
  let header = createGzipHeader();
  let trailerFilled = 0;
  let size = 0;
  /** True while a member that follows another one is inflated in this thread. */
  let isShort = false;
  let isInline = false;
  let members = 0;

  function beginData(): void {
    isal.init(state);
    state.writeUInt32LE(rawWithCrc, isalState.crcFlag);
    [size, trailerFilled, isShort] = [0, 0, members > 0];
    members += 1;
    phase = 'data';
  }

  /** Inflates data of a member; `ended`: all of it. */
  async function data(input: Buffer, from: number, to: number, output: Buffer, at: number): Promise<Step> {
    const end = isShort ? Math.min(output.length, at + shortBytes) : output.length;
    pointTo(state, input, from, to, output, at, end);
    const returned =
      isShort || isInline
        ? isal.inflate(state, [input, output])
        : await isal.inflateApart(state, [input, output]);
    isShort = false;
    const produced = end - at - state.readUInt32LE(isalState.availOut);
    let next = readUpTo(state, input);
    if (returned !== 0 || produced < 0 || next < from - headroom || next > to) throw new Refused();
    isInline = onlyCopied(next - from, produced);
    size = (size + produced) >>> 0;
    const ended = state.readUInt32LE(isalState.blockState) === blockFinish;
    if (ended) {
      // The library reads ahead, and some releases do not give back what they have not used.
      next -= Math.max(0, state.readInt32LE(isalState.readInLength) >> 3);
      if (next < from - headroom) throw new Refused();
      phase = 'trailer';
    }
    // With damaged data, the library may neither read input nor write output.
    if (!ended && produced === 0 && next <= from && from < to) throw new Refused();
    return { produced, next, ended };
  }

  /** CRC-32 and length modulo 2^32 of the member. Source: RFC 1952, section 2.3.1. */
  function readTrailer(input: Buffer, from: number, to: number): number {
    const next = Math.min(to, from + trailerBytes - trailerFilled);
    trailerFilled += input.copy(trailer, trailerFilled, from, next);
    if (trailerFilled === trailerBytes) {
      if (trailer.readUInt32LE(0) !== state.readUInt32LE(isalState.crc) || trailer.readUInt32LE(4) !== size)
        throw new Refused();
      phase = 'between';
    }
    return next;
  }

  async function step(input: Buffer, from: number, to: number, output: Buffer, at: number): Promise<Step> {
    let [next, produced] = [from, 0];
    while (next < to) {
      if (phase === 'between') {
        if (input[next] === 0) return { produced, next, ended: true };
        header = createGzipHeader();
        phase = 'header';
      }
      if (phase === 'header') {
        const behind = header.read(input, next, to);
        if (behind === undefined) return { produced, next: to, ended: false };
        next = behind;
        beginData();
      } else if (phase === 'data') {
        if (at + produced === output.length) break;
        const done = await data(input, next, to, output, at + produced);
        [next, produced] = [done.next, produced + done.produced];
      } else {
        next = readTrailer(input, next, to);
      }
    }
    return { produced, next, ended: false };
  }

  return {
    get isInline() {
      return isInline;
    },
    step,
    async finish(input, from, output, at) {
      let [next, produced] = [from, 0];
      if (phase === 'data') {
        const done = await data(input, from, from, output, at);
        [next, produced] = [done.next, done.produced];
        if (!done.ended && at + produced === output.length) return { produced, next: from, ended: false };
        if (done.ended) readTrailer(input, next, from);
      } else if (phase === 'trailer') {
        readTrailer(input, next, from);
      }
      if (phase !== 'between') throw new Refused();
      return { produced, next: from, ended: true };
    },
    close() {
      // The engine has only memory.
    },
  };
}
