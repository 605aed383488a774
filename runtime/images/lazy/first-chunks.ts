import { posix } from 'node:path';
import { createTarReader } from '../unpack/tar-reader.ts';
import { chunkLimits } from './chunk-index.ts';
import type { LayerChunks } from './chunk-index.ts';

/** The start of a program is kept: it names the program that interprets it. */
const headBytes = 1024;
const mostLinks = 40;
const executable = 0o111;

type Entry =
  | { readonly kind: 'link'; readonly target: string }
  | {
      readonly kind: 'file';
      readonly layer: number;
      /** The chunks with its content, from the first up to before `end`; none: both are 0. */
      from: number;
      end: number;
      readonly isProgram: boolean;
      head: Buffer;
    };

/** Finds the chunks that the first process of an image reads first. A wrong result costs only time. */
export interface FirstChunks {
  /** Reads the archive of the next layer. @param contentOf returns the content of a chunk */
  addLayer(count: number, contentOf: (chunk: number) => Promise<Buffer>): Promise<void>;
  /** Adds the chunks to the layers, lowest first. */
  markIn(layers: readonly LayerChunks[], config: Invocation): LayerChunks[];
}

/** How the first process is started. */
export interface Invocation {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
}

export function createFirstChunks(): FirstChunks {
  /** By path, without a slash at the start. */
  const entries = new Map<string, Entry>();
  let layer = 0;

  return {
    async addLayer(count, contentOf) {
      let chunk = 0;
      let open: Entry | undefined;
      const reader = createTarReader({
        begin({ name, linkName, type, mode }) {
          const path = plain(Buffer.from(name, 'latin1').toString('utf8'));
          const target = Buffer.from(linkName, 'latin1').toString('utf8');
          open = undefined;
          if (type === 'symlink') entries.set(path, { kind: 'link', target });
          else if (type === 'hard-link') entries.set(path, { kind: 'link', target: `/${plain(target)}` });
          else if (type === 'file') {
            const isProgram = (mode & executable) !== 0;
            open = { kind: 'file', layer, from: 0, end: 0, isProgram, head: Buffer.alloc(0) };
            entries.set(path, open);
          }
        },
        data(part) {
          if (open?.kind !== 'file') return;
          if (open.end === 0) open.from = chunk;
          open.end = chunk + 1;
          const missing = headBytes - open.head.length;
          if (open.isProgram && missing > 0)
            open.head = Buffer.concat([open.head, part.subarray(0, missing)]);
        },
        end() {
          open = undefined;
        },
      });
      for (; chunk < count; chunk += 1) reader.push(await contentOf(chunk));
      layer += 1;
    },
    markIn(layers, config) {
      const chosen = layers.map(() => new Set<number>());
      let bytes = 0;
      for (const file of filesOf(entries, config))
        for (let chunk = file.from; chunk < file.end; chunk += 1) {
          const there = chosen[file.layer];
          const size = layers[file.layer]?.chunks[chunk]?.blobBytes ?? Infinity;
          if (there === undefined || there.has(chunk) || there.size === chunkLimits.first) continue;
          if (bytes + size > chunkLimits.firstBytes) continue;
          there.add(chunk);
          bytes += size;
        }
      return layers.map((each, at) => ({ ...each, first: [...(chosen[at] ?? [])] }));
    },
  };
}

type FileEntry = Extract<Entry, { readonly kind: 'file' }>;

/** The files that the words of the command name, each followed by the program that interprets it. */
function filesOf(
  entries: ReadonlyMap<string, Entry>,
  { entrypoint, cmd, env, workingDir }: Invocation,
): FileEntry[] {
  const found: FileEntry[] = [];
  const folders = (env.find((each) => each.startsWith('PATH='))?.slice(5) ?? '/usr/bin:/bin').split(':');
  for (const [at, word] of [...entrypoint, ...cmd].entries()) {
    const paths = [
      ...(word.includes('/') || at > 0 ? [posix.resolve('/', workingDir, word)] : []),
      ...(word.includes('/') ? [] : folders.map((folder) => posix.join(folder, word))),
    ];
    const file = paths.map((path) => fileAt(entries, path)).find((each) => each !== undefined);
    if (file === undefined) continue;
    found.push(file);
    const interpreter = interpreterOf(file.head);
    const other = interpreter === undefined ? undefined : fileAt(entries, interpreter);
    if (other !== undefined) found.push(other);
  }
  return found;
}

function fileAt(entries: ReadonlyMap<string, Entry>, path: string): FileEntry | undefined {
  let rest = plain(path).split('/');
  let at = '';
  for (let links = 0; rest.length > 0;) {
    const [name = '', ...others] = rest;
    const next = plain(posix.join('/', at, name));
    const entry = entries.get(next);
    if (entry?.kind === 'file') return others.length === 0 ? entry : undefined;
    if (entry?.kind === 'link') {
      links += 1;
      if (links > mostLinks) return undefined;
      rest = [...plain(posix.resolve('/', at, entry.target)).split('/'), ...others];
      at = '';
    } else {
      at = next;
      rest = others;
    }
  }
  return undefined;
}

const plain = (path: string): string => posix.join('/', path).slice(1).replace(/\/$/u, '');

/** The program of `#!`, or the dynamic linker of a 64-bit little-endian ELF file (elf(5), PT_INTERP). */
function interpreterOf(head: Buffer): string | undefined {
  if (head.subarray(0, 2).toString('latin1') === '#!') return /^#!\s*(\S+)/u.exec(head.toString('utf8'))?.[1];
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2 || head[5] !== 1)
    return undefined;
  const [start, size, count] = [
    Number(head.readBigUInt64LE(32)),
    head.readUInt16LE(54),
    head.readUInt16LE(56),
  ];
  for (let at = start; at < start + size * count && at + 56 <= head.length; at += size) {
    if (size < 56) return undefined;
    if (head.readUInt32LE(at) !== 3) continue;
    const [offset, length] = [Number(head.readBigUInt64LE(at + 8)), Number(head.readBigUInt64LE(at + 32))];
    return offset + length <= head.length
      ? head.toString('utf8', offset, offset + length).replace(/\0.*$/su, '')
      : undefined;
  }
  return undefined;
}
