import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { MatrixLayer } from './matrix.ts';

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Writes an image as an OCI layout into a new folder, under a tag and under a name for containerd. */
export function writeLayout(folder: string, layers: readonly MatrixLayer[], tag: string, name: string): void {
  const isDocker = layers.some(({ mediaType }) => mediaType.startsWith('application/vnd.docker.'));
  const put = (bytes: Uint8Array, mediaType: string): { mediaType: string; digest: string; size: number } => {
    const digest = sha256(bytes);
    writeFileSync(`${folder}/blobs/sha256/${digest.slice('sha256:'.length)}`, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const putJson = (value: object, mediaType: string): ReturnType<typeof put> =>
    put(Buffer.from(JSON.stringify(value)), mediaType);
  mkdirSync(`${folder}/blobs/sha256`, { recursive: true });
  writeFileSync(`${folder}/oci-layout`, JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const descriptors = layers.map(({ blob, mediaType }) => put(blob, mediaType));
  const config = putJson(
    {
      os: 'linux',
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      config: { Cmd: ['/bin/sh'] },
      rootfs: { type: 'layers', diff_ids: layers.map(({ tar }) => sha256(tar)) },
    },
    isDocker ? 'application/vnd.docker.container.image.v1+json' : 'application/vnd.oci.image.config.v1+json',
  );
  const type = isDocker
    ? 'application/vnd.docker.distribution.manifest.v2+json'
    : 'application/vnd.oci.image.manifest.v1+json';
  const manifest = putJson({ schemaVersion: 2, mediaType: type, config, layers: descriptors }, type);
  const annotations = { 'org.opencontainers.image.ref.name': tag, 'io.containerd.image.name': name };
  writeFileSync(
    `${folder}/index.json`,
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
}
