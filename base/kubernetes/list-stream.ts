import { isAscii } from 'node:buffer';

/**
 * Splits the answer of a list into its items as it arrives, so that a list of any length needs the memory of
 * one item. JSON text (RFC 8259) in UTF-8: no byte of a multibyte character is one of the delimiters. Pure.
 */
export interface ListSplitter {
  /** Returns the texts of the items that end in the chunk. @throws Error for an item that is too large */
  take(chunk: Uint8Array): string[];
  /** Returns the text of the list without its items. @throws Error when the answer is not complete */
  end(): string;
}

const [quote, backslash, open, close, openList, closeList, comma] = [
  0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d, 0x2c,
];
/** 1 for each byte that is structure outside of a text. */
const kinds = new Uint8Array(256);
for (const byte of [open, close, openList, closeList, comma]) kinds[byte] = 1;
const isBlank = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const itemsKey = '"items":';

/** @param mostBytes of one item, and of everything apart from the items */
export function createListSplitter(mostBytes: number): ListSplitter {
  /** Everything outside of the items. */
  let frame: Buffer[] = [];
  let frameBytes = 0;
  /** The last bytes of the frame, without blanks: to recognise the name of a member. */
  let tail = '';
  let item: Buffer[] = [];
  let itemBytes = 0;
  let depth = 0;
  let inText = false;
  let isEscaped = false;
  let inItems = false;
  let isDone = false;

  const noteTail = (byte: number): void => {
    tail = (tail + String.fromCharCode(byte)).slice(-itemsKey.length - 1);
  };
  const bounded = (bytes: number, what: string): void => {
    if (bytes > mostBytes) throw new Error(`${what} is larger than ${mostBytes} bytes`);
  };
  const keepFrame = (part: Uint8Array): void => {
    if (part.length === 0) return;
    frame.push(Buffer.from(part));
    frameBytes += part.length;
    bounded(frameBytes, 'the list apart from its items');
  };

  return {
    take(chunk) {
      const items: string[] = [];
      const words = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      let from = 0;
      /** One character for each byte, because a search in a text is faster than one in bytes. */
      let searched: string | undefined;
      /** Whether these characters are those of the text. */
      let isSame: boolean | undefined;
      const endItem = (end: number): void => {
        isSame ??= isAscii(words);
        const whole = item.length === 0 && isSame ? searched?.slice(from, end) : undefined;
        const text = (whole ?? Buffer.concat([...item, words.subarray(from, end)]).toString('utf8')).trim();
        if (text !== '') items.push(text);
        item = [];
        itemBytes = 0;
        from = end + 1;
      };
      // The state is local here, because each byte of tens of MB needs it.
      let [text, escaped, level] = [inText, isEscaped, depth];
      for (let at = 0; at < chunk.length; at++) {
        if (text && (inItems || level !== 1)) {
          searched ??= words.toString('latin1');
          const end = escaped ? findQuote(searched, at + 1) : findQuote(searched, at);
          text = end === -1;
          escaped = text && endsEscaped(searched, escaped ? at + 1 : at);
          if (text) break;
          at = end;
          continue;
        }
        const byte = chunk[at] ?? 0;
        if (text) {
          if (escaped) escaped = false;
          else if (byte === backslash) escaped = true;
          else if (byte === quote) text = false;
          if (!isBlank(byte)) noteTail(byte);
          continue;
        }
        if (byte === quote) text = true;
        if (!inItems && level === 1 && !isBlank(byte)) noteTail(byte);
        if (text || kinds[byte] === 0) continue;
        if (byte === comma) {
          if (inItems && level === 2) endItem(at);
        } else if (byte === open || byte === openList) {
          level += 1;
          if (byte !== openList || level !== 2 || isDone || !tail.endsWith(`${itemsKey}[`)) continue;
          inItems = true;
          keepFrame(chunk.subarray(from, at + 1));
          from = at + 1;
        } else {
          if (inItems && level === 2) {
            endItem(at);
            from = at;
            [inItems, isDone] = [false, true];
          }
          level -= 1;
        }
      }
      [inText, isEscaped, depth] = [text, escaped, level];
      const rest = chunk.subarray(from);
      if (inItems) {
        item.push(Buffer.from(rest));
        itemBytes += rest.length;
        bounded(itemBytes, 'an item of the list');
      } else keepFrame(rest);
      return items;
    },
    end() {
      if (depth !== 0 || inText || inItems) throw new Error('the answer ended in the middle of the list');
      const text = Buffer.concat(frame).toString('utf8');
      frame = [];
      return text;
    },
  };
}

/**
 * Returns the index of the quote that ends a text, or -1 if none does.
 * @param from within the text, after a character that escapes nothing
 */
function findQuote(words: string, from: number): number {
  for (let at = words.indexOf('"', from); at !== -1; at = words.indexOf('"', at + 1))
    if (!isEscapedAt(words, at, from)) return at;
  return -1;
}

/** Whether the character after these words is escaped. @param from as in {@link findQuote} */
const endsEscaped = (words: string, from: number): boolean => isEscapedAt(words, words.length, from);

/** Whether an odd number of backslashes comes before `at`. An even number escape only one another. */
function isEscapedAt(words: string, at: number, from: number): boolean {
  let before = at;
  while (before > from && words.charCodeAt(before - 1) === backslash) before -= 1;
  return (at - before) % 2 === 1;
}
