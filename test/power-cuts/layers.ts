import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
} from 'node:fs';
import { join } from 'node:path';

/** The required content of a layer: the sum of each file, or the target of each link, by path. */
export type LayerTree = ReadonlyMap<string, string>;

/** Returns the entries below a folder. Folders count by their names. */
export function treeOf(folder: string): LayerTree {
  const tree = new Map<string, string>();
  const look = (at: string, path: string): void => {
    for (const name of readdirSync(at)) {
      const [inside, from] = [path === '' ? name : `${path}/${name}`, join(at, name)];
      const facts = lstatSync(from);
      if (facts.isDirectory()) look(from, inside);
      if (facts.isFile()) tree.set(inside, createHash('sha256').update(readFileSync(from)).digest('hex'));
      else tree.set(inside, facts.isSymbolicLink() ? `-> ${readlinkSync(from)}` : 'other');
    }
  };
  look(folder, '');
  return tree;
}

/** Returns the tree of a layer in the store, read without the daemon; undefined when there is none. */
export function storedTree(layer: string, mountPoint: string): LayerTree | undefined {
  if (existsSync(join(layer, 'fs'))) return treeOf(join(layer, 'fs'));
  const file = join(layer, 'layer.erofs');
  if (!existsSync(file)) return undefined;
  mkdirSync(mountPoint);
  try {
    execFileSync('mount', ['-t', 'erofs', '-o', 'loop,ro', file, mountPoint], { stdio: 'ignore' });
    try {
      return treeOf(mountPoint);
    } finally {
      execFileSync('umount', [mountPoint]);
    }
  } finally {
    rmdirSync(mountPoint);
  }
}

/** Returns the paths that differ, in words. */
export function differences(actual: LayerTree | undefined, wanted: LayerTree): readonly string[] {
  if (actual === undefined) return ['the layer is missing'];
  return [...new Set([...actual.keys(), ...wanted.keys()])].filter(
    (path) => actual.get(path) !== wanted.get(path),
  );
}
