// Builds an image with one layer from a folder, and pushes it to a registry that asks for no password:
//   node push-image.mjs ./rootfs 127.0.0.1:5000/shop/web:1 /bin/httpd -f -p 8080
// Use buildah or docker for real images. This example shows what an image is: a layer, a configuration and a manifest.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

const [folder = '', reference = '', ...command] = process.argv.slice(2);
const [, host, name, tag] = /^([^/]+)\/(.+):([^:/]+)$/.exec(reference) ?? [];
if (host === undefined || command.length === 0)
  throw new Error('usage: push-image.mjs FOLDER HOST/NAME:TAG COMMAND…');
const types = 'application/vnd.oci.image';
const digestOf = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

async function send(method, address, type, body) {
  const answer = await fetch(new URL(address, `http://${host}`), {
    method,
    headers: { 'content-type': type },
    body,
  });
  if (!answer.ok)
    throw new Error(`${method} ${address}: the registry answered ${answer.status}: ${await answer.text()}`);
  return answer;
}

// distribution-spec, "Pushing blobs": POST then PUT.
async function pushBlob(bytes) {
  const started = await send('POST', `/v2/${name}/blobs/uploads/`, 'application/octet-stream');
  const address = new URL(started.headers.get('location'), `http://${host}`);
  address.searchParams.set('digest', digestOf(bytes));
  await send('PUT', address, 'application/octet-stream', bytes);
  return { digest: digestOf(bytes), size: bytes.length };
}

const packed = spawnSync(
  'tar',
  ['--create', '--owner=0', '--group=0', '--numeric-owner', '--directory', folder, '.'],
  {
    maxBuffer: 2 ** 30,
  },
);
if (packed.status !== 0) throw new Error(`tar: ${packed.stderr}`);
const config = {
  architecture: process.arch === 'x64' ? 'amd64' : process.arch,
  os: 'linux',
  config: { Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], Entrypoint: command },
  rootfs: { type: 'layers', diff_ids: [digestOf(packed.stdout)] },
};
const manifest = {
  schemaVersion: 2,
  mediaType: `${types}.manifest.v1+json`,
  config: { mediaType: `${types}.config.v1+json`, ...(await pushBlob(Buffer.from(JSON.stringify(config)))) },
  layers: [{ mediaType: `${types}.layer.v1.tar+gzip`, ...(await pushBlob(gzipSync(packed.stdout))) }],
};
const bytes = Buffer.from(JSON.stringify(manifest));
await send('PUT', `/v2/${name}/manifests/${tag}`, manifest.mediaType, bytes);
console.log(`pushed ${reference} ${digestOf(bytes)}`);
