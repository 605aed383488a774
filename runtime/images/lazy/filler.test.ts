import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { LayerChunks } from './chunk-index.ts';
import { startFiller } from './filler-client.ts';
import type { FillerClient } from './filler-client.ts';
import { whyNoPreContentEvents } from './probe.ts';
import type { LazyLayer } from './protocol.ts';

const fileBytes = 3 * 4096;
const content = Buffer.alloc(4096, 'a');
const part = gzipSync(content);
const hexOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('the filler', { skip: whyNoPreContentEvents('/var/tmp') ?? false }, () => {
  let folder: string;
  let filler: FillerClient;
  const pids: number[] = [];
  before(async () => {
    folder = mkdtempSync('/var/tmp/portcullis-filler-');
    filler = await startFiller({
      socket: `${folder}/filler.sock`,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      onState: () => undefined,
      onLost: () => undefined,
      onStarted: (pid) => void pids.push(pid),
    });
  });
  after(() => {
    filler.close();
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true });
  });

  /** Makes a file that is a hole. No registry serves its content. */
  function layerIn(name: string): LazyLayer {
    rmSync(`${folder}/${name}`, { recursive: true, force: true });
    mkdirSync(`${folder}/${name}`);
    const path = `${folder}/${name}/layer.erofs`;
    writeFileSync(path, '');
    truncateSync(path, fileBytes);
    const chunks: LayerChunks = {
      blob: { digest: `sha256:${hexOf(part)}`, size: part.length },
      diffId: `sha256:${hexOf(content)}`,
      ...{ dependent: false, archiveBytes: content.length, fileBytes },
      metadataSha256: hexOf(Buffer.from(name)),
      metadata: { digest: `sha256:${'0'.repeat(64)}`, size: 2 * 4096 },
      chunks: [{ bytes: content.length, blobBytes: part.length, sha256: hexOf(part) }],
    };
    const reference = { registry: '127.0.0.1:1', repository: 'a/b' };
    const registry = { insecureHosts: ['127.0.0.1:1'] };
    const origin = { registry, reference, credentials: undefined, places: [0] };
    return { folder: name, path, blobPath: `${folder}/${name}/blob`, chunks, origin };
  }

  it('guards the file of a layer that was removed and pulled again before it was forgotten', async () => {
    const before = layerIn('replaced');
    await filler.add(before);
    await assert.rejects(readFile(before.path), { code: 'EIO' });
    const again = layerIn('replaced');
    await filler.add(again);
    await assert.rejects(readFile(again.path), { code: 'EIO' });
  });

  it('guards the file of a layer that is forgotten and added at the same moment', async () => {
    const before = layerIn('moment');
    await filler.add(before);
    const again = layerIn('moment');
    await Promise.all([filler.forget('moment'), filler.add(again)]);
    await assert.rejects(readFile(again.path), { code: 'EIO' });
  });

  it('refuses another index for a layer that it fills', async () => {
    const layer = layerIn('other');
    await filler.add(layer);
    const chunks = { ...layer.chunks, metadataSha256: '1'.repeat(64) };
    await assert.rejects(filler.add({ ...layer, chunks }), /another index/);
  });
});
