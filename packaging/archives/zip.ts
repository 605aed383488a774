import { crc32, deflateRawSync } from 'node:zlib';
import { compare } from './files.ts';

export interface ZipFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * Writes a ZIP archive (APPNOTE 6.3) without extra fields. Files are in the order of their paths, all with
 * one time, so the same files give the same bytes.
 * @param time in seconds since 1970, from 1980 to 2107
 * @throws Error for more than 65,535 files
 */
export function zipOf(files: readonly ZipFile[], time: number): Buffer {
  if (files.length > 0xffff) throw new Error(`${files.length} files do not fit a ZIP archive`);
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { path, bytes } of [...files].sort((a, b) => compare(a.path, b.path))) {
    const name = Buffer.from(path);
    const content = deflateRawSync(bytes, { level: 9 });
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0); // version needed: 2.0
    fields.writeUInt16LE(0x0800, 2); // names are UTF-8
    fields.writeUInt16LE(8, 4); // deflate
    fields.writeUInt32LE(dosTime(time), 6);
    fields.writeUInt32LE(crc32(bytes), 10);
    fields.writeUInt32LE(content.length, 14);
    fields.writeUInt32LE(bytes.length, 18);
    fields.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, name]);
    // Made by Unix, with the mode 0644 of a regular file.
    const end = Buffer.alloc(14);
    end.writeUInt32LE((0o100644 << 16) >>> 0, 6);
    end.writeUInt32LE(offset, 10);
    directory.push(Buffer.from('PK\x01\x02'), Buffer.from([20, 3]), fields, end, name);
    parts.push(local, content);
    offset += local.length + content.length;
  }
  const central = Buffer.concat(directory);
  const trailer = Buffer.alloc(18);
  trailer.writeUInt16LE(files.length, 4);
  trailer.writeUInt16LE(files.length, 6);
  trailer.writeUInt32LE(central.length, 8);
  trailer.writeUInt32LE(offset, 12);
  return Buffer.concat([...parts, central, Buffer.from('PK\x05\x06'), trailer]);
}

function dosTime(time: number): number {
  const date = new Date(time * 1000);
  const day = ((date.getUTCFullYear() - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate();
  const clock =
    (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | Math.floor(date.getUTCSeconds() / 2);
  return ((day << 16) | clock) >>> 0;
}
