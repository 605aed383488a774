import type { Decisions } from '../engine/decisions.ts';

/** A file system as programs see it, and the part of it that is on the disk. */
export interface File {
  readonly kind: 'file';
  /** The content that readers see. */
  text: string;
  /** The content that a loss of power leaves for certain; undefined: nothing was synced yet. */
  kept: string | undefined;
  /** The file was written since it was synced. */
  isDirty: boolean;
  /** The disk refused the written data, and the kernel has reported that. */
  isLost: boolean;
}

export interface Folder {
  readonly kind: 'folder';
  readonly entries: Map<string, Inode>;
  /** Entries that a loss of power leaves for certain. */
  kept: Map<string, Inode>;
}

export type Inode = File | Folder;

interface EntryChange {
  readonly folder: Folder;
  readonly name: string;
  readonly inode: Inode | undefined;
}

/**
 * Exactly the promises of Linux about a disk. A rename is kept or lost as a whole. A change of a folder is on
 * the disk after an fsync of that folder or a syncfs; before, a loss of power may undo it, the latest first
 * or out of order, but never one change of an entry without the later changes of the same entry. The bytes of
 * a file are on the disk after an fsync of it or a syncfs; before, all, some or none are. When a sync fails,
 * the data in flight is lost, and a later sync that succeeds does not report it.
 */
export interface Disk {
  readonly root: Folder;
  /** Returns undefined when the path does not exist. */
  find(path: string): Inode | undefined;
  /** @throws an error with `code` ENOENT, or ENOTDIR */
  folder(path: string): Folder;
  file(path: string): File;
  makeFolder(path: string, recursive: boolean): void;
  /** Opens an empty file for writing. @param isNew EEXIST when the file exists */
  create(path: string, isNew: boolean): File;
  write(file: File, text: string): void;
  rename(from: string, to: string): void;
  link(from: string, to: string): void;
  /** Removes a file, or a folder without entries; with `recursive` any entry. */
  remove(path: string, options: { readonly recursive?: boolean; readonly force?: boolean }): void;
  syncFile(file: File): void;
  syncFolder(folder: Folder): void;
  syncAll(): void;
  /** Makes a sync fail. */
  loseWrites(): void;
  losePower(decisions: Decisions): void;
  /** Returns every path; folders end with a slash. */
  list(path: string): string[];
}

