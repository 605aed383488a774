import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createTestKey } from '../../trust/gpg/fixtures/openpgp-signer.ts';
import { attestImage, openSigner, signImage } from '../../trust/index.ts';
import { policyKey } from '../../trust/keys/public-key.ts';
import {
  chainOf,
  createAuthority,
  rootExtensions,
  signerExtensions,
} from '../../trust/notation/fixtures/authority.ts';
import { keySigner } from '../../trust/signers/signer.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import { serveFiles } from '../fixtures/notation.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const program = join(import.meta.dirname, '../../packaging/bin/portcullis');
const kinds = ['keyless', 'notation', 'gpg', 'attestation'] as const;
type Kind = (typeof kinds)[number];

/** Runs the real command, on request in a namespace without a network. */
function verdicts(
  stage: Stage,
  args: readonly string[],
  apart: boolean,
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const [file = program, ...rest] = [
    ...(apart ? ['unshare', '--net'] : []),
    program,
    'verdicts',
    ...args,
    ...(apart ? [] : ['--root', stage.folders.root]),
  ];
  return new Promise((resolve) => {
    execFile(file, rest, { maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        stdout,
        stderr,
      }),
    );
  });
}

describe('verdicts of every type of signature, replayed without a network', () => {
  let stage: Stage;
  const services: { close(): Promise<void> }[] = [];
  before(async () => {
    stage = await openStage();
    const at = (name: string): string => join(stage.folders.policy, name);
    const sigstore = await startMockSigstore();
    services.push(sigstore);
    mkdirSync(at('roots'));
    writeFileSync(at('roots/root.json'), JSON.stringify(sigstore.trustedRoot()));
    const authority = createAuthority(join(stage.folders.folder, 'authority'));
    const files = new Map<string, Uint8Array>();
    const lists = await serveFiles(files);
    services.push(lists);
    const root = authority.issue('root', { extensions: rootExtensions });
    const extensions = [...signerExtensions, `crlDistributionPoints=URI:${lists.url}/root.crl`];
    const leaf = authority.issue('leaf', {
      subject: '/C=US/ST=WA/O=example.com/CN=builder',
      extensions,
      by: root,
    });
    files.set('/root.crl', authority.list(root));
    mkdirSync(at('truststore/x509/ca/example'), { recursive: true });
    writeFileSync(at('truststore/x509/ca/example/root.crt'), readFileSync(root.certificate));
    const gpg = createTestKey();
    writeFileSync(at('key.gpg'), gpg.publicKey);

    const rules: Readonly<Record<Kind, string>> = {
      keyless: `{ sigstore: { issuer: "${mockIssuer}", subject: "${mockSubject}", root: roots/root.json } }`,
      notation:
        '{ notation: { truststore: ca/example, folder: truststore, identities: ["x509.subject: C=US, ST=WA, O=example.com, CN=builder"] } }',
      gpg: '{ gpg: { keys: [key.gpg], lookaside: lookaside } }',
      attestation: `{ attestation: { type: vsa, by: { cosign: { key: k.pub } }, cel: "predicate.verificationResult == 'PASSED'" } }`,
    };
    stage.writePolicy(
      policyOf(
        kinds
          .map((kind) => `  - images: ["${registryName}/${kind}/**"]\n    require: ${rules[kind]}\n`)
          .join(''),
      ),
    );
    await stage.daemon.reload();
    assert.doesNotMatch(stage.daemon.log(), /policy was not reloaded/);

    const token = join(stage.folders.folder, 'token');
    // Any signature, because the service does not verify it.
    writeFileSync(token, `${sigstore.token({ rekor: 1 })}c2ln`);
    const config = join(stage.folders.folder, 'signing.json');
    writeFileSync(config, JSON.stringify(sigstore.signingConfig({ rekor: 1 })));
    const now = new Date();
    const privateKey = createPrivateKey(readFileSync(leaf.key));
    const half = policyKey('leaf', createPublicKey(privateKey));
    assert.ok('spki' in half);
    const notationSigner = keySigner(
      { public: half, private: privateKey },
      { certificates: chainOf(leaf, root) },
    );
    const sign: Readonly<Record<Kind, (name: string, digest: string) => Promise<unknown>>> = {
      async keyless(name, digest) {
        const key = await openSigner({
          passphrase: { environment: {} },
          identityToken: { file: token },
          signingConfig: config,
          now,
        });
        await signImage({ repository: stage.repository(name), digest, key, format: 'bundle', now });
        await key.close();
      },
      notation: (name, digest) =>
        signImage({
          repository: stage.repository(name),
          digest,
          key: notationSigner,
          format: 'notation-jws',
          now,
        }),
      gpg(name, digest) {
        const folder = at(`lookaside/${name}@${digest.replace(':', '=')}`);
        mkdirSync(folder, { recursive: true });
        const critical = {
          identity: { 'docker-reference': `${registryName}/${name}:1` },
          image: { 'docker-manifest-digest': digest },
          type: 'atomic container signature',
        };
        writeFileSync(join(folder, 'signature-1'), gpg.sign(JSON.stringify({ critical, optional: {} })));
        return Promise.resolve();
      },
      attestation: (name, digest) =>
        attestImage({
          ...{
            repository: stage.repository(name),
            digest,
            key: stage.key,
            type: 'vsa',
            format: 'bundle',
            now,
          },
          predicate: JSON.parse(
            readFileSync(
              join(import.meta.dirname, '../../trust/attestation/fixtures/predicates/vsa.json'),
              'utf8',
            ),
          ) as unknown,
        }),
    };
    for (const kind of kinds) {
      const { reference, image } = await stage.publish(`${kind}/signed:1`, {}, { sign: false });
      await sign[kind](`${kind}/signed`, image.manifestDigest);
      await stage.pull(reference);
      const { reference: bare } = await stage.publish(`${kind}/bare:1`, {}, { sign: false });
      await failureOf(stage.pull(bare));
    }
    // The sources of the evidence are removed: neither files, nor services, nor the registry may be used
    // again.
    for (const service of services.splice(0)) await service.close();
  });
  after(async () => {
    for (const service of services.splice(0)) await service.close();
    await stage.close();
  });

  for (const kind of kinds) {
    it(kind, async () => {
      const listed = await verdicts(
        stage,
        ['ls', '--output', 'json', '--image', `${registryName}/${kind}`],
        false,
      );
      const rows = JSON.parse(listed.stdout) as { verdict: string; outcome: string }[];
      assert.deepEqual(
        [...new Set(rows.map(({ outcome }) => outcome))].sort(),
        ['admit', 'deny'],
        listed.stderr,
      );
      for (const { verdict, outcome } of rows) {
        const file = join(stage.folders.folder, `${verdict.slice(7, 30)}.jsonl`);
        const exported = await verdicts(stage, ['export', verdict, '--out', file], false);
        assert.equal(exported.code, 0, exported.stderr);
        const replay = await verdicts(stage, ['replay', '--file', file, '--output', 'json'], true);
        assert.equal(replay.code, 0, replay.stdout + replay.stderr);
        const { equal, recorded, replayed } = JSON.parse(replay.stdout) as {
          equal: boolean;
          recorded: { outcome: string };
          replayed: unknown;
        };
        assert.ok(equal);
        assert.equal(JSON.stringify(replayed), JSON.stringify(recorded));
        assert.equal(recorded.outcome, outcome);
        if (outcome !== 'admit') continue;
        // One byte of the signed content changes: the evidence no longer has its recorded digest.
        const text = readFileSync(file, 'utf8');
        const place = text.indexOf('\\"bytes\\":\\"') + 40;
        writeFileSync(file, text.slice(0, place) + (text[place] === 'A' ? 'B' : 'A') + text.slice(place + 1));
        const changed = await verdicts(stage, ['replay', '--file', file], true);
        assert.equal(changed.code, 1, changed.stderr);
        assert.match(changed.stdout, /recorded admit .* replayed deny/);
      }
    });
  }

  it('the complete log is verified and replayed there from a file', async () => {
    const log = join(stage.folders.folder, 'log.jsonl');
    assert.equal((await verdicts(stage, ['export', '--out', log], false)).code, 0);
    const verified = await verdicts(stage, ['verify', '--file', log], true);
    assert.equal(verified.code, 0, verified.stdout + verified.stderr);
    const text = readFileSync(log, 'utf8');
    for (const part of ['verificationResult', '\\"outcome\\":\\"deny', registryName]) {
      const place = text.indexOf(part) + part.length - 1;
      writeFileSync(log, text.slice(0, place) + (text[place] === 'x' ? 'y' : 'x') + text.slice(place + 1));
      const found = await verdicts(stage, ['verify', '--file', log], true);
      assert.equal(found.code, 1, `${part}: ${found.stdout}${found.stderr}`);
    }
  });
});
