import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import manifest from '../../package.json' with { type: 'json' };
import { mockIssuer, mockSubject, startMockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import { portcullis, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { makeKey } from '../fixtures/stage.ts';
import { checkOut, inCheckout } from './checkout.ts';

const { version } = manifest;
const names = ['fleet', 'node-installer', 'trust', 'webhook'];
const policies = join(import.meta.dirname, '../../packaging/policies');
const skip = process.getuid?.() === 0 ? false : 'needs root, for mounts and another host name';
const gpgFiles = /^apt\/(?:portcullis-archive-keyring\.asc|dists\/stable\/(?:InRelease|Release\.gpg))$/u;

describe('a release from one command', { skip, timeout: 3_000_000 }, () => {
  let folder = '';
  let registry: TestRegistry;
  let services: MockSigstore;
  /** The output of the command: the files of the artifact. */
  let printed: readonly string[] = [];
  const at = (name: string): string => join(folder, name);
  const first = (): string => at('first');
  const second = (): string => at('a/longer path/to the/second');
  const built = (path: string): string => join(first(), 'dist/release', path);
  const succeed = ({ code, output, stdout }: Ended): string => {
    assert.equal(code, 0, output);
    return stdout;
  };
  const build = (where: string, words: readonly string[], other: boolean): Promise<Ended> =>
    inCheckout(
      where,
      ['npm', 'run', 'release', '--', '--registry', `${registry.host}/portcullis`, ...words],
      { other, env: { GNUPGHOME: at('gnupg') } },
    );
  const publish = (words: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> =>
    inCheckout(first(), ['npm', 'run', 'release:publish', '--', ...words], {
      env: { ...env, HOME: at('home') },
    });
  const withKey = (): NodeJS.ProcessEnv => ({ PORTCULLIS_KEY: at('release.key') });
  const withoutKey = (subject = mockSubject): NodeJS.ProcessEnv => {
    writeFileSync(at('token'), `${services.token({ rekor: 2, subject })}c2ln`);
    return { PORTCULLIS_IDENTITY_TOKEN_FILE: at('token'), PORTCULLIS_SIGNING_CONFIG: at('signing.json') };
  };
  const ask = (verb: 'admit' | 'verify', reference: string, policy: string, ...words: readonly string[]) =>
    portcullis([verb, reference, '--policy', at(policy), '--trust-state', at('state'), ...words]);
  const release = (path = 'portcullis'): string => `${registry.host}/${path}/release:${version}`;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-whole-release-'));
    for (const name of ['gnupg', 'home']) mkdirSync(at(name), { mode: 0o700 });
    registry = await startRegistry();
    services = await startMockSigstore();
    await makeKey(at('release.key'), at('release.pub'));
    const policy = (file: string): string =>
      readFileSync(join(policies, file), 'utf8').replace('registry.example.com', registry.host);
    writeFileSync(at('release.yaml'), policy('release.yaml'));
    writeFileSync(
      at('keyless.yaml'),
      policy('release-keyless.yaml')
        .replace('/portcullis/*', '/keyless/*')
        .replace(/issuer: .*/u, `issuer: ${mockIssuer}\n            root: root.json`)
        .replace(/subject: .*/u, `subject: ${mockSubject}`),
    );
    writeFileSync(at('root.json'), JSON.stringify(services.trustedRoot()));
    writeFileSync(at('signing.json'), JSON.stringify(services.signingConfig({ rekor: 2 })));
    const gpg = (...words: readonly string[]): Promise<Ended> =>
      runProgram('gpg', ['--batch', ...words], { PATH: process.env['PATH'], GNUPGHOME: at('gnupg') });
    succeed(await gpg('--passphrase', '', '--quick-generate-key', 'release@example.com', 'ed25519', 'sign'));
    checkOut(first());
    checkOut(second());
    const lines = succeed(await build(first(), ['--gpg-key', 'release@example.com'], false)).split('\n');
    printed = lines.flatMap((line) => /^dist\/release\/(.+)$/u.exec(line)?.slice(1) ?? []);
  });
  after(async () => {
    await runProgram('gpgconf', ['--kill', 'all'], {
      PATH: process.env['PATH'],
      GNUPGHOME: at('gnupg'),
    });
    await registry.close();
    await services.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('has packages for both architectures, images, chart, bases, schemas, extension, SBOMs and provenance', () => {
    const boms = [
      ...names,
      ...['amd64', 'arm64'].map((architecture) => `portcullis_${version}_${architecture}`),
      `portcullis-${version}`,
    ];
    const expected = [
      ...['amd64', 'arm64'].map((architecture) => `portcullis_${version}_${architecture}.deb`),
      ...['', '-chart', '-kustomize', '-schemas'].map((part) => `portcullis${part}-${version}.tgz`),
      ...boms.flatMap((name) => [`${name}.spdx.json`, `${name}.cdx.json`]),
      ...[`portcullis-${version}.vsix`, 'provenance.json', 'release-notes.md', 'images.json', 'SHA256SUMS'],
    ];
    assert.deepEqual(
      printed.filter((path) => !path.startsWith('apt/')),
      expected.sort(),
    );
    for (const path of ['InRelease', 'Release', 'Release.gpg', 'main/binary-arm64/Packages.gz'])
      assert.ok(printed.includes(`apt/dists/stable/${path}`), path);
    assert.equal(readFileSync(built('release-notes.md'), 'utf8').split('\n')[0], `# Portcullis ${version}`);
  });

  it('has the same bytes from another checkout, path, umask, time zone, locale and host', async () => {
    succeed(await build(second(), [], true));
    const [one, two] = [sumsBelow(join(first(), 'dist/release')), sumsBelow(join(second(), 'dist/release'))];
    assert.ok(Object.keys(one).some((path) => path.startsWith('images/blobs/sha256/')));
    const withoutGpg = Object.entries(one).filter(([path]) => !gpgFiles.test(path));
    assert.deepEqual(two, Object.fromEntries(withoutGpg));
    const check = ['-c', 'cd "$1" && sha256sum --check --strict --quiet SHA256SUMS', 'sh', built('')];
    succeed(await runProgram('sh', check, { PATH: process.env['PATH'] }));
  });

  it('is published by our own pipeline with a key, and each file and image is admitted', async () => {
    assert.equal((await ask('verify', release(), 'release.yaml')).code, 4, 'nothing is published yet');
    const published = succeed(await publish(['--policy', at('release.yaml')], withKey()));
    const references = [...names.map((name) => `${registry.host}/portcullis/${name}:${version}`), release()];
    for (const reference of references) {
      const name = reference.slice(0, reference.lastIndexOf(':'));
      assert.match(published, new RegExp(`^${name}@sha256:[0-9a-f]{64}$`, 'mu'));
      succeed(await ask('admit', reference, 'release.yaml'));
    }
    const files = printed.flatMap((path) => ['--file', built(path)]);
    const output = succeed(await ask('verify', release(), 'release.yaml', ...files));
    assert.equal(output.match(/^verified /gmu)?.length, printed.length);
  });

  it('refuses each file if one byte differs', async () => {
    const files = printed.map((path, index) => {
      const changed = at(`changed-${index}-${basename(path)}`);
      writeFileSync(changed, flipped(readFileSync(built(path))));
      return changed;
    });
    const words = files.flatMap((file) => ['--file', file]);
    const { code, stdout, output } = await ask('verify', release(), 'release.yaml', ...words);
    for (const file of files) rmSync(file);
    assert.equal(code, 1, output);
    assert.doesNotMatch(stdout, /^verified /mu);
    for (const file of files) assert.ok(stdout.includes(`REFUSED  ${file}: its digest `), file);
  });

  it('pushes no image if one byte of a blob differs', async () => {
    const layout = at('images');
    cpSync(built('images'), layout, { recursive: true });
    for (const blob of readdirSync(join(layout, 'blobs/sha256'))) {
      const file = join(layout, 'blobs/sha256', blob);
      const bytes = readFileSync(file);
      const owner = names.find((name) => blobsOf(built('images'), name).has(blob));
      assert.ok(owner !== undefined, `${blob} belongs to an image`);
      writeFileSync(file, flipped(bytes));
      // A push omits blobs that the repository already has.
      const tag = `${registry.host}/portcullis/changed-${blob.slice(0, 12)}:1`;
      const { code, output } = await portcullis(['images', 'push', layout, tag, '--image', owner]);
      assert.notEqual(code, 0, `${blob}: ${output}`);
      assert.notEqual((await ask('admit', tag, 'release.yaml')).code, 0);
      writeFileSync(file, bytes);
    }
  });

  it('is not published when a file differs from what was built', async () => {
    const path = `portcullis-schemas-${version}.tgz`;
    const bytes = readFileSync(built(path));
    writeFileSync(built(path), flipped(bytes));
    const { code, output } = await publish(['--policy', at('release.yaml')], withKey());
    writeFileSync(built(path), bytes);
    assert.equal(code, 4, output);
    assert.match(output, /portcullis-schemas-\S+ differs from what SHA256SUMS lists/u);
  });

  it('is published without a key, by the identity of the pipeline', async () => {
    const registryOption = ['--registry', `${registry.host}/keyless`];
    succeed(await publish(['--policy', at('keyless.yaml'), ...registryOption], withoutKey()));
    for (const name of [...names, 'release'])
      succeed(await ask('admit', `${registry.host}/keyless/${name}:${version}`, 'keyless.yaml'));
    const deb = `portcullis_${version}_amd64.deb`;
    const changed = at(`other-${deb}`);
    writeFileSync(changed, flipped(readFileSync(built(deb))));
    succeed(await ask('verify', release('keyless'), 'keyless.yaml', '--file', built(deb)));
    const refused = await ask('verify', release('keyless'), 'keyless.yaml', '--file', changed);
    assert.equal(refused.code, 1, refused.output);
  });

  it('stops at the gate when another pipeline signs it', async () => {
    const policy = readFileSync(at('keyless.yaml'), 'utf8').replace('/keyless/*', '/stolen/*');
    writeFileSync(at('stolen.yaml'), policy);
    const words = ['--policy', at('stolen.yaml'), '--registry', `${registry.host}/stolen`];
    const other = 'https://example.com/other/app/.github/workflows/release.yml@refs/tags/v1';
    const { code, output } = await publish(words, withoutKey(other));
    assert.equal(code, 4, output);
    assert.match(output, /run \S+\/gate: it ended with 1/u);
    assert.equal((await ask('admit', `${registry.host}/stolen/webhook:${version}`, 'stolen.yaml')).code, 1);
    assert.notEqual((await ask('verify', release('stolen'), 'stolen.yaml')).code, 0);
  });

  it('is not signed without the log, and pushed files stay denied', async () => {
    const config = JSON.stringify(services.signingConfig({ rekor: 2 })).replaceAll(
      /("rekorTlogUrls":\[\{"url":")[^"]*/gu,
      '$1http://127.0.0.1:9',
    );
    writeFileSync(at('signing.json'), config);
    const policy = readFileSync(at('keyless.yaml'), 'utf8').replace('/keyless/*', '/unlogged/*');
    writeFileSync(at('unlogged.yaml'), policy);
    const words = ['--policy', at('unlogged.yaml'), '--registry', `${registry.host}/unlogged`];
    const { code, output } = await publish(words, withoutKey());
    assert.equal(code, 4, output);
    assert.equal(
      (await ask('admit', `${registry.host}/unlogged/webhook:${version}`, 'unlogged.yaml')).code,
      1,
    );
  });
});

/** The same bytes with one bit of the byte in the middle changed. */
function flipped(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  const middle = changed.length >> 1;
  changed.writeUInt8(changed.readUInt8(middle) ^ 1, middle);
  return changed;
}

/** Returns the digests, in hex, of all that an image of a layout consists of. */
function blobsOf(layout: string, name: string): Set<string> {
  interface Linked {
    readonly digest: string;
    readonly annotations?: Readonly<Record<string, string>>;
  }
  interface Document {
    readonly manifests?: readonly Linked[];
    readonly layers?: readonly Linked[];
    readonly config?: Linked;
  }
  const found = new Set<string>();
  const read = (path: string): Document => JSON.parse(readFileSync(join(layout, path), 'utf8')) as Document;
  const walk = ({ manifests = [], layers = [], config }: Document): void => {
    for (const { digest } of [...layers, ...(config === undefined ? [] : [config])])
      found.add(digest.replace('sha256:', ''));
    for (const { digest } of manifests) {
      found.add(digest.replace('sha256:', ''));
      walk(read(`blobs/${digest.replace(':', '/')}`));
    }
  };
  const { manifests = [] } = read('index.json');
  walk({
    manifests: manifests.filter(
      ({ annotations = {} }) => annotations['org.opencontainers.image.ref.name'] === name,
    ),
  });
  return found;
}

/** Returns the digest of every file below a folder, by its path. */
function sumsBelow(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry): [string, string] => {
        const file = join(entry.parentPath, entry.name);
        return [file.slice(folder.length + 1), createHash('sha256').update(readFileSync(file)).digest('hex')];
      })
      .sort(),
  );
}