/** Returns the error with which Node reports a failed system call. */
export function systemError(code: string, syscall: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${syscall} ${path}`), { code, syscall, path });
}

function newFolder(): Folder {
  return { kind: 'folder', entries: new Map(), kept: new Map() };
}

const names = (path: string): string[] => path.split('/').filter((name) => name !== '');

const keep = (changes: readonly EntryChange[]): void => {
  for (const { folder: above, name, inode } of changes)
    if (inode === undefined) above.kept.delete(name);
    else above.kept.set(name, inode);
};

const list = (at: Inode, path: string): string[] =>
  at.kind === 'file'
    ? [path]
    : [`${path}/`, ...[...at.entries].flatMap(([name, below]) => list(below, `${path}/${name}`))];

/** Decides which content a loss of power leaves of a file that was not synced. */
const settle = (file: File, decisions: Decisions): void => {
  const { text } = file;
  const outcomes = [file.kept ?? '', text.slice(0, Math.floor(text.length / 2)), '', text];
  const which = file.isLost
    ? decisions.choose('bytes left of what the disk refused', 3)
    : (decisions.choose('bytes left', 4) + 3) % 4;
  file.text = outcomes[which] ?? '';
  [file.kept, file.isDirty, file.isLost] = [file.text, false, false];
};

const settleAll = (at: Inode, decisions: Decisions): void => {
  if (at.kind === 'file') {
    if (at.isDirty || at.isLost) settle(at, decisions);
    return;
  }
  at.entries.clear();
  for (const [name, below] of at.kept) {
    at.entries.set(name, below);
    settleAll(below, decisions);
  }
};

/** Keeps the changes of folders that a loss of power leaves: it may undo some of the latest, in any order. */
function keepSome(pending: readonly (readonly EntryChange[])[], decisions: Decisions): void {
  const certain =
    pending.length - decisions.choose('changes of folders that may be lost', pending.length + 1);
  const broken = new Set<string>();
  const keys = new Map<Folder, number>();
  const keyOf = ({ folder: above, name }: EntryChange): string => {
    const key = keys.get(above) ?? keys.size;
    keys.set(above, key);
    return `${key}/${name}`;
  };
  for (const [index, changes] of pending.entries()) {
    const follows = changes.some((one) => broken.has(keyOf(one)));
    if (!follows && (index < certain || decisions.weigh('a later change is kept', [0.3]) > 0)) keep(changes);
    else for (const one of changes) broken.add(keyOf(one));
  }
}

export function createDisk(): Disk {
  const root = newFolder();
  let pending: (readonly EntryChange[])[] = [];
  const dirty = new Set<File>();

  const find = (path: string): Inode | undefined => {
    let at: Inode | undefined = root;
    for (const name of names(path)) at = at?.kind === 'folder' ? at.entries.get(name) : undefined;
    return at;
  };
  const folder = (path: string): Folder => {
    const found = find(path);
    if (found === undefined) throw systemError('ENOENT', 'open', path);
    if (found.kind !== 'folder') throw systemError('ENOTDIR', 'open', path);
    return found;
  };
  const placeOf = (path: string): { readonly above: Folder; readonly name: string } => {
    const all = names(path);
    const name = all.pop() ?? '';
    return { above: folder(all.join('/')), name };
  };
  const change = (...changes: readonly EntryChange[]): void => {
    for (const { folder: above, name, inode } of changes)
      if (inode === undefined) above.entries.delete(name);
      else above.entries.set(name, inode);
    pending.push(changes);
  };
  return {
    root,
    find,
    folder,
    file: (path) => {
      const found = find(path);
      if (found === undefined) throw systemError('ENOENT', 'open', path);
      if (found.kind !== 'file') throw systemError('EISDIR', 'open', path);
      return found;
    },
    makeFolder: (path, recursive) => {
      const all = names(path);
      for (let length = recursive ? 1 : all.length; length <= all.length; length += 1) {
        const part = all.slice(0, length).join('/');
        const existing = find(part);
        if (existing?.kind === 'folder' && recursive) continue;
        if (existing !== undefined) throw systemError('EEXIST', 'mkdir', part);
        const { above, name } = placeOf(part);
        change({ folder: above, name, inode: newFolder() });
      }
    },
    create: (path, isNew) => {
      const existing = find(path);
      if (existing?.kind === 'folder') throw systemError('EISDIR', 'open', path);
      if (existing !== undefined && isNew) throw systemError('EEXIST', 'open', path);
      if (existing !== undefined) {
        [existing.text, existing.isDirty] = ['', true];
        dirty.add(existing);
        return existing;
      }
      const { above, name } = placeOf(path);
      const inode: File = { kind: 'file', text: '', kept: undefined, isDirty: true, isLost: false };
      dirty.add(inode);
      change({ folder: above, name, inode });
      return inode;
    },
    write: (file, text) => {
      [file.text, file.isDirty] = [text, true];
      dirty.add(file);
    },
    rename: (from, to) => {
      const source = placeOf(from);
      const inode = source.above.entries.get(source.name);
      if (inode === undefined) throw systemError('ENOENT', 'rename', from);
      const target = placeOf(to);
      const existing = target.above.entries.get(target.name);
      if (existing === inode) return;
      if (existing?.kind === 'folder' && existing.entries.size > 0)
        throw systemError('ENOTEMPTY', 'rename', to);
      if (existing !== undefined && existing.kind !== inode.kind)
        throw systemError(inode.kind === 'folder' ? 'ENOTDIR' : 'EISDIR', 'rename', to);
      change(
        { folder: source.above, name: source.name, inode: undefined },
        { folder: target.above, name: target.name, inode },
      );
    },
    link: (from, to) => {
      const inode = find(from);
      if (inode === undefined) throw systemError('ENOENT', 'link', from);
      if (inode.kind === 'folder') throw systemError('EPERM', 'link', from);
      const { above, name } = placeOf(to);
      if (above.entries.has(name)) throw systemError('EEXIST', 'link', to);
      change({ folder: above, name, inode });
    },
    remove: (path, { recursive = false, force = false }) => {
      const found = find(path);
      if (found === undefined) {
        if (force) return;
        throw systemError('ENOENT', 'rm', path);
      }
      if (found.kind === 'folder' && !recursive) throw systemError('EISDIR', 'rm', path);
      const { above, name } = placeOf(path);
      change({ folder: above, name, inode: undefined });
    },
    syncFile: (file) => {
      if (!file.isLost) file.kept = file.text;
      file.isDirty = false;
      dirty.delete(file);
    },
    syncFolder: (synced) => {
      const isOf = (changes: readonly EntryChange[]): boolean => changes.some((one) => one.folder === synced);
      for (const changes of pending) if (isOf(changes)) keep(changes);
      pending = pending.filter((changes) => !isOf(changes));
    },
    syncAll: () => {
      for (const changes of pending) keep(changes);
      pending = [];
      for (const file of dirty) {
        [file.kept, file.isDirty, file.isLost] = [file.text, false, false];
      }
      dirty.clear();
    },
    loseWrites: () => {
      for (const file of dirty) [file.isDirty, file.isLost] = [false, true];
      dirty.clear();
    },
    losePower: (decisions) => {
      keepSome(pending, decisions);
      pending = [];
      dirty.clear();
      settleAll(root, decisions);
    },
    list: (path) => {
      const at = find(path);
      return at?.kind === 'folder' ? [...at.entries].flatMap(([name, below]) => list(below, name)) : [];
    },
  };
}
