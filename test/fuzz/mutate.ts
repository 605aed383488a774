import type { Random } from './random.ts';

/** Larger inputs are cut: the limits of time and memory are stated for 1 MiB. */
export const largestInput = 1024 * 1024;
const usualLargest = 64 * 1024;

const numbers = [
  0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096, 32767,
  32768, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff,
];
const texts = [
  '',
  '0',
  '-1',
  '1e309',
  '9007199254740993',
  '..',
  '/',
  '//',
  '../',
  '\0',
  '\u00e9',
  '\u2028',
  '\ud800',
  '\ufeff',
  '%',
  '%00',
  '\r\n',
  '"',
  '\\',
  '__proto__',
  'constructor',
  '127.0.0.1',
  '::1',
  '::ffff:127.0.0.1',
  '*',
];

/**
 * Returns a changed copy of one of `corpus`: one to six changes of bytes, or of values if the input is JSON.
 * One input in 150 grows up to `largestInput` by repetition of a part of it: this finds costs that grow
 * faster than the length.
 */
export function mutate(corpus: readonly Buffer[], words: readonly string[], random: Random): Buffer {
  const original = random.pick(corpus);
  if (random.once(150)) return grow(original, random);
  if (original.length < usualLargest && random.once(2)) {
    const changed = mutateJson(original, words, random);
    if (changed !== undefined) return changed.subarray(0, usualLargest);
  }
  let bytes: Buffer = Buffer.from(original);
  for (let changes = 1 + random.below(random.once(3) ? 6 : 2); changes > 0; changes--)
    bytes = mutateBytes(bytes, corpus, words, random);
  return bytes.subarray(0, usualLargest);
}

function mutateBytes(
  bytes: Buffer,
  corpus: readonly Buffer[],
  words: readonly string[],
  random: Random,
): Buffer {
  const at = random.below(bytes.length + 1);
  const length = Math.min(bytes.length - at, 1 + random.below(random.once(4) ? bytes.length : 16));
  const replace = (middle: Uint8Array, over: number): Buffer =>
    Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(at + over)]);
  switch (random.below(11)) {
    case 0: {
      const copy = Buffer.from(bytes);
      if (at < copy.length) copy[at] = (copy[at] as number) ^ (1 << random.below(8));
      return copy;
    }
    case 1:
      return replace(Buffer.from([random.below(256)]), 1);
    case 2: {
      const number = Buffer.alloc(random.pick([1, 2, 4]));
      const value = random.pick(numbers) % 2 ** (8 * number.length);
      if (random.once(2)) number.writeUIntBE(value, 0, number.length);
      else number.writeUIntLE(value, 0, number.length);
      return replace(number, random.once(4) ? 0 : number.length);
    }
    case 3:
      return replace(Buffer.alloc(0), length);
    case 4:
      return replace(
        Buffer.concat([bytes.subarray(at, at + length), bytes.subarray(at, at + length)]),
        length,
      );
    case 5:
      return replace(Buffer.from(random.pick(words.length > 0 ? words : texts)), random.once(2) ? 0 : length);
    case 6: {
      const other = random.pick(corpus);
      const from = random.below(other.length);
      return replace(
        other.subarray(from, from + 1 + random.below(other.length - from)),
        random.once(2) ? 0 : length,
      );
    }
    case 7:
      return Buffer.from(bytes.subarray(0, at));
    case 8:
      return replace(Buffer.from(random.pick(texts)), 0);
    case 9: {
      const repeated = bytes.subarray(at, at + length);
      return replace(Buffer.concat(new Array<Buffer>(2 + random.below(30)).fill(repeated)), length);
    }
    default:
      return replace(Buffer.from(String(random.pick(numbers))), length);
  }
}

