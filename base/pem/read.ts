/** One PEM block (RFC 7468), with the headers of RFC 1421. */
export interface PemBlock {
  /** The label, such as `CERTIFICATE`. */
  readonly type: string;
  /** By name in lower case. Blocks of RFC 7468 have none; Notary's key files name the role of a key. */
  readonly headers: ReadonlyMap<string, string>;
  readonly content: Buffer;
}

/** The blocks of a text, in order. */
export interface PemText {
  readonly blocks: readonly PemBlock[];
  /** Whether the text also has a block, or a part of one, that cannot be read. */
  readonly damaged: boolean;
}

const boundary = /^[ \t]*-----(BEGIN|END) ([^-]{1,64})-----[ \t]*$/u;
const boundaryPart = /-----(?:BEGIN|END) /u;
const header = /^([A-Za-z][A-Za-z0-9-]*):[ \t]*([^\r\n]*)$/u;

interface OpenBlock {
  readonly type: string;
  readonly headers: Map<string, string>;
  /** Headers end with an empty line, and precede the content. */
  isInHeaders: boolean;
  readonly base64: string[];
}

/**
 * Reads all blocks of a text. Text around the blocks is ignored. A block is read if its boundaries are lines
 * of their own and name the same type, its headers are followed by an empty line, and the rest is base64 with
 * padding in its canonical form (RFC 4648 section 3.5). Lines may have any length, and blanks at both ends.
 * Every other boundary makes the text damaged. Takes one pass over the text.
 * @param text bytes are read as Latin-1
 */
export function readPem(text: string | Uint8Array): PemText {
  const blocks: PemBlock[] = [];
  let damaged = false;
  let open: OpenBlock | undefined;
  for (const line of linesOf(typeof text === 'string' ? text : Buffer.from(text).toString('latin1'))) {
    if (open !== undefined && takeLine(open, line)) continue;
    const [, which, type] = boundary.exec(line) ?? [];
    const closed = open;
    open = undefined;
    if (closed !== undefined) {
      const block = which === 'END' && type === closed.type ? closeBlock(closed) : undefined;
      if (block === undefined) damaged = true;
      else blocks.push(block);
    } else if (which === 'END' || (which === undefined && boundaryPart.test(line))) damaged = true;
    if (which === 'BEGIN' && type !== undefined)
      open = { type, headers: new Map(), isInHeaders: true, base64: [] };
  }
  return { blocks, damaged: damaged || open !== undefined };
}

/**
 * Returns the blocks of a text that has no damaged one.
 * @throws Error with a sentence
 */
export function pemBlocks(text: string | Uint8Array): readonly PemBlock[] {
  const { blocks, damaged } = readPem(text);
  if (damaged) throw new Error('a PEM block is damaged');
  return blocks;
}

/**
 * Returns the only block of a text, which has no headers; or the reason why there is none.
 * @param beside the type of blocks that may be in the text too, and are not read
 */
export function onlyPemBlock(
  text: string | Uint8Array,
  beside?: string,
): PemBlock | { readonly problem: string } {
  const { blocks: all, damaged } = readPem(text);
  if (damaged) return { problem: 'its PEM block is damaged' };
  const blocks = all.filter(({ type }) => type !== beside);
  const [block] = blocks;
  if (block === undefined) return { problem: 'it is not PEM' };
  if (blocks.length > 1) return { problem: `it contains ${blocks.length} PEM blocks, not one` };
  return block.headers.size > 0 ? { problem: 'its PEM block has headers' } : block;
}

/**
 * Returns whether a text mentions a private key: a whole block, or a part of one. A file of public keys or
 * certificates that does is a mistake, and its content must not be copied any further.
 */
export function mentionsPrivateKey(text: string): boolean {
  return text.includes('PRIVATE KEY');
}

function* linesOf(text: string): Generator<string, void> {
  for (let at = 0; at < text.length;) {
    const found = text.indexOf('\n', at);
    const end = found < 0 ? text.length : found;
    yield text.slice(at, text[end - 1] === '\r' ? Math.max(at, end - 1) : end);
    at = end + 1;
  }
}

/** Takes a line into the block. Returns false for a line that cannot be in a block, such as its last. */
function takeLine(block: OpenBlock, line: string): boolean {
  const { headers, base64 } = block;
  const [, name, value] = block.isInHeaders ? (header.exec(line) ?? []) : [];
  if (name !== undefined && value !== undefined) {
    if (headers.has(name.toLowerCase())) return false;
    headers.set(name.toLowerCase(), value);
    return true;
  }
  const content = line.trim();
  if (content === '') {
    block.isInHeaders &&= headers.size === 0;
    return true;
  }
  if (content.includes('-----') || (block.isInHeaders && headers.size > 0)) return false;
  block.isInHeaders = false;
  base64.push(content);
  return true;
}

function closeBlock({ type, headers, base64 }: OpenBlock): PemBlock | undefined {
  const text = base64.join('');
  const content = Buffer.from(text, 'base64');
  return content.toString('base64') === text ? { type, headers, content } : undefined;
}
