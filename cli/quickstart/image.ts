import { createHash, randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { arrayBuffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { mediaTypes } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';

/** A complete single-platform image in memory (image-spec: manifest.md, config.md, layer.md). */
export interface Image {
  readonly manifest: Uint8Array;
  readonly manifestDigest: string;
  readonly config: Uint8Array;
  readonly layer: Uint8Array;
  readonly layerDigest: string;
  /** Digest of the uncompressed layer. */
  readonly diffId: string;
}

const configMediaType = 'application/vnd.oci.image.config.v1+json';
const layerMediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';

/** Port in the pod that serves the page. */
export const webPort = 8080;

/** The shell is process 1, which gets a signal only when it traps it. */
const serve = `trap 'exit 0' TERM; echo "serving on port ${webPort}"; httpd -f -vv -p ${webPort} -h /www & wait`;

/** A static busybox: Debian's busybox-static, or the one that packaging/prepare unpacked. */
const busyboxPaths = ['/var/cache/portcullis/debian/bin/busybox', '/bin/busybox'];

/**
 * Builds an image that holds busybox and a page, and serves the page. No two builds share a layer: each holds
 * random bytes.
 */
export async function buildWebImage(page: string): Promise<Image> {
  const layerTar = await rootFileSystem(page);
  const layer = gzipSync(layerTar);
  const diffId = sha256(layerTar);
  const config = json({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    created: '2026-01-01T00:00:00Z',
    config: {
      Env: ['PATH=/bin'],
      Entrypoint: ['/bin/sh', '-c', serve],
      WorkingDir: '/',
    },
    rootfs: { type: 'layers', diff_ids: [diffId] },
  });
  const layerDigest = sha256(layer);
  const manifest = json({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: configMediaType, digest: sha256(config), size: config.length },
    layers: [{ mediaType: layerMediaType, digest: layerDigest, size: layer.length }],
  });
  return { manifest, manifestDigest: sha256(manifest), config, layer, layerDigest, diffId };
}

async function rootFileSystem(page: string): Promise<Buffer> {
  const busybox = busyboxPaths.find((path) => existsSync(path));
  if (busybox === undefined) {
    throw new PortcullisError({
      code: 'CLI_BUSYBOX_MISSING',
      kind: 'precondition',
      attempted: 'build the image',
      on: 'busybox',
      why: `there is none at ${busyboxPaths.join(' or ')}`,
      fix: 'run `portcullis doctor --fix`',
    });
  }
  const tar = pack();
  const mtime = new Date(0);
  for (const name of ['bin', 'etc', 'www', 'tmp'])
    tar.entry({ name: `${name}/`, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755, mtime });
  tar.entry({ name: 'bin/busybox', mode: 0o755, mtime }, readFileSync(busybox));
  for (const applet of execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n')) {
    if (applet !== '' && applet !== 'busybox')
      tar.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox', mtime });
  }
  tar.entry({ name: 'etc/passwd', mtime }, 'root:x:0:0:root:/:/bin/sh\n');
  tar.entry({ name: 'etc/group', mtime }, 'root:x:0:\n');
  tar.entry({ name: 'www/index.html', mtime }, `${page}\n`);
  tar.entry({ name: 'www/unique', mtime }, randomBytes(65_536));
  tar.finalize();
  return Buffer.from(await arrayBuffer(tar));
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
