/** One element of DER: its identifier octet, its content, and the complete bytes. */
export interface DerElement {
  /** The identifier octet: class, constructed bit and number. */
  readonly tag: number;
  readonly content: Buffer;
  /** Identifier, length and content. Signatures cover these bytes. */
  readonly whole: Buffer;
  /** Its position in the bytes that were given to {@link readDer} or {@link readStrict}. */
  readonly offset: number;
}

/** Identifier octets (X.690 section 8; RFC 5280). {@link contextTag} returns context-specific ones. */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  numericString: 0x12,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  visibleString: 0x1a,
  generalString: 0x1b,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Returns the identifier octet of a context-specific element. */
export function contextTag(number: number, form: 'constructed' | 'primitive'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number;
}

/** The bytes are not DER, or not the expected element; the message states the offset in bytes. */
export class DerError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} at byte ${offset}`);
    this.offset = offset;
  }
}

/**
 * Reads the header of one element that fills the bytes: a definite length in its shortest form and a tag
 * number below 31. The content is not checked; untrusted data is read with {@link readStrict}.
 * @throws DerError
 */
export function readDer(bytes: Uint8Array): DerElement {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const element = elementAt(buffer, 0, 0);
  if (element.whole.length !== buffer.length)
    throw new DerError('bytes follow the value', element.whole.length);
  return element;
}

/** Returns the members of a constructed element. @throws DerError, also when there are more than `limit` */
export function childrenOf(element: DerElement, limit = 65_536): DerElement[] {
  const { content, offset, whole } = element;
  const base = offset + whole.length - content.length;
  const children: DerElement[] = [];
  for (let at = 0; at < content.length;) {
    if (children.length >= limit) throw new DerError(`more than ${limit} elements are in one place`, offset);
    const child = elementAt(content, at, base);
    children.push(child);
    at += child.whole.length;
  }
  return children;
}

/**
 * Yields the members of a constructed element one by one, so that a list of a hundred thousand entries
 * creates no tree.
 * @throws DerError
 */
export function* eachChild({ content, offset, whole }: DerElement): Generator<DerElement, void> {
  const base = offset + whole.length - content.length;
  for (let at = 0; at < content.length;) {
    const child = elementAt(content, at, base);
    yield child;
    at += child.whole.length;
  }
}

/**
 * Yields consecutive elements without an enclosing one, such as several certificates in one file. @throws
 * DerError
 */
export function eachDer(bytes: Buffer): Generator<DerElement, void> {
  return eachChild({ tag: derTag.sequence, content: bytes, whole: bytes, offset: 0 });
}

/** Reads the length field of the element at `at`. @throws DerError */
export function headerAt(
  bytes: Buffer,
  at: number,
  end: number,
  base: number,
): { readonly tag: number; readonly start: number; readonly end: number } {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined || at + 2 > end)
    throw new DerError('the value is cut short', base + at);
  if ((tag & 0x1f) === 0x1f) throw new DerError('the tag number is above 30', base + at);
  if (first < 0x80) {
    if (at + 2 + first > end) throw new DerError('the value is cut short', base + at);
    return { tag, start: at + 2, end: at + 2 + first };
  }
  const count = first & 0x7f;
  // Four bytes are 4 GiB: no element here is nearly that large.
  if (count === 0 || count > 4) throw new DerError('the length is indefinite or too large', base + at + 1);
  const start = at + 2 + count;
  if (start > end) throw new DerError('the length is cut short', base + at + 1);
  const length = bytes.readUIntBE(at + 2, count);
  if (length < 0x80 || bytes[at + 2] === 0)
    throw new DerError('the length is not in its shortest form', base + at + 1);
  if (start + length > end) throw new DerError('the value is cut short', base + at);
  return { tag, start, end: start + length };
}

function elementAt(bytes: Buffer, at: number, base: number): DerElement {
  const { tag, start, end } = headerAt(bytes, at, bytes.length, base);
  return { tag, content: bytes.subarray(start, end), whole: bytes.subarray(at, end), offset: base + at };
}

/** Returns the element if it has that tag. @throws DerError */
export function expectTag(element: DerElement | undefined, tag: number, what: string): DerElement {
  if (element === undefined) throw new DerError(`${what} is missing`, 0);
  if (element.tag !== tag)
    throw new DerError(`${what} has the tag 0x${element.tag.toString(16)}`, element.offset);
  return element;
}

/** Returns the only element inside an explicit tag. @throws DerError */
export function onlyChild(element: DerElement): DerElement {
  const [inner, more] = childrenOf(element, 2);
  if (inner === undefined || more !== undefined)
    throw new DerError('an explicit tag does not contain exactly one value', element.offset);
  return inner;
}
