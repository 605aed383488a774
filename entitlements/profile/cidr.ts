/**
 * A block of addresses: the first `prefix` bits of `address` are fixed. `base/addresses` is not used,
 * because it needs `node:net`, and the code of profiles also runs in browsers.
 */
export interface Block {
  readonly family: 4 | 6;
  readonly address: bigint;
  readonly prefix: number;
}

const bitsOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** Parses canonical CIDR text: host bits zero. Undefined for any other text. */
export function parseCidr(text: string): Block | undefined {
  const [host = '', length = '', ...more] = text.split('/');
  const address = parseAddress(host);
  if (address === undefined || more.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(length)) return undefined;
  const prefix = Number(length);
  const bits = bitsOf(address.family);
  if (prefix > bits || (address.value & ((1n << BigInt(bits - prefix)) - 1n)) !== 0n) return undefined;
  return { family: address.family, address: address.value, prefix };
}

function parseAddress(text: string): { readonly family: 4 | 6; readonly value: bigint } | undefined {
  if (!text.includes(':')) {
    const parts = text.split('.');
    if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
      return undefined;
    return { family: 4, value: parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n) };
  }
  const halves = text.split('::');
  const words = (half: string | undefined): string[] =>
    half === undefined || half === '' ? [] : half.split(':');
  const [head, tail] = [words(halves[0]), words(halves[1])];
  const missing = 8 - head.length - tail.length;
  if (halves.length > 2 || (halves.length === 1 ? missing !== 0 : missing < 1)) return undefined;
  const all = [...head, ...Array<string>(missing).fill('0'), ...tail];
  if (!all.every((word) => /^[0-9a-f]{1,4}$/i.test(word))) return undefined;
  return { family: 6, value: all.reduce((value, word) => (value << 16n) | BigInt(`0x${word}`), 0n) };
}

/** Formats an address for people; IPv6 according to RFC 5952. */
export function formatAddress(family: 4 | 6, address: bigint): string {
  if (family === 4)
    return [24n, 16n, 8n, 0n].map((shift) => ((address >> shift) & 255n).toString()).join('.');
  const words = [112n, 96n, 80n, 64n, 48n, 32n, 16n, 0n].map((shift) =>
    ((address >> shift) & 0xffffn).toString(16),
  );
  const text = words.join(':');
  // The first of the longest runs of two or more zeros.
  const runs = [...text.matchAll(/(?<![0-9a-f])0(?::0)+(?![0-9a-f])/g)].sort(
    (a, b) => b[0].length - a[0].length,
  );
  const run = runs[0];
  if (run === undefined) return text;
  const [before, after] = [
    text.slice(0, run.index).replace(/:$/, ''),
    text.slice(run.index + run[0].length).replace(/^:/, ''),
  ];
  return `${before}::${after}`;
}

/** Returns true if every address of `inner` is one of `outer`. */
export function blockWithin(inner: Block, outer: Block): boolean {
  return (
    inner.family === outer.family &&
    inner.prefix >= outer.prefix &&
    blockAround(inner, outer.prefix).address === outer.address
  );
}

/** Returns the block with this shorter or equal prefix that contains the block. */
export function blockAround({ family, address }: Block, prefix: number): Block {
  const shift = BigInt(bitsOf(family) - prefix);
  return { family, address: (address >> shift) << shift, prefix };
}

/** Returns the lower and the upper half of a block of several addresses. */
export function blockHalves({ family, address, prefix }: Block): [Block, Block] {
  const half = 1n << BigInt(bitsOf(family) - prefix - 1);
  return [
    { family, address, prefix: prefix + 1 },
    { family, address: address | half, prefix: prefix + 1 },
  ];
}

/**
 * Returns a function that finds those of the blocks that contain a block. A call costs one look-up for each
 * length of their prefixes.
 */
export function indexBlocks(blocks: readonly Block[]): (inner: Block) => readonly Block[] {
  const keyOf = ({ family, address, prefix }: Block): string => `${family} ${address} ${prefix}`;
  const byKey = Map.groupBy(blocks, keyOf);
  const prefixes = [...new Set(blocks.map(({ prefix }) => prefix))];
  return (inner) =>
    prefixes
      .filter((prefix) => prefix <= inner.prefix)
      .flatMap((prefix) => byKey.get(keyOf(blockAround(inner, prefix))) ?? []);
}
