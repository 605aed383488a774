import { chmod, mkdir } from 'node:fs/promises';

/** The folders of the image store; every folder has mode 0700. */
export interface StoreFolders {
  readonly root: string;
  /** Blobs of pulls in progress: not admitted, not usable. */
  readonly ingest: string;
  /** Layers that are being unpacked. */
  readonly staging: string;
  /** Compressed layers of recorded images, by digest; layers are repaired from them. */
  readonly blobs: string;
  /** Layers: `<hex>/fs` and `<hex>/files.ndjson`, or `<hex>/layer.erofs`. */
  readonly layers: string;
  /** Containers: `<id>/{upper,work,merged,layers.json}`. */
  readonly rootfs: string;
  /** Images mounted as volumes: `<container>/<n>/{tree,layers.json}`. */
  readonly volumes: string;
  /** Mount points of layer files, on kernels whose overlays require mounts with a path. */
  readonly mounts: string;
  /** Files that are being deleted. */
  readonly trash: string;
  /** The lower folder of an image without layers. */
  readonly empty: string;
}

export function storeFolders(root: string): StoreFolders {
  return {
    root,
    ingest: `${root}/ingest`,
    staging: `${root}/staging`,
    blobs: `${root}/blobs/sha256`,
    layers: `${root}/layers`,
    rootfs: `${root}/rootfs`,
    volumes: `${root}/volumes`,
    mounts: `${root}/mounts`,
    trash: `${root}/trash`,
    empty: `${root}/empty`,
  };
}

export async function makeStoreFolders(folders: StoreFolders): Promise<void> {
  for (const folder of [
    folders.root,
    `${folders.root}/blobs`,
    folders.ingest,
    folders.staging,
    folders.blobs,
    folders.layers,
    folders.rootfs,
    folders.volumes,
    folders.mounts,
    folders.trash,
  ]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await chmod(folder, 0o700);
  }
  await mkdir(folders.empty, { recursive: true, mode: 0o755 });
  await chmod(folders.empty, 0o755);
}

/** The blob of a layer that is filled later, in the layer's folder until it is complete. */
export const lazyBlobName = 'blob';

/** Returns the folder name of a digest: its hex digits. */
export function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}
