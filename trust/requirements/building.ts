import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileReason, folderReason } from '../../base/errors/index.ts';
import { isWithin, readPlainFile } from '../../base/files/index.ts';
import { formatPath } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';
import { isKeyText } from './key-text.ts';
import type { Requirement } from './types.ts';

/** Reads the value below the name of one type of authority. */
export type RequirementReader = (
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
) => Promise<Requirement | undefined>;

/** The state that is collected while a policy is built. */
export interface Building {
  readonly document: Document;
  readonly problems: Problem[];
  /**
   * Every file and folder that the policy refers to, by path. Each is read once, so that the revision and the
   * content come from the same bytes.
   */
  readonly references: Map<string, Referenced>;
  /** The only files that the policy may name. Undefined: any file of this machine. */
  readonly within?: FilesWithin;
  /** TUF repositories whose roots the policy reads from a cache, by the path of the cached file. */
  readonly tufRoots?: Map<string, TufRoot>;
  /** Bytes that replace the content of files, by path: the keys of policy tests. */
  readonly substitutes?: ReadonlyMap<string, Buffer>;
  /**
   * Trusted roots in place of those of this machine, by the URL of their TUF repository without a final `/`.
   */
  readonly carriedRoots?: ReadonlyMap<string, CarriedRoot>;
}

/**
 * The files that a policy may name. No other file is opened: those who write the policy must not learn which
 * files the machine has.
 */
interface FilesWithin {
  readonly folder: string;
  /** The name of the setting that holds the folder, for problems. */
  readonly setting: string;
}

/** A trusted root that came with a policy, and for whose freshness the signer of both vouches. */
export interface CarriedRoot {
  readonly content: Buffer;
  /** Milliseconds since 1970. From then on it proves nothing. */
  readonly expires: number;
}

/** The content of a file, or the reason why it could not be read. */
export type ReferencedFile =
  | { readonly bytes: Buffer; readonly digest: string }
  | { readonly problem: string };

/** A TUF repository whose trusted root is kept in a cache. */
export interface TufRoot {
  readonly url: string;
  readonly cache: string;
  /**
   * When the cached metadata of the repository expires, in milliseconds since 1970. Absent when it does not
   * expire.
   */
  readonly expires?: number;
}

type Referenced = ReferencedFile | { readonly names: readonly string[]; readonly digest: string };

const maximumKeyBytes = 64 * 1024;
const maximumNames = 1000;

/** Reports a problem at a place in the document. */
export function report(
  building: Building,
  path: readonly PathSegment[],
  message: string,
  fix: string,
  part: 'key' | 'value' = 'value',
): void {
  building.problems.push({
    position: building.document.positionOf(path, part),
    path: formatPath(path),
    message,
    fix,
  });
}

/**
 * Reports a text of a key or certificate where the name of a file is expected, without the text: it may be
 * secret. Policies of other tools contain the key itself.
 * @returns whether it is such a text
 */
export function refuseKeyText(building: Building, path: readonly PathSegment[], name: string): boolean {
  if (!isKeyText(name)) return false;
  report(
    building,
    path,
    'this is the text of a key or certificate, and not the name of its file',
    'write the text to a file beside this policy, and name the file here',
  );
  return true;
}

/**
 * Reads a file that the policy names relative to the document. The bytes become part of the policy's
 * revision, and the file is watched.
 * @param limit bytes
 */
export async function readReferenced(
  building: Building,
  name: string,
  limit: number = maximumKeyBytes,
): Promise<ReferencedFile> {
  const file = resolve(dirname(building.document.file), name);
  return outside(file, building) ?? readAt(file, limit, building);
}

/** Like `readReferenced`, for a file in a cache of this machine. */
export function readCachedFile(building: Building, path: string, limit: number): Promise<ReferencedFile> {
  return readAt(resolve(dirname(building.document.file), path), limit, building);
}

function outside(path: string, { within }: Building): { readonly problem: string } | undefined {
  if (within === undefined || isWithin(path, resolve(within.folder))) return undefined;
  return { problem: `it is not in ${within.setting}` };
}

async function readAt(file: string, limit: number, building: Building): Promise<ReferencedFile> {
  const known = building.references.get(file);
  const substitute = building.substitutes?.get(file);
  const read =
    known !== undefined && !('names' in known)
      ? known
      : substitute === undefined
        ? await readOnce(file, limit)
        : readFrom(substitute);
  building.references.set(file, read);
  return read;
}

/**
 * Lists the files of a folder that the policy names, sorted by name, without hidden files. The listing
 * becomes part of the policy's revision, and the folder is watched. Read the files with `readReferenced`
 * afterwards.
 */
export async function listReferenced(
  building: Building,
  name: string,
): Promise<{ readonly names: readonly string[] } | { readonly problem: string }> {
  const folder = resolve(dirname(building.document.file), name);
  const problem = outside(folder, building);
  if (problem !== undefined) return problem;
  try {
    const names = (await readdir(folder)).filter((entry) => !entry.startsWith('.')).sort();
    if (names.length > maximumNames)
      return { problem: `the folder contains more than ${maximumNames} files` };
    building.references.set(folder, {
      names,
      digest: createHash('sha256').update(names.join('\0')).digest('hex'),
    });
    return { names };
  } catch (error) {
    const problem =
      (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'there is no such folder'
        : folderReason(error, folder);
    building.references.set(folder, { problem });
    return { problem };
  }
}

async function readOnce(file: string, limit: number): Promise<ReferencedFile> {
  try {
    return readFrom(await readPlainFile(file, limit));
  } catch (error) {
    return {
      problem:
        (error as NodeJS.ErrnoException).code === 'ENOENT'
          ? 'there is no such file'
          : fileReason(error, file),
    };
  }
}

function readFrom(bytes: Buffer): ReferencedFile {
  return { bytes, digest: createHash('sha256').update(bytes).digest('hex') };
}
