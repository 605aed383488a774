/**
 * Archives that no normal tool writes, for tests: any name, any link, any number of entries, without a
 * library.
 */
export interface RawEntry {
  readonly name: string;
  /** `0` file, `1` hard link, `2` symlink, `5` folder; a file by default. */
  readonly type?: string;
  readonly link?: string;
  readonly body?: string | Uint8Array;
  /** Records of a pax header before the entry. */
  readonly pax?: Readonly<Record<string, string | Uint8Array>>;
}

const blockSize = 512;
const template = Buffer.alloc(blockSize);
template.write('0000644\0', 100);
template.write('0000000\0', 108);
template.write('0000000\0', 116);
template.write('00000000000\0', 136);
template.write('ustar\u000000', 257, 'latin1');

/** Returns one header block. */
export function rawBlock(name: string, type: string, size: number, link = ''): Buffer {
  const block = Buffer.from(template);
  block.write(name.slice(0, 100), 0, 'latin1');
  block.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  block.write(type, 156, 'latin1');
  block.write(link.slice(0, 100), 157, 'latin1');
  block.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

function padded(body: Uint8Array): Buffer {
  return Buffer.concat([body, Buffer.alloc((blockSize - (body.length % blockSize)) % blockSize)]);
}

export function paxRecord(key: string, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([
    Buffer.from(` ${key}=`, 'latin1'),
    typeof value === 'string' ? Buffer.from(value, 'latin1') : value,
    Buffer.from('\n'),
  ]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** Returns an extended header of pax, or of another type that has a body (`g`, `L`, `K`). */
export function extendedHeader(body: Uint8Array, type = 'x'): Buffer {
  return Buffer.concat([rawBlock('header', type, body.length), padded(body)]);
}

export function rawEntry({ name, type = '0', link = '', body = '', pax = {} }: RawEntry): Buffer {
  const records = { ...pax };
  // Values that do not fit into the header.
  if (name.length > 100) records['path'] = name;
  if (link.length > 100) records['linkpath'] = link;
  const headers = Object.entries(records).map(([key, value]) => paxRecord(key, value));
  const bytes = Buffer.from(body);
  return Buffer.concat([
    ...(headers.length === 0 ? [] : [extendedHeader(Buffer.concat(headers))]),
    rawBlock(name, type, bytes.length, link),
    padded(bytes),
  ]);
}

export const endOfArchive = Buffer.alloc(2 * blockSize);

export function rawTar(entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.map(rawEntry), endOfArchive]);
}
