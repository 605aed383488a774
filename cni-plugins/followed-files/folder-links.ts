import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { deviceOf } from './cached-device.ts';

/** What may lead off a folder's file system: its links, its folders and the links in these. */
interface Listing {
  readonly folders: readonly { readonly path: string; readonly stamp: string }[];
  readonly links: readonly string[];
  /** A file system's clock ticks coarsely: what was listed so soon after a change may have missed the next one. */
  readonly isSettled: boolean;
}

const tickMs = 1_000;
/** As many as the kernel follows: path_resolution(7). */
const mostLinks = 40;
/** By folder; a daemon has a few. */
const listings = new Map<string, Listing>();

/**
 * Whether a link in a folder, or a folder in it, leads off its file system, or to where the kernel's caches do not say. Synchronous. Touches no
 * other file system than that of the folder.
 * @param device of the folder, as MAJOR:MINOR; one that needs nobody
 * @throws Error of the system where the folder cannot be listed
 */
export function leadsElsewhere(folder: string, device: string): boolean {
  const stays = (path: string): boolean => deviceOf(path, (each) => each === device) === device;
  let listing = listings.get(folder);
  if (listing?.isSettled !== true || !listing.folders.every(({ path, stamp }) => stays(path) && stampOf(path) === stamp)) {
    listing = list(folder, stays);
    if (listing === undefined) return true;
    listings.set(folder, listing);
  }
  return !listing.links.every((link) => linkStays(link, stays));
}

/** Undefined: a folder in it is on another file system. */
function list(folder: string, stays: (path: string) => boolean): Listing | undefined {
  const before = Date.now() - tickMs;
  const folders: { path: string; stamp: string; changedMs: number }[] = [];
  const links: string[] = [];
  const read = (path: string): string[] => {
    const { mtimeMs } = statSync(path);
    folders.push({ path, stamp: stampOf(path), changedMs: mtimeMs });
    const entries = readdirSync(path, { withFileTypes: true });
    for (const entry of entries) if (entry.isSymbolicLink()) links.push(join(path, entry.name));
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(path, name));
  };
  try {
    for (const inner of read(folder)) {
      if (!stays(inner)) return undefined;
      read(inner);
    }
  } catch (thrown) {
    if (!['ENOENT', 'ENOTDIR'].includes((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
    return { folders: [], links: [], isSettled: false };
  }
  return { folders, links, isSettled: folders.every(({ changedMs }) => changedMs < before) };
}

function stampOf(path: string): string {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? '' : `${stats.ino} ${stats.mtimeNs}`;
}

/** What the caches do not know of a link is asked of the folder's own file system, link by link. */
function linkStays(link: string, stays: (path: string) => boolean): boolean {
  let at = link;
  for (let followed = 0; followed < mostLinks; followed += 1) {
    if (stays(at)) return true;
    if (!stays(dirname(at))) return false;
    try {
      at = resolve(dirname(at), readlinkSync(at));
    } catch {
      return false;
    }
  }
  return false;
}
