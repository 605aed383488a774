/**
 * The settings of an installed client. The stamp is at the end of the file, behind everything that the
 * program uses.
 */
import { parseJson } from '../../../base/json/index.ts';
export interface Stamp {
  readonly version: string;
  /** The daemon's socket. */
  readonly socket: string;
  /** The folder of the database. */
  readonly data: string;
  /** Absolute paths of the pinned Node and of the program that works without the daemon. */
  readonly program: readonly [node: string, script: string];
}

const mark = '\0portcullis-cni-client ';

export function writeStamp(stamp: Stamp): Buffer {
  return Buffer.from(`${mark}${JSON.stringify(stamp)}\n`);
}

/** Reads the stamp. Returns undefined for a file that is not one of our clients. */
export function readStamp(file: Buffer): Stamp | undefined {
  const at = file.lastIndexOf(mark);
  if (at < 0 || !file.subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'))) return undefined;
  try {
    const text = file.subarray(at + mark.length).toString('utf8');
    return parseJson(text.slice(0, text.indexOf('\n'))) as Stamp;
  } catch {
    return undefined;
  }
}
