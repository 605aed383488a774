import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import {
  chainOf,
  createAuthority,
  rootExtensions,
  signerExtensions,
} from '../../trust/notation/fixtures/authority.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';

/**
 * Runs the commands in docs/attestations.md, docs/signing.md and docs/containers-policy.md literally, in
 * order.
 */
const root = join(import.meta.dirname, '../..');
const cosign = findTool('cosign');

/** Returns the commands of shell blocks, with their continuation lines. */
function commandsOf(document: string): readonly string[] {
  const text = readFileSync(join(root, 'docs', document), 'utf8');
  return [...text.matchAll(/^```(?:sh)?\n([\s\S]*?)^```$/gm)]
    .flatMap(([, block = '']) => block.replaceAll('\\\n', ' ').split('\n'))
    .filter((line) => /^(portcullis|cosign) /.test(line));
}

describe('the commands of the documents about trust', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-documented-'));
  const at = (name: string): string => join(folder, name);
  let registry: TestRegistry;

  before(async () => {
    registry = await startRegistry();
    const client = createRegistryClient({ tagSettleMs: 0 });
    const image = await buildImage({ base: false });
    for (const repository of ['pay/app', 'team/app']) {
      const [place] = client.repositories({ registry: registry.host, repository });
      assert.ok(place);
      await pushImage(place, image, '1');
    }
    await client.close();
    // The files of a reader: a key of a build, a key with a chain, statements, a policy of podman.
    const authority = createAuthority(at('authority'));
    const authorityRoot = authority.issue('root', { extensions: rootExtensions });
    const leaf = authority.issue('leaf', { by: authorityRoot, extensions: signerExtensions });
    copyFileSync(leaf.key, at('leaf.key'));
    copyFileSync(leaf.key, at('build.key'));
    authority.openssl('pkey', '-in', leaf.key, '-pubout', '-out', at('build.pub'));
    const pem = (der: Buffer): string =>
      `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`;
    writeFileSync(at('chain.pem'), chainOf(leaf, authorityRoot).map(pem).join(''));
    copyFileSync(
      join(root, 'trust/attestation/fixtures/predicates/slsaprovenance1.json'),
      at('provenance.json'),
    );
    const [, profile = ''] =
      /```yaml\n(.*\nkind: EntitlementProfile\n[\s\S]*?)```/.exec(
        readFileSync(join(root, 'docs/attestations.md'), 'utf8'),
      ) ?? [];
    writeFileSync(at('profile.yaml'), profile);
    mkdirSync(at('etc/containers/registries.d'), { recursive: true });
    const signed = {
      type: 'signedBy',
      keyType: 'GPGKeys',
      keyPath: join(root, 'trust/gpg/fixtures/rsa2048.asc'),
    };
    const transports = { docker: { 'registry.access.redhat.com': [signed] } };
    writeFileSync(
      at('etc/containers/policy.json'),
      JSON.stringify({ default: [{ type: 'reject' }], transports }),
    );
    writeFileSync(
      at('etc/containers/registries.d/default.yaml'),
      'default-docker:\n  lookaside: file:///var/lib/containers/sigstore\n',
    );
    mkdirSync(at('bin'));
    symlinkSync(join(root, 'packaging/bin/portcullis'), at('bin/portcullis'));
  });
  after(async () => {
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (command: string): Promise<{ readonly status: unknown; readonly output: string }> => {
    const tools = cosign.skip === false ? `:${dirname(cosign.path)}` : '';
    const path = `${at('bin')}${tools}:${process.env['PATH'] ?? ''}`;
    const here = command
      .replaceAll('registry.example.com', registry.host)
      .replaceAll('/etc/containers', at('etc/containers'));
    return new Promise((resolve) => {
      const env = { ...process.env, PATH: path };
      execFile('sh', ['-c', here], { cwd: folder, env }, (error, stdout, stderr) =>
        resolve({ status: error?.code ?? 0, output: stdout + stderr }),
      );
    });
  };

  for (const document of ['attestations.md', 'signing.md', 'containers-policy.md']) {
    it(`docs/${document}`, async () => {
      const commands = commandsOf(document);
      assert.ok(commands.length > 0);
      for (const command of commands) {
        if (command.startsWith('cosign ') && cosign.skip !== false) continue;
        const { status, output } = await run(command);
        assert.equal(status, 0, `${command}\n${output}`);
      }
    });
  }
});
