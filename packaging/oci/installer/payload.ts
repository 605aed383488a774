import { createHash } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

export interface PayloadFile {
  readonly path: string;
  readonly mode: 0o644 | 0o755;
  readonly sha256: string;
}

/**
 * Returns the regular files below a folder, in the order of their paths, with the digests of their bytes.
 * Links are left out: the payload has none.
 * @throws the system's error when one cannot be read
 */
export function payloadFiles(folder: string, prefix = ''): PayloadFile[] {
  return readdirSync(join(folder, prefix), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry): PayloadFile[] => {
      const path = join(prefix, entry.name);
      if (entry.isDirectory()) return payloadFiles(folder, path);
      if (!entry.isFile()) return [];
      const file = join(folder, path);
      const hash = createHash('sha256');
      readPieces(file, (piece) => void hash.update(piece));
      const sha256 = hash.digest('hex');
      return [{ path, mode: (statSync(file).mode & 0o100) === 0 ? 0o644 : 0o755, sha256 }];
    });
}

/** Returns a name for the content: equal files have equal names. */
export function contentName(version: string, files: readonly PayloadFile[]): string {
  const digest = createHash('sha256').update(JSON.stringify(files)).digest('hex');
  return `${version}-${digest.slice(0, 16)}`;
}

/**
 * Copies files, and returns after all of them are on the disk.
 * @throws the system's error, such as ENOSPC; what was copied until then stays
 */
export function copyDurably(from: string, to: string, files: readonly PayloadFile[]): void {
  const folders = new Set<string>();
  for (const { path, mode } of files) {
    const target = join(to, path);
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    for (let at = dirname(target); at.length >= to.length; at = dirname(at)) folders.add(at);
    writeNew(target, mode, (write) => readPieces(join(from, path), write));
  }
  for (const folder of folders) syncFolder(folder);
}

/** Writes a new file, and returns after it is on the disk. @throws the system's error */
export function writeDurably(file: string, bytes: Uint8Array, mode: number): void {
  writeNew(file, mode, (write) => write(bytes));
}

function writeNew(file: string, mode: number, content: (write: (piece: Uint8Array) => void) => void): void {
  const handle = openSync(file, 'wx', mode);
  try {
    content((piece) => {
      for (let at = 0; at < piece.length;) at += writeSync(handle, piece, at);
    });
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Node alone has 120 MB, which a container with little memory does not hold at once. */
const pieceBytes = 1024 * 1024;

function readPieces(file: string, use: (piece: Uint8Array) => void): void {
  const buffer = Buffer.allocUnsafe(pieceBytes);
  const handle = openSync(file, 'r');
  try {
    for (;;) {
      const length = readSync(handle, buffer);
      if (length === 0) return;
      use(buffer.subarray(0, length));
    }
  } finally {
    closeSync(handle);
  }
}

/** Returns after the names in a folder are on the disk. @throws the system's error */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
