import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { attempt } from '../../base/errors/index.ts';
import { deviceOf } from './cached-device.ts';

/** The entries that may lead off a folder's file system: its links, its subfolders and the links in these. */
interface Listing {
  readonly folders: readonly { readonly path: string; readonly stamp: string }[];
  readonly links: readonly string[];
  /**
   * The timestamps of a file system are coarse: a listing taken right after a change may miss the next
   * change.
   */
  readonly isSettled: boolean;
}

const tickMs = 1_000;
/** The same number of links as the kernel follows: path_resolution(7). */
const mostLinks = 40;
/** Cache by folder. A daemon has only a few folders. */
const listings = new Map<string, Listing>();

/**
 * Returns whether a link in a folder, or a subfolder, leads off its file system, or to a place that the
 * kernel's caches do not know. Synchronous. Touches only the folder's own file system.
 * @param device the device of the folder, as MAJOR:MINOR; it depends on no server
 * @throws the system's Error if the folder cannot be listed
 */
export function leadsElsewhere(folder: string, device: string): boolean {
  const stays = (path: string): boolean => deviceOf(path, (each) => each === device) === device;
  let listing = listings.get(folder);
  if (
    listing?.isSettled !== true ||
    !listing.folders.every(({ path, stamp }) => stays(path) && stampOf(path) === stamp)
  ) {
    listing = list(folder, stays);
    if (listing === undefined) return true;
    listings.set(folder, listing);
  }
  return !listing.links.every((link) => linkStays(link, stays));
}

/** Lists a folder. Returns undefined if a subfolder is on another file system. */
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

/**
 * Follows a link one step at a time, and asks the folder's own file system for what the caches do not know.
 */
function linkStays(link: string, stays: (path: string) => boolean): boolean {
  let at = link;
  for (let followed = 0; followed < mostLinks; followed += 1) {
    if (stays(at)) return true;
    if (!stays(dirname(at))) return false;
    const target = attempt(() => readlinkSync(at));
    if (target === undefined) return false;
    at = resolve(dirname(at), target);
  }
  return false;
}
