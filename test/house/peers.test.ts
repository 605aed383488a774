import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');
const script = join(root, 'test/peers/get');
const text = readFileSync(script, 'utf8');

/** The names that the script builds: the patterns of its case. */
const built = [...text.matchAll(/^ {2}([a-z\d|-]+)\) /gmu)].flatMap(([, names = '']) => names.split('|'));

test('test/peers/get builds every peer that it lists', () => {
  const [, listed = ''] = /NAME: ([^\n]+)/u.exec(text) ?? [];
  for (const name of listed.split(' ')) assert.ok(built.includes(name), name);
});

test('test/peers/get builds every peer that a script or a document asks for', () => {
  const asked = new Set<string>();
  for (const path of ['package.json', ...globSync('docs/**/*.md', { cwd: root })])
    for (const [, names = ''] of readFileSync(join(root, path), 'utf8').matchAll(
      /test\/peers\/get ([^&;|"`\n]+)/gu,
    ))
      for (const name of names.trim().split(' ')) if (/^[a-z]/u.test(name)) asked.add(name);
  assert.ok(asked.size > 20, 'the texts name peers');
  for (const name of asked) assert.ok(built.includes(name), name);
});

test('test/peers/get refuses a peer that it does not know', () => {
  const { status, stderr } = spawnSync('bash', [script, 'no-such-peer'], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], PEERS: '/tmp/pc-no-peers' },
  });
  assert.equal(status, 2);
  assert.match(stderr, /no peer is called no-such-peer/u);
});

test('test/peers/get builds a peer again that was built without optimization, unless it may be so', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-peers-'));
  t.after(() => rmSync(folder, { recursive: true }));
  // Writes its flags into the program that it builds.
  const go =
    '#!/bin/sh\nwhile [ $# -gt 1 ]; do [ "$1" = -o ] && { echo "$GOFLAGS" > "$2"; chmod +x "$2"; }; shift; done\n';
  writeFileSync(join(folder, 'go'), go, { mode: 0o755 });
  const get = (quick: string): string => {
    const { status, stderr } = spawnSync('bash', [script, 'crictl'], {
      encoding: 'utf8',
      env: { PATH: `${folder}:${process.env['PATH'] ?? ''}`, PEERS: folder, PEERS_QUICK: quick },
    });
    assert.equal(status, 0, stderr);
    return readFileSync(join(folder, 'bin/crictl'), 'utf8').trim();
  };
  const quick = "-mod=mod '-gcflags=all=-N -l'";
  assert.deepEqual(
    ['1', '1', '', '1'].map((each) => get(each)),
    [quick, quick, '-mod=mod', '-mod=mod'],
  );
});
