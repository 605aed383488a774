import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient, parseReference } from '../../base/distribution/index.ts';
import { commandFile, runProgram } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { startTrustService } from '../../trust/notary/index.ts';

const root = join(import.meta.dirname, '../..');
const passphrase = 'correct horse';

/** Runs the commands of docs/publishing.md literally, with real registries and a real service. */
describe('docs/publishing.md', () => {
  let folder: string;
  let origin: TestRegistry;
  let mirror: TestRegistry;
  let service: Awaited<ReturnType<typeof startTrustService>>;
  let environment: NodeJS.ProcessEnv;
  /** Runs in a network namespace without links, in which not even the loopback is up. */
  const apart = (...words: string[]) =>
    runProgram('unshare', ['--net', process.execPath, commandFile, ...words], environment, folder);
  const here = (...words: string[]) =>
    runProgram(process.execPath, [commandFile, ...words], environment, folder);

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-publishing-'));
    [origin, mirror] = await Promise.all([startRegistry(), startRegistry()]);
    service = await startTrustService({ listen: '127.0.0.1:0', data: join(folder, 'service') });
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'portcullis'), `#!/bin/sh\nexec ${process.execPath} ${commandFile} "$@"\n`);
    chmodSync(join(bin, 'portcullis'), 0o755);
    environment = {
      ...process.env,
      HOME: folder,
      XDG_STATE_HOME: join(folder, 'state'),
      // As for a reader who has set nothing: the default is below HOME.
      PORTCULLIS_TRUST_DIR: undefined,
      PORTCULLIS_PASSPHRASE: passphrase,
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    };
    const client = createRegistryClient({});
    const [repository] = client.repositories(parseReference(`${origin.host}/pay/app:1.0`));
    assert.ok(repository);
    await pushImage(repository, await buildImage(), '1.0');
    await client.close();
    await here('sign', '--generate-key', 'cosign');
    const signed = await here('sign', `${origin.host}/pay/app:1.0`, '--key', 'cosign.key');
    assert.equal(signed.code, 0, signed.output);
    writeFileSync(
      join(folder, 'policy.yaml'),
      `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: ["${origin.host}/pay/**"]
    require:
      all:
        - tuf: { service: "oci://${origin.host}", root: root.json }
        - cosign: { key: cosign.pub }
`,
    );
  });
  after(async () => {
    await Promise.all([origin.close(), mirror.close(), service.close()]);
    rmSync(folder, { recursive: true, force: true });
  });

  it('shows only commands that work', async () => {
    const text = readFileSync(join(root, 'docs/publishing.md'), 'utf8');
    const script = [...text.matchAll(/```sh\n([\s\S]*?)```/gu)]
      .map(([, block = '']) => block)
      .join('')
      .replaceAll('registry.example.com%2Fpay%2Fapp', encodeURIComponent(`${origin.host}/pay/app`))
      .replaceAll('registry.example.com', origin.host)
      .replaceAll('mirror.example.com', mirror.host)
      .replaceAll('https://trust.example.com', service.url);
    const ended = await runProgram('bash', ['-euc', script], environment, folder);
    assert.equal(ended.code, 0, ended.output);
    assert.match(ended.output, /one signature is missing/u);
    assert.match(ended.output, /2 of 2 signatures/u);
    assert.doesNotMatch(ended.output, new RegExp(passphrase, 'u'));
  });

  it('verifies an archive without a network, and not after its expiry', async () => {
    const good = await apart('trust', 'archive', 'verify', 'app.tar', '--policy', 'policy.yaml');
    assert.equal(good.code, 0, good.output);
    const made = await here(
      'trust',
      'archive',
      'create',
      `${origin.host}/pay/app:1.0`,
      'short.tar',
      '--fresh-for',
      '1s',
    );
    assert.equal(made.code, 0, made.output);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const late = await apart('trust', 'archive', 'verify', 'short.tar', '--policy', 'policy.yaml');
    assert.equal(late.code, 1, late.output);
    assert.match(late.output, /TRUST_ARCHIVE_STALE/u);
  });

  it('copies everything that a verdict needs, so that the origin can disappear', async () => {
    const policy = readFileSync(join(folder, 'policy.yaml'), 'utf8').replace(
      `oci://${origin.host}`,
      `oci://${mirror.host}`,
    );
    writeFileSync(join(folder, 'mirrored.yaml'), policy);
    const words = ['verify', `${origin.host}/pay/app:1.0`, '--policy', 'mirrored.yaml'];
    const verified = await here(...words, '--registry-mirror', `${origin.host}=${mirror.url}`);
    assert.equal(verified.code, 0, verified.output);
  });

  it('refuses an archive that was changed in transit', async () => {
    const bytes = readFileSync(join(folder, 'app.tar'));
    const at = bytes.indexOf('"freshUntil":"2');
    assert.ok(at > 0);
    const later = Buffer.from(bytes);
    later.write('9', at + '"freshUntil":"'.length);
    writeFileSync(join(folder, 'later.tar'), later);
    const { code, output } = await here('sign', '--generate-key', 'archive');
    assert.equal(code, 0, output);
    const made = await here(
      'trust',
      'archive',
      'create',
      `${origin.host}/pay/app:1.0`,
      'signed.tar',
      '--key',
      'archive.key',
    );
    assert.equal(made.code, 0, made.output);
    const verify = (file: string) =>
      apart('trust', 'archive', 'verify', file, '--policy', 'policy.yaml', '--archive-key', 'archive.pub');
    assert.equal((await verify('signed.tar')).code, 0);
    const unsigned = await verify('later.tar');
    assert.equal(unsigned.code, 1, unsigned.output);
    assert.match(unsigned.output, /TRUST_ARCHIVE_UNSIGNED/u);
  });
});
