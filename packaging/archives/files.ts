import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A file or a symbolic link of a package. Folders follow from the paths. */
export interface PackageFile {
  /** Relative to the root of the package, such as `usr/bin/portcullis`. */
  readonly path: string;
  readonly content:
    | { readonly bytes: Uint8Array; readonly executable: boolean }
    | { readonly target: string };
}

/** Returns a file with this text. */
export function textFile(path: string, text: string, executable = false): PackageFile {
  return { path, content: { bytes: Buffer.from(text), executable } };
}

/**
 * Returns all regular files below a folder, in the order of their paths. Only the executable bit of a mode is
 * used, because the umask of the checkout decides the rest.
 * @throws Error if the folder contains something else, such as a socket
 */
export function filesBelow(folder: string, prefix = ''): PackageFile[] {
  return readdirSync(join(folder, prefix), { withFileTypes: true })
    .sort((a, b) => compare(a.name, b.name))
    .flatMap((entry) => {
      const path = join(prefix, entry.name);
      if (entry.isDirectory()) return filesBelow(folder, path);
      if (!entry.isFile()) throw new Error(`${join(folder, path)} is neither a file nor a folder`);
      const file = join(folder, path);
      const content = { bytes: readFileSync(file), executable: (statSync(file).mode & 0o100) !== 0 };
      return [{ path, content }];
    });
}

/** Orders paths by their code units, in every locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
