import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { attempt } from '../../base/errors/index.ts';
import type { Settings } from '../types.ts';

/**
 * Keeps proved settings in files, so that a restart does not prove them again. Synchronous: for the prover's
 * own thread.
 */
export interface SettingsStore {
  /** Undefined: there is no entry, or it is not trusted. An untrusted entry is removed. */
  read(digest: string): Settings | undefined;
  /** Failures are silent: an entry that is not kept is created again. */
  write(digest: string, settings: Settings): void;
}

const MAX_BYTES = 4 * 1024 * 1024;
const MAX_ENTRIES = 512;
const HEADER = 32;
const halfWritten = /^[0-9a-f]{64}\.[0-9a-f]{12}$/;

/**
 * Opens a store with one file per entry, named by the digest of profile, target and `code`: another compiler
 * or prover uses different entries. The folder is created with 0700. The folder and its files are used only
 * if they belong to this user, if no other user may write or read them, if they are not links, and if they
 * contain the bytes whose SHA-256 precedes them. A file that a killed writer left incomplete is removed.
 * @param code what creates and proves the entries: the digest of its program
 */
export function openSettingsStore(folder: string, code: string): SettingsStore | undefined {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { uid, mode } = lstatSync(folder);
    if (!lstatSync(folder).isDirectory() || uid !== process.geteuid?.() || (mode & 0o077) !== 0)
      return undefined;
    for (const name of readdirSync(folder))
      if (halfWritten.test(name)) rmSync(join(folder, name), { force: true });
  } catch {
    return undefined;
  }
  const fileOf = (digest: string): string =>
    join(folder, createHash('sha256').update(`${code}\0${process.version}\0${digest}`).digest('hex'));
  return {
    read(digest) {
      const file = fileOf(digest);
      const bytes = trusted(file);
      if (bytes === undefined) return undefined;
      const entry = decoded(bytes, digest);
      if (entry === undefined) rmSync(file, { force: true });
      return entry;
    },
    write(digest, settings) {
      const file = fileOf(digest);
      const body = serialize({ digest, settings });
      const temporary = `${file}.${randomBytes(6).toString('hex')}`;
      try {
        makeRoom(folder);
        writeFileSync(temporary, Buffer.concat([createHash('sha256').update(body).digest(), body]), {
          mode: 0o600,
          flag: 'wx',
        });
        renameSync(temporary, file);
      } catch {
        rmSync(temporary, { force: true });
      }
    },
  };
}

/**
 * Returns the bytes of a file that only this user could have written; undefined if it does not exist or is
 * another file.
 */
function trusted(file: string): Buffer | undefined {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const descriptor = attempt(() => openSync(file, flags));
  if (descriptor === undefined) return undefined;
  using opened = new DisposableStack();
  opened.defer(() => closeSync(descriptor));
  const facts = fstatSync(descriptor);
  const own =
    facts.isFile() && facts.uid === process.geteuid?.() && facts.nlink === 1 && (facts.mode & 0o077) === 0;
  return own && facts.size <= MAX_BYTES ? readFileSync(descriptor) : undefined;
}

function decoded(bytes: Buffer, digest: string): Settings | undefined {
  const body = bytes.subarray(HEADER);
  if (!createHash('sha256').update(body).digest().equals(bytes.subarray(0, HEADER))) return undefined;
  const found = deserialize(body) as { readonly digest: string; readonly settings: Settings };
  return found.digest === digest && found.settings.digest === digest ? found.settings : undefined;
}

/** Removes the oldest half of the entries if there are too many. */
function makeRoom(folder: string): void {
  const names = readdirSync(folder);
  if (names.length < MAX_ENTRIES) return;
  const byAge = names
    .map((name) => ({ name, at: statSync(join(folder, name)).mtimeMs }))
    .sort((a, b) => a.at - b.at);
  for (const { name } of byAge.slice(0, MAX_ENTRIES / 2)) rmSync(join(folder, name), { force: true });
}
