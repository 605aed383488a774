import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { portcullis } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';

/** A copy adds to a repository. It drops no signature there, and rolls no signed metadata back. */
describe('a copy to a repository with evidence of its own', () => {
  const home = mkdtempSync(join(tmpdir(), 'portcullis-copy-keeps-'));
  const client = createRegistryClient({});
  let registry: TestRegistry;
  const named = (name: string): string => `${registry.host}/${name}:1`;
  const at = (name: string): RegistryRepository => {
    const [repository] = client.repositories({ registry: registry.host, repository: name });
    assert.ok(repository);
    return repository;
  };
  const run = (...words: string[]) =>
    portcullis(words, {
      ...process.env,
      HOME: home,
      PORTCULLIS_TRUST_DIR: join(home, 'trust'),
      PORTCULLIS_PASSPHRASE: 'correct horse',
    });
  const did = async (...words: string[]): Promise<string> => {
    const { code, output } = await run(...words);
    assert.equal(code, 0, output);
    return output;
  };
  const metadataOf = async (name: string): Promise<string> =>
    (await at(name).resolve('portcullis-tuf')).digest;
  const publish = async (name: string): Promise<void> => {
    await did('trust', 'add', `${registry.host}/${name}`, '1', '--image', named(name));
    await did('trust', 'publish', `${registry.host}/${name}`);
  };
  const collection = async (name: string): Promise<void> => {
    await did('trust', 'init', `${registry.host}/${name}`, '--to', `oci://${registry.host}/${name}`);
    await publish(name);
  };

  before(async () => {
    registry = await startRegistry();
    const image = await buildImage();
    await pushImage(at('source'), image, '1');
    await pushImage(at('target'), image, '1');
    await pushImage(at('copy'), image, '1');
    for (const key of ['ann', 'bob']) await did('sign', '--generate-key', join(home, key));
  });
  after(async () => {
    await client.close();
    await registry.close();
    rmSync(home, { recursive: true });
  });

  it('keeps the signatures under cosign’s tag, adds those that it lacks, and adds none twice', async () => {
    const legacy = ['--format', 'legacy', '--key'];
    await did('sign', named('source'), ...legacy, join(home, 'ann.key'));
    await did('sign', named('target'), ...legacy, join(home, 'bob.key'));
    const { digest } = await at('target').resolve('1');
    const tag = `${digest.replace(':', '-')}.sig`;
    for (const _again of [1, 2]) {
      await did('images', 'copy', named('source'), named('target'));
      const { content } = await at('target').manifest(tag);
      assert.equal(content.kind === 'manifest' && content.layers.length, 2);
    }
    await did('images', 'evidence', named('source'), '--against', named('target'));
    // A repository without signatures of its own gets the manifest as it is.
    await did('images', 'copy', named('source'), named('fresh'));
    assert.equal((await at('fresh').resolve(tag)).digest, (await at('source').resolve(tag)).digest);
  });

  it('keeps the signed metadata of another collection', async () => {
    await collection('source');
    await collection('target');
    const before = await metadataOf('target');
    const text = await did('images', 'copy', named('source'), named('target'));
    assert.match(text, /signed metadata of the destination kept: it belongs to another collection/u);
    assert.equal(await metadataOf('target'), before);
    const address = ['--metadata', `oci://${registry.host}/source`];
    const { code, output } = await run('images', 'copy', named('source'), named('target'), ...address);
    assert.match(output, /\[TRUST_AUTHOR_OCCUPIED\]/u);
    assert.equal(code, 4);
  });

  it('does not roll metadata back with an older archive, and brings newer metadata', async () => {
    const archive = join(home, 'older.tar');
    await did('trust', 'archive', 'create', named('source'), archive, '--fresh-for', '1d');
    await did('images', 'copy', named('source'), named('copy'));
    const older = await metadataOf('copy');
    await did('trust', 'add', `${registry.host}/source`, '2', '--image', named('source'));
    await publish('source');
    assert.match(await did('images', 'copy', named('source'), named('copy')), /, signed metadata\)/u);
    const newer = await metadataOf('copy');
    assert.notEqual(newer, older);
    const text = await did('trust', 'archive', 'load', archive, named('copy'));
    assert.match(text, /signed metadata of the destination kept: it is newer/u);
    assert.equal(await metadataOf('copy'), newer);
  });
});
