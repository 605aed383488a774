import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readPluginList } from '../../spec/plugin-list.ts';
import { createChains } from './chains.ts';
import { openResultCache } from './result-cache.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-results-'));
after(() => rmSync(folder, { recursive: true }));

test('a file whose content is no object counts as an attachment of another runtime', async () => {
  const results = join(folder, 'objects/results');
  mkdirSync(results, { recursive: true });
  for (const [index, content] of ['null', '7', '"text"'].entries())
    writeFileSync(join(results, `net-theirs${index}-eth0`), content);
  const found = await openResultCache(join(folder, 'objects')).list('net');
  assert.deepEqual(
    found.map(({ containerId, ours }) => [containerId, ours]),
    [
      ['theirs0', false],
      ['theirs1', false],
      ['theirs2', false],
    ],
  );
});

test('while the attachments of other runtimes are unknown, no plugin is called for GC', async () => {
  const cacheDir = join(folder, 'unknown');
  mkdirSync(cacheDir);
  assert.deepEqual(await openResultCache(cacheDir).list('net'), []);
  // A path that the kernel does not resolve (ELOOP).
  symlinkSync('results', join(cacheDir, 'results'));
  await assert.rejects(openResultCache(cacheDir).list('net'), { code: 'ELOOP' });

  const called: string[] = [];
  const warned: string[] = [];
  const chains = createChains({
    binDirs: [],
    cacheDir,
    callPlugin: ({ verb }) => {
      called.push(verb);
      return Promise.resolve(undefined);
    },
    log: { info: () => undefined, warn: (_fields: object, message: string) => void warned.push(message) },
  });
  const document = { cniVersion: '1.1.0', name: 'net', plugins: [{ type: 'portcullis-host-local' }] };
  const read = readPluginList(JSON.stringify(document), 'n.conflist');
  assert.equal(read.outcome, 'ok');
  await chains.collect({ way: 'in-process', list: read.list }, []);
  assert.deepEqual(called, []);
  assert.match(warned.join('\n'), /cached attachments of the network cannot be listed/u);
});
