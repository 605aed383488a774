import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRegistries } from '../registries/registry-access.ts';
import { openOwner } from './owner.ts';
import type { Owner } from './owner.types.ts';
import { readPublished } from './publish.ts';
import { folderDestination } from './to-folder.ts';

const add = (path: string, digit: string) =>
  ({
    ...{ kind: 'add' as const, role: 'targets', path },
    file: { length: 1, hashes: { sha256: digit.repeat(64) }, custom: undefined },
  }) as const;
const publish = (owner: Owner) => owner.publish({ to: [], countersign: false, expiry: {} });
const rotate = (owner: Owner) => owner.rotate('timestamp', { files: [], threshold: 1 });

const name = 'registry.example.com/pay/app';

/** Runs `body` with an owner of a collection in two folders: the second has got no publish but the first. */
async function withLatePlace(
  body: (owner: Owner, first: string, second: string, home: string) => Promise<void>,
): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'tuf-sending-'));
  const [first, second] = [join(home, 'first'), join(home, 'second')];
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const owner = await openOwner({
    ...{ folder: join(home, 'keys'), name, registries, now: new Date() },
    ...{ passphrase: { environment: { PORTCULLIS_PASSPHRASE: 'words' } }, signers: [] },
  });
  try {
    const rest = { keys: {}, expiry: {}, localKeys: true };
    await owner.init({ dialects: ['tuf'], destinations: [first, second], ...rest });
    await owner.stage(add('1.0', 'a'));
    await publish(owner);
    // A file cannot take the name of a folder.
    mkdirSync(join(second, '2.targets.json'));
    await owner.stage(add('2.0', 'b'));
    await rotate(owner);
    await assert.rejects(publish(owner), { code: 'TRUST_AUTHOR_DESTINATION' });
    await body(owner, first, second, home);
    await publish(owner);
    for (const place of [first, second]) {
      const known = new Map([['root', readFileSync(join(place, '1.root.json'))]]);
      const read = await readPublished('tuf', folderDestination(place).source('tuf'), known);
      assert.ok(read?.standing.get('timestamp')?.equals(readFileSync(join(first, 'timestamp.json'))), place);
    }
  } finally {
    await owner.close();
    await registries.close();
    rmSync(home, { recursive: true });
  }
}

/** As a publish that is killed after these files, or meets a full disk. */
const bring = (files: readonly string[], from: string, to: string): void => {
  for (const file of files) {
    rmSync(join(to, file), { recursive: true, force: true });
    cpSync(join(from, file), join(to, file));
  }
};

test('a place that got the first of two new roots gets the other files with the next publish', () =>
  withLatePlace(async (owner, first, second) => {
    await rotate(owner);
    await assert.rejects(publish(owner), { code: 'TRUST_AUTHOR_DESTINATION' });
    bring(['2.targets.json', '2.snapshot.json', '2.root.json'], first, second);
  }));

test('a place that got a root of an earlier publish gets the other files with the next publish', () =>
  withLatePlace(async (owner, first, second) => {
    mkdirSync(join(second, '3.targets.json'));
    await owner.stage(add('3.0', 'c'));
    await assert.rejects(publish(owner), { code: 'TRUST_AUTHOR_DESTINATION' });
    bring(['3.targets.json', '3.snapshot.json', '2.root.json'], first, second);
  }));

test('a place that got a new root, and that later publishes left out, gets the other files when it is back', () =>
  withLatePlace(async (owner, first, second, home) => {
    bring(['2.targets.json', '2.snapshot.json', '2.root.json'], first, second);
    const settings = join(home, 'keys/collections', encodeURIComponent(name), 'collection.json');
    const saved = readFileSync(settings, 'utf8');
    writeFileSync(settings, saved.replace(`,\n    ${JSON.stringify(second)}`, ''));
    await owner.stage(add('3.0', 'c'));
    assert.deepEqual(
      (await publish(owner)).sent.map(({ address }) => address),
      [first],
    );
    writeFileSync(settings, saved);
  }));
