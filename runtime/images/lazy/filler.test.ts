import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { statSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import type { LayerChunks } from './chunk-index.ts';
import { findFiller, startFiller } from './filler-client.ts';
import type { FillerClient } from './filler-client.ts';
import { whyNoPreContentEvents } from './probe.ts';
import type { LazyLayer } from './protocol.ts';

const fileBytes = 3 * 4096;
const content = Buffer.alloc(4096, 'a');
const part = gzipSync(content);
const hexOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Whether a process exists, and is not a zombie. */
function isRunning(pid: number): boolean {
  try {
    return !/\) Z/u.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

function depsIn(folder: string) {
  const started: number[] = [];
  const deps = {
    socket: `${folder}/filler.sock`,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    onState: () => undefined,
    onLost: () => undefined,
    onStarted: (pid: number) => void started.push(pid),
  };
  return { deps, started };
}

describe('the filler', { skip: whyNoPreContentEvents('/var/tmp') ?? false }, () => {
  let folder: string;
  let filler: FillerClient;
  let pids: readonly number[];
  before(async () => {
    folder = mkdtempSync('/var/tmp/portcullis-filler-');
    const { deps, started } = depsIn(folder);
    pids = started;
    filler = await startFiller(deps);
  });
  after(() => {
    filler.close();
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true });
  });

  /** Creates a file that consists of a hole. No registry serves its content. */
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

  it('has a socket that only its own user can access', () => {
    assert.equal(statSync(`${folder}/filler.sock`).mode & 0o077, 0);
  });

  it('continues when no descriptor is free for an event, and that read fails', async () => {
    const layer = layerIn('shortage');
    await filler.add(layer);
    await assert.rejects(readFile(layer.path), { code: 'EIO' }, 'its thread runs');
    const [pid = 0] = pids;
    const limit = (files: string): void => {
      execFileSync('prlimit', ['--pid', String(pid), `--nofile=${files}`]);
    };
    const before = /^Max open files\s+(\d+)\s+(\d+)/mu.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'));
    limit(`3:${before?.[2] ?? ''}`);
    await assert.rejects(readFile(layer.path));
    limit(`${before?.[1] ?? ''}:${before?.[2] ?? ''}`);
    await filler.add(layerIn('later'));
  });

  it('does not remove the socket of another filler when it ends', async () => {
    const other = mkdtempSync('/var/tmp/portcullis-filler-');
    const { deps, started } = depsIn(other);
    const first = await startFiller(deps);
    const [old = 0] = started;
    const second = await startFiller(deps);
    first.close();
    for (let waited = 0; isRunning(old); waited += 100) {
      assert.ok(waited < 40_000, 'the first filler ends');
      await pause(100);
    }
    assert.ok(existsSync(deps.socket));
    second.close();
    for (const pid of started.slice(2)) process.kill(pid, 'SIGKILL');
    rmSync(other, { recursive: true });
  });

  it('accepts no daemon any more while its keeper ends', async () => {
    const other = mkdtempSync('/var/tmp/portcullis-filler-');
    const { deps, started } = depsIn(other);
    (await startFiller(deps)).close();
    const [, keeper = 0] = started;
    process.kill(keeper, 'SIGSTOP');
    const find = (): Promise<FillerClient | undefined> => findFiller(deps).catch(() => undefined);
    let waited = 0;
    for (let found = await find(); found !== undefined && waited < 25_000; found = await find()) {
      found.close();
      await pause(500);
      waited += 500;
    }
    process.kill(keeper, 'SIGCONT');
    rmSync(other, { recursive: true });
    assert.ok(waited < 25_000, 'a daemon could add a layer that nothing guards');
  });

  it('answers another daemon while files of layers cannot be guarded', async () => {
    const layer = layerIn('unguardable');
    const adds = Array.from({ length: 100 }, (_, index) =>
      filler.add({ ...layer, folder: `missing${index}`, path: `${folder}/missing/layer.erofs` }),
    );
    const ends = Promise.allSettled(adds);
    const other = await findFiller({
      socket: `${folder}/filler.sock`,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      onState: () => undefined,
      onLost: () => undefined,
    });
    other?.close();
    assert.ok((await ends).every(({ status }) => status === 'rejected'));
  });

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

  it('refuses an index with other chunks for a layer that it fills', async () => {
    const layer = layerIn('chunks');
    const [chunk] = layer.chunks.chunks;
    assert.ok(chunk);
    const forged = { ...layer.chunks, chunks: [{ ...chunk, sha256: '1'.repeat(64) }] };
    await filler.add({ ...layer, chunks: forged });
    await assert.rejects(filler.add(layer), /another index/);
  });
});