/** Returns the input with a piece of it, or all of it, repeated until it is large. */
function grow(original: Buffer, random: Random): Buffer {
  if (original.length === 0) return original;
  const json = random.once(2) ? growJson(original, random) : undefined;
  if (json !== undefined) return json.subarray(0, largestInput);
  const at = random.below(original.length);
  const piece = original.subarray(at, at + 1 + random.below(random.once(3) ? original.length - at : 64));
  const size = largestInput >> random.below(4);
  const middle = Buffer.alloc(Math.max(0, size - original.length), piece);
  return Buffer.concat([original.subarray(0, at), middle, original.subarray(at)]).subarray(0, largestInput);
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString()) as unknown;
  } catch {
    return undefined;
  }
}

type Holder = Record<string, unknown>;

/** Returns every object and list in a value, itself first. */
function holders(value: unknown): Holder[] {
  const found: Holder[] = [];
  const waiting = [value];
  for (let next = waiting.pop(); next !== undefined && found.length < 2000; next = waiting.pop()) {
    if (next === null || typeof next !== 'object') continue;
    found.push(next as Holder);
    waiting.push(...(Object.values(next) as unknown[]));
  }
  return found;
}

function mutateJson(bytes: Buffer, words: readonly string[], random: Random): Buffer | undefined {
  const value = parsed(bytes);
  const all = holders(value);
  if (all.length === 0) return undefined;
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const holder = random.pick(all);
    const keys = Object.keys(holder);
    const key = keys.length > 0 ? random.pick(keys) : random.pick(texts);
    switch (random.below(8)) {
      case 0:
        if (Array.isArray(holder)) holder.splice(Number(key), 1);
        else Reflect.deleteProperty(holder, key);
        break;
      case 1:
        setOwn(holder, key, random.pick([null, true, [], {}, '', 0, -1, 1.5, 2 ** 53, random.pick(numbers)]));
        break;
      case 2:
        setOwn(holder, key, random.pick(words.length > 0 && random.once(2) ? words : texts));
        break;
      case 3:
        setOwn(holder, key, structuredClone(random.pick(all)));
        break;
      case 4:
        if (Array.isArray(holder)) holder.push(...(structuredClone(holder) as unknown[]).slice(0, 50));
        else setOwn(holder, `${key}${random.pick(texts)}`, Object.hasOwn(holder, key) ? holder[key] : null);
        break;
      case 5:
        if (typeof holder[key] === 'string') {
          const text = holder[key];
          const at = random.below(text.length + 1);
          holder[key] = text.slice(0, at) + random.pick(texts) + text.slice(at + random.below(3));
        }
        break;
      case 6:
        if (typeof holder[key] === 'number') holder[key] += random.pick([-1, 1, 0.5, 2 ** 31, -(2 ** 31)]);
        break;
      default:
        setOwn(holder, key, [Object.hasOwn(holder, key) ? holder[key] : null]);
    }
    if (JSON.stringify(value).length > usualLargest) break;
  }
  return Buffer.from(JSON.stringify(value));
}

/** Sets an own property, also under the name `__proto__`. */
function setOwn(holder: Holder, key: string, value: unknown): void {
  // A non-index key of a list would not be written, and `constructor` would break the list's own methods.
  if (Array.isArray(holder) && !/^\d+$/.test(key)) return;
  Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
}

/** Returns JSON with many copies of one of its members under other names, or of one of its items. */
function growJson(bytes: Buffer, random: Random): Buffer | undefined {
  const value = parsed(bytes);
  const candidates = holders(value).filter((holder) => Object.keys(holder).length > 0);
  if (candidates.length === 0) return undefined;
  const holder = random.pick(candidates);
  const member = holder[random.pick(Object.keys(holder))];
  const each = JSON.stringify(member).length + 12;
  const copies = Math.max(1, Math.floor((largestInput >> random.below(4)) / each));
  const same = random.once(2);
  for (let copy = 0; copy < copies; copy++) {
    const next: unknown = typeof member === 'string' && !same ? `${member}${copy}` : member;
    if (Array.isArray(holder)) holder.push(next);
    else setOwn(holder, `k${copy}`, next);
  }
  return Buffer.from(JSON.stringify(value));
}
