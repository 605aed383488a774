import { inflateSync } from 'node:zlib';

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** Bytes of a pixel by the colour type of a PNG with 8 bits a sample (PNG, third edition, section 11.2.1). */
const bytesOfPixel: Readonly<Record<number, number>> = { 2: 3, 6: 4 };

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** The share of the most frequent colour: 1 for an empty picture. */
  readonly background: number;
  /** The mean of red, green and blue, from 0 (black) to 255 (white). */
  readonly brightness: number;
}

/**
 * Reads a PNG as a browser writes it: 8 bits a sample, RGB or RGBA, not interlaced. Throws for any other
 * file.
 */
export function readPicture(file: Buffer): Picture {
  if (!file.subarray(0, 8).equals(signature)) throw new Error('it is not a PNG');
  const { header, data } = chunksOf(file);
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const size = header[8] === 8 && header[12] === 0 ? bytesOfPixel[header[9] ?? 0] : undefined;
  if (size === undefined) throw new Error('it has an unexpected form of PNG');
  const lines = inflateSync(data);
  const length = width * size;
  if (lines.length !== height * (length + 1)) throw new Error('it does not have all of its lines');
  const counts = new Map<number, number>();
  let sum = 0;
  let above: Buffer = Buffer.alloc(length);
  for (let row = 0; row < height; row += 1) {
    const start = row * (length + 1);
    const line = lines.subarray(start + 1, start + 1 + length);
    undoFilter(lines[start] ?? 0, line, above, size);
    for (let at = 0; at < length; at += size) {
      const colour = line.readUIntBE(at, 3);
      counts.set(colour, (counts.get(colour) ?? 0) + 1);
      sum += (colour >> 16) + ((colour >> 8) & 255) + (colour & 255);
    }
    above = line;
  }
  const pixels = width * height;
  let most = 0;
  for (const count of counts.values()) most = Math.max(most, count);
  return { width, height, background: most / pixels, brightness: sum / pixels / 3 };
}

/** Returns the header and the joined data of a PNG (section 5.3: length, type, data, checksum). */
function chunksOf(file: Buffer): { readonly header: Buffer; readonly data: Buffer } {
  let header: Buffer | undefined;
  const data: Buffer[] = [];
  for (let at = 8; at + 12 <= file.length;) {
    const length = file.readUInt32BE(at);
    const type = file.toString('latin1', at + 4, at + 8);
    const body = file.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') header = body;
    if (type === 'IDAT') data.push(body);
    at += 12 + length;
  }
  if (header?.length !== 13 || data.length === 0) throw new Error('it has no header or no data');
  return { header, data: Buffer.concat(data) };
}

/** Undoes the filter of a line, in place (section 9.2). */
function undoFilter(filter: number, line: Buffer, above: Buffer, size: number): void {
  for (let at = 0; at < line.length; at += 1) {
    const left = at < size ? 0 : (line[at - size] ?? 0);
    const up = above[at] ?? 0;
    const corner = at < size ? 0 : (above[at - size] ?? 0);
    const predicted = [0, left, up, (left + up) >> 1, nearest(left, up, corner)][filter];
    if (predicted === undefined) throw new Error(`it has an unknown filter: ${filter}`);
    line[at] = ((line[at] ?? 0) + predicted) & 255;
  }
}

/** The predictor of Paeth (section 9.4). */
function nearest(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const [toLeft, toUp, toCorner] = [left, up, corner].map((one) => Math.abs(estimate - one)) as [
    number,
    number,
    number,
  ];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}
