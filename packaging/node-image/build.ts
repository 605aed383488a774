import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatManifest, imageParts, manifestName } from '../../node/index.ts';
import type { ImagePart, NodeImageManifest } from '../../node/index.ts';
import { buildArtifacts, releaseTime } from '../artifacts/artifacts.ts';
import { writeBootPartition } from './boot-partition.ts';
import { writeDisk } from './disk.ts';
import { guidOf } from './gpt.ts';
import { initialFileSystem, initialModules } from './initial-files.ts';
import { bootPackages, fetchPackages, onlyFile, unpackTools } from './packages.ts';
import type { RunTool } from './packages.ts';
import type { ReadRecipe, Recipe } from './recipe.ts';
import { mountPoints, rootFiles } from './root-files.ts';
import { writeTree } from './tree.ts';
import { verityBlock, verityTree } from './verity.ts';
import type { VerityTree } from './verity.ts';

/** The disk of a new machine. */
export const diskName = 'disk.raw';

export interface BuildOptions {
  readonly recipe: ReadRecipe;
  /** Our own .deb. Without it, the package is built from this checkout. */
  readonly package?: string;
}

/**
 * Builds a node image into `folder`: the parts of an update with their manifest, and the disk of a new
 * machine. The same checkout, recipe and lock file give the same bytes. `portcullis node image sign` signs
 * the manifest.
 * @throws Error if something cannot be built, if a package differs from what is recorded, or if the root does
 * not fit into a slot
 */
export async function buildNodeImage(
  folder: string,
  { recipe: read, package: given }: BuildOptions,
): Promise<NodeImageManifest> {
  const { recipe } = read;
  const time = releaseTime();
  const work = mkdtempSync(join(tmpdir(), 'pc-node-image-'));
  try {
    const debs = fetchPackages(read);
    const run = unpackTools(debs, join(work, 'tools'), time);
    const tree = join(work, 'root');
    writeTree(
      tree,
      await rootFiles(read, debs, given ?? (await ownPackage(join(work, 'package')))),
      mountPoints,
    );
    const modules = initialModules(tree, recipe.kernel, run);
    const image = fileSystem(tree, join(work, 'root.erofs'), recipe, time, run);
    const verity = verityTree(image);
    const parts: Readonly<Record<ImagePart, Buffer>> = {
      root: Buffer.concat([image, verity.tree]),
      kernel: await onlyFile(debs, recipe.kernel.package, /^boot\/vmlinuz-/u),
      initial: await initialFileSystem(debs, modules),
    };
    const manifest = manifestOf(recipe, parts, verity);
    const boot = join(work, 'boot.img');
    const loader = await onlyFile(debs, bootPackages.loader, /\/systemd-bootx64\.efi$/u);
    writeBootPartition(boot, { manifest, loader, ...parts }, run, work);
    mkdirSync(folder, { recursive: true });
    for (const [part, name] of Object.entries(imageParts))
      writeFileSync(join(folder, name), parts[part as ImagePart]);
    writeFileSync(join(folder, manifestName), formatManifest(manifest));
    writeDisk(join(folder, diskName), recipe, readFileSync(boot), parts.root);
    return manifest;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Builds our own package from this checkout. */
async function ownPackage(folder: string): Promise<string> {
  const names = await buildArtifacts(folder, { types: false, architectures: ['amd64'] });
  return join(folder, names.find((name) => name.endsWith('_amd64.deb')) ?? '');
}

/**
 * Writes the file system of the root with mkfs.erofs: compressed, since a compressed block is also hashed
 * less (docs/decisions/0138).
 */
function fileSystem(tree: string, file: string, { metadata }: Recipe, time: number, run: RunTool): Buffer {
  const form = ['-zlz4hc', '-C65536', '-x-1', '--all-root'];
  run('mkfs.erofs', [...form, `-T${time}`, `-U${guidOf(`${metadata.name}/root`)}`, file, tree]);
  const image = readFileSync(file);
  return Buffer.concat([image, Buffer.alloc((verityBlock - (image.length % verityBlock)) % verityBlock)]);
}

function manifestOf(
  { metadata: { name }, version, kernel }: Recipe,
  parts: Readonly<Record<ImagePart, Buffer>>,
  { rootHash, salt, dataBlocks }: VerityTree,
): NodeImageManifest {
  const partOf = (bytes: Buffer) => ({
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  });
  const { root, kernel: kernelBytes, initial } = parts;
  return {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'NodeImageManifest',
    ...{ name, version, architecture: 'amd64', commandLine: kernel.commandLine },
    parts: { root: partOf(root), kernel: partOf(kernelBytes), initial: partOf(initial) },
    verity: { rootHash, salt, dataBlocks },
  };
}
