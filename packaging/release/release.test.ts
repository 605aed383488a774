import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { portcullis } from '../../test/fixtures/command.ts';
import type { Ended } from '../../test/fixtures/command.ts';
import { startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { makeKey } from '../../test/fixtures/stage.ts';
import { lockedPackages } from '../archives/npm-package.ts';
import { componentsOf } from '../sbom/components.ts';
import { cyclonedxOf } from '../sbom/cyclonedx.ts';
import { spdxOf } from '../sbom/spdx.ts';
import { provenance } from './provenance.ts';
import { publishFiles, requireTag } from './publish.ts';

const builder = 'https://portcullis.dev/release/builder';
const root = join(import.meta.dirname, '../..');
const names = ['portcullis_1.0.0_amd64.deb', 'portcullis_1.0.0_arm64.deb', 'portcullis-1.0.0.tgz'];

/** The whole way of a release: push, sign and attest by the commands, and verify by the policy that ships. */
describe('a release', () => {
  let folder = '';
  let registry: TestRegistry;
  let digest = '';
  const at = (name: string): string => join(folder, name);
  const reference = (tag: string): string => `${registry.host}/portcullis/release:${tag}`;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-release-test-'));
    registry = await startRegistry();
    for (const key of ['release', 'other']) await makeKey(at(`${key}.key`), at(`${key}.pub`));
    names.forEach((name, index) => writeFileSync(at(name), Buffer.alloc(100_000, index + 1)));
    const shipped = readFileSync(join(root, 'packaging/policies/release.yaml'), 'utf8');
    writeFileSync(at('policy.yaml'), shipped.replace('registry.example.com', registry.host));
    const { version = '', license = '' } = lockedPackages(root)['node_modules/undici'] ?? {};
    const components = componentsOf([{ name: 'undici', version, license }], lockedPackages(root));
    const subject = {
      ...{ name: 'portcullis', version: '1.0.0', license: 'Apache-2.0', description: 'a runtime' },
      ...{ purl: 'pkg:npm/portcullis@1.0.0', time: 1_700_000_000 },
    };
    writeFileSync(at('spdx.json'), spdxOf(subject, components));
    writeFileSync(at('cdx.json'), cyclonedxOf(subject, components));
    writeFileSync(
      at('provenance.json'),
      JSON.stringify(
        provenance({ source: 'https://example.com', builder, registry: registry.host }).statement,
      ),
    );
    digest = await publishFiles(reference('1.0.0'), folder, names);
    await sign('1.0.0', 'release');
  });
  after(async () => {
    await registry.close();
    rmSync(folder, { recursive: true });
  });

  async function sign(tag: string, key: string): Promise<void> {
    const signer = ['--key', at(`${key}.key`)];
    for (const words of [
      ['sign', reference(tag), ...signer],
      [
        'attest',
        reference(tag),
        '--type',
        'slsaprovenance1',
        '--predicate',
        at('provenance.json'),
        ...signer,
      ],
      ['attest', reference(tag), '--type', 'spdxjson', '--predicate', at('spdx.json'), ...signer],
      ['attest', reference(tag), '--type', 'cyclonedx', '--predicate', at('cdx.json'), ...signer],
    ]) {
      const { code, output } = await portcullis(words);
      assert.equal(code, 0, output);
    }
  }
  const verify = (tag: string, files: readonly string[], ...more: readonly string[]): Promise<Ended> =>
    portcullis([
      ...['verify', reference(tag), '--policy', at('policy.yaml'), '--trust-state', at('state')],
      ...files.flatMap((file) => ['--file', at(file)]),
      ...more,
    ]);

  it('is admitted by the policy that ships, with each of its files', async () => {
    const { code, stdout, output } = await verify('1.0.0', names, '--output', 'json');
    assert.equal(code, 0, output);
    const found = JSON.parse(stdout) as { digest: string; files: { title: string; included: boolean }[] };
    assert.equal(found.digest, digest);
    assert.deepEqual(
      found.files.map(({ title, included }) => [title, included]),
      names.map((name) => [name, true]),
    );
  });

  for (const name of names)
    it(`with one changed byte in ${name} is refused, and the file is named`, async () => {
      const bytes = readFileSync(at(name));
      const middle = bytes.length / 2;
      bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
      writeFileSync(at(`changed-${name}`), bytes);
      const { code, output } = await verify('1.0.0', [...names, `changed-${name}`]);
      assert.equal(code, 1, output);
      assert.match(
        output,
        new RegExp(`REFUSED {2}\\S+changed-${name.replaceAll('.', '\\.')}: its digest sha256:`, 'u'),
      );
      assert.equal(output.match(/^verified /gmu)?.length, names.length);
    });

  it('that somebody pushed without a signature, or with another key, is denied', async () => {
    writeFileSync(at('evil.deb'), 'evil');
    await publishFiles(reference('unsigned'), folder, ['evil.deb']);
    const unsigned = await verify('unsigned', ['evil.deb']);
    assert.equal(unsigned.code, 1, unsigned.output);
    assert.doesNotMatch(unsigned.output, /^verified/mu);
    await sign('unsigned', 'other');
    const other = await verify('unsigned', ['evil.deb']);
    assert.equal(other.code, 1, other.output);
    assert.doesNotMatch(other.output, /^verified/mu);
  });

  it('does not overwrite a published version, and pushes the same content again', async () => {
    writeFileSync(at('other.deb'), 'other');
    await assert.rejects(
      publishFiles(reference('1.0.0'), folder, ['other.deb']),
      /a published version never/u,
    );
    assert.equal(await publishFiles(reference('1.0.0'), folder, names), digest);
  });

  it('reports a tag that somebody else has written or deleted in the meantime', async () => {
    const other = `sha256:${'0'.repeat(64)}`;
    await assert.rejects(requireTag(reference('1.0.0'), other, 'written'), /at the same time/u);
    await assert.rejects(requireTag(reference('none'), other, 'written'), /points to nothing after/u);
    await requireTag(reference('none'), other, 'free');
  });

  it('has the same manifest when it is pushed again', async () => {
    assert.equal(await publishFiles(reference('again'), folder, names), digest);
  });

  it('refuses a file with the name of another file, such as that of a newer release', async () => {
    const renamed = 'portcullis_1.1.0_amd64.deb';
    copyFileSync(at(names[0] ?? ''), at(renamed));
    const { code, output } = await verify('1.0.0', [renamed]);
    assert.equal(code, 1, output);
    assert.match(
      output,
      /REFUSED {2}\S+portcullis_1\.1\.0_amd64\.deb: .* these bytes as portcullis_1\.0\.0_amd64\.deb$/mu,
    );
  });

  it('a file that does not exist is an error, not a refusal', async () => {
    const { code, output } = await verify('1.0.0', ['missing.deb']);
    assert.equal(code, 2, output);
    assert.match(output, /CLI_FILE_UNREADABLE/u);
  });

  it('--file without a registry is a usage error', async () => {
    const { code } = await verify('1.0.0', names, '--offline', '--dossier', at('none'));
    assert.equal(code, 2);
  });
});
