const blockBytes = 512;
const nameBytes = 100;
/** Types of a header (POSIX ustar). */
const types = { file: '0', link: '2', device: '3', blockDevice: '4', folder: '5' } as const;

/** An entry of an archive, without content. */
export interface Entry {
  /** Relative to the folder of the archive. */
  readonly name: string;
  readonly type: keyof typeof types;
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  /** The target of a symbolic link: at most 100 bytes. */
  readonly target?: string;
  readonly device?: readonly [major: number, minor: number];
}

/** The end of an archive. */
export const archiveEnd = Buffer.alloc(2 * blockBytes);

/** Returns the header of an entry (POSIX.1-2017, pax, "ustar Interchange Format"). */
export function headerOf({
  name,
  type,
  mode,
  uid = 0,
  gid = 0,
  target = '',
  device = [0, 0],
}: Entry): Buffer {
  const full = type === 'folder' && !name.endsWith('/') ? `${name}/` : name;
  const header = ustar(full, types[type], 0);
  octal(header, mode, 100, 8);
  octal(header, uid, 108, 8);
  octal(header, gid, 116, 8);
  header.write(target, 157, nameBytes, 'utf8');
  octal(header, device[0], 329, 8);
  octal(header, device[1], 337, 8);
  const long = Buffer.byteLength(full) > nameBytes ? longName(full) : Buffer.alloc(0);
  return Buffer.concat([long, withSum(header)]);
}

/** Returns the pax header for a name that does not fit: `LENGTH path=NAME`. */
function longName(name: string): Buffer {
  const rest = ` path=${name}\n`;
  const size = Buffer.byteLength(rest);
  let length = size + 1;
  while (String(length).length + size !== length) length = String(length).length + size;
  const record = Buffer.from(`${length}${rest}`);
  const body = Buffer.alloc(Math.ceil(record.length / blockBytes) * blockBytes);
  record.copy(body);
  return Buffer.concat([withSum(ustar('pax', 'x', record.length)), body]);
}

function ustar(name: string, type: string, size: number): Buffer {
  const header = Buffer.alloc(blockBytes);
  header.write(name, 0, nameBytes, 'utf8');
  for (const at of [100, 108, 116]) octal(header, 0, at, 8);
  octal(header, size, 124, 12);
  octal(header, 0, 136, 12);
  header.write(type, 156, 'latin1');
  header.write('ustar\0' + '00', 257, 'latin1');
  return header;
}

function octal(header: Buffer, value: number, at: number, bytes: number): void {
  header.write(`${value.toString(8).padStart(bytes - 1, '0')}\0`, at, 'latin1');
}

function withSum(header: Buffer): Buffer {
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}
