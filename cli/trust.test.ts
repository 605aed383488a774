import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { compileCache, portcullis } from '../test/fixtures/command.ts';
import type { Ended } from '../test/fixtures/command.ts';

/** Invalid uses of `portcullis trust`; valid uses are in test/e2e/publishing.test.ts. */
describe('portcullis trust', () => {
  const home = mkdtempSync(join(tmpdir(), 'portcullis-cli-trust-'));
  after(() => rmSync(home, { recursive: true }));
  const dir = join(home, 'trust');
  const environment = {
    ...compileCache,
    PATH: process.env['PATH'],
    HOME: home,
    PORTCULLIS_TRUST_DIR: dir,
    PORTCULLIS_PASSPHRASE: 'correct-horse',
  };
  const trust = (words: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Ended> =>
    portcullis(['trust', ...words], { ...environment, ...more });
  const file = (name: string, text: string): string => {
    writeFileSync(join(home, name), text);
    return join(home, name);
  };

  it('refuses an invalid collection, and creates nothing', async () => {
    const { code, output } = await trust(['init', '..', '--to', join(home, 'out')]);
    assert.equal(code, 2, output);
    assert.match(output, /\[TRUST_AUTHOR_NAME\]/u);
    assert.throws(() => readdirSync(dir), { code: 'ENOENT' });
  });

  it('creates a collection once, and publishes it with the keys of this folder', async () => {
    const begun = await trust(['init', 'pay', '--to', join(home, 'out')]);
    assert.equal(begun.code, 0, begun.output);
    assert.match(begun.output, /nothing is published yet: trust publish publishes it to .*out\n/u);
    assert.throws(() => readdirSync(join(home, 'out')), { code: 'ENOENT' });
    assert.match(
      (await trust(['init', 'pay', '--to', join(home, 'out')])).output,
      /already contains this collection/u,
    );
    const published = await trust(['publish', 'pay']);
    assert.equal(published.code, 0, published.output);
    for (const name of readdirSync(join(dir, 'private')))
      assert.equal(statSync(join(dir, 'private', name)).mode & 0o777, 0o600);
  });

  const uses: readonly { readonly words: readonly string[]; readonly code: number; readonly says: RegExp }[] =
    [
      { words: ['list', 'other'], code: 2, says: /contains no such collection/u },
      { words: ['unstage', 'other'], code: 2, says: /contains no such collection/u },
      // These read the owner's folder only.
      ...['list', 'inspect', 'unstage'].map((verb) => ({
        words: [verb, 'pay', '--insecure-registry', '127.0.0.1:5000'],
        code: 2,
        says: /unknown option '--insecure-registry'/u,
      })),
      {
        words: ['add', 'pay', 'a'],
        code: 2,
        says: /name one of FILE, --image REFERENCE or --digest DIGEST/u,
      },
      { words: ['add', 'pay', '', 'FILE'], code: 2, says: /'' is invalid for argument 'target'/u },
      {
        words: ['add', 'pay', 'a', 'FILE', '--custom', 'FILE'],
        code: 2,
        says: /read custom data of the target.*CLI_FILE_UNREADABLE/u,
      },
      {
        words: ['add', 'pay', 'a', 'FILE', '--custom', 'HALF'],
        code: 2,
        says: /not a whole number.*TRUST_AUTHOR_NOT_IN_DIALECT/u,
      },
      {
        words: ['add', 'pay', 'a', '--digest', 'sha256:abc', '--length', '1'],
        code: 2,
        says: /--digest sha256:HEX --length BYTES/u,
      },
      {
        words: ['rotate', 'pay', 'root', '--server-managed'],
        code: 2,
        says: /a service never holds root keys/u,
      },
      { words: ['rotate', 'pay', 'targets', '--threshold', '2'], code: 2, says: /TRUST_AUTHOR_THRESHOLD/u },
      {
        words: ['delegate', 'add', 'pay', 'targets/a', '--role-key', 'DIR/none', '--all-paths'],
        code: 2,
        says: /there is no such file; name a public key, a certificate/u,
      },
      { words: ['publish', 'pay', '--expiry', 'soon'], code: 2, says: /ROLE=DURATION/u },
      {
        words: ['archive', 'verify', 'FILE', '--archive-key', 'FILE'],
        code: 2,
        says: /read public key .*: it is not PEM.*TRUST_KEY_UNREADABLE/u,
      },
      {
        words: ['archive', 'load', 'FILE', 'registry.example.com/app:1', '--archive-key', 'DIR'],
        code: 2,
        says: /it is a folder.*TRUST_KEY_UNREADABLE/u,
      },
      {
        words: ['publish', 'pay', '--expiry', 'timestmp=24h'],
        code: 2,
        says: /timestmp: the collection has no such role/u,
      },
      {
        words: ['init', 'other', '--expiry', 'timestmp=24h'],
        code: 2,
        says: /--expiry timestmp: roles are root, /u,
      },
      {
        words: ['serve', '--listen', 'nowhere', '--data', 'DIR/service'],
        code: 2,
        says: /TRUST_SERVICE_LISTEN/u,
      },
      {
        words: ['serve', '--listen', ':0', '--data', 'DIR/service', '--tls-cert', 'FILE'],
        code: 2,
        says: /belong together/u,
      },
      {
        words: [
          'serve',
          '--listen',
          ':0',
          '--data',
          'DIR/service',
          '--tls-cert',
          'FILE',
          '--tls-key',
          'FILE',
        ],
        code: 2,
        says: /read TLS certificate .*\/file: it has no certificate that can be read.*CLI_TLS_UNREADABLE/u,
      },
    ];
  it('exits as documented, says why, and stages nothing when it is used incorrectly', async () => {
    const given = { FILE: file('file', 'no JSON'), HALF: file('half.json', '{"a":1.5}') };
    for (const { words, code, says } of uses) {
      const ended = await trust(
        words.map((word) => given[word as keyof typeof given] ?? word.replace('DIR', home)),
      );
      assert.equal(ended.code, code, `${words.join(' ')}: ${ended.output}`);
      assert.match(ended.output, says, words.join(' '));
      assert.doesNotMatch(ended.output, /CLI_FAILED|\n\s+at /u);
    }
    assert.match((await trust(['publish', 'pay'])).output, /everything is published already/u);
  });

  it('signs with a new local key after a rotation to a service was staged by mistake', async () => {
    assert.equal((await trust(['rotate', 'pay', 'timestamp', '--server-managed'])).code, 0);
    const refused = await trust(['publish', 'pay']);
    assert.equal(refused.code, 2, refused.output);
    assert.match(refused.output, /sign here with a key .*: portcullis trust rotate pay timestamp/u);
    assert.equal((await trust(['rotate', 'pay', 'timestamp'])).code, 0);
    const published = await trust(['publish', 'pay']);
    assert.equal(published.code, 0, published.output);
  });

  it('warns before it serves every client that reaches an address, and not on loopback', async () => {
    // The folder cannot be created, so the command ends.
    const data = ['--data', join(file('no-folder', ''), 'service')];
    const warned = /every client that reaches this address may publish and delete/u;
    assert.match((await trust(['serve', '--listen', ':0', ...data])).output, warned);
    assert.match((await trust(['serve', '--listen', '0.0.0.0:0', ...data])).output, warned);
    for (const local of ['127.0.0.1:0', '[::1]:0', 'localhost:0'])
      assert.doesNotMatch((await trust(['serve', '--listen', local, ...data])).output, warned);
  });

  it('signs nothing with a wrong passphrase, and everything with the right one afterwards', async () => {
    assert.equal((await trust(['add', 'pay', 'a', file('file', 'x')])).code, 0);
    const wrong = await trust(['publish', 'pay'], { PORTCULLIS_PASSPHRASE: 'battery-staple' });
    assert.equal(wrong.code, 2, wrong.output);
    assert.match(wrong.output, /TRUST_KEYSTORE_UNREADABLE/u);
    assert.doesNotMatch(wrong.output, /correct-horse|battery-staple/u);
    const right = await trust(['publish', 'pay', '--output', 'json']);
    assert.equal(right.code, 0, right.output);
  });
});
