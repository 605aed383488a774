/**
 * The two commands of sigstore's client conformance protocol, against Fulcio, Rekor v1 and v2 and a time
 * stamp authority on loopback.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { mockIssuer, mockSubject, startMockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore, SignOptions } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import { portcullisCommand, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { findTool } from '../fixtures/tools.ts';

let services: MockSigstore;
let folder: string;
const artifact = Buffer.from('what is signed\n');
const digest = `sha256:${createHash('sha256').update(artifact).digest('hex')}`;
const subject = { name: 'artifact.txt', digest: { sha256: digest.slice(7) } };
const statement = JSON.stringify({
  _type: 'https://in-toto.io/Statement/v1',
  subject: [subject],
  predicateType: 'https://example.com/p',
  predicate: {},
});

before(async () => {
  services = await startMockSigstore();
  folder = await mkdtemp(join(tmpdir(), 'sigstore-conformance-'));
  await writeFile(join(folder, 'artifact.txt'), artifact);
  await writeFile(join(folder, 'other.txt'), 'other');
  await writeFile(join(folder, 'statement.json'), statement);
  await writeFile(join(folder, 'trusted_root.json'), JSON.stringify(services.trustedRoot()));
});
after(async () => {
  await services.close();
  await rm(folder, { recursive: true });
});

/** Asynchronous, because the services that the command calls run in this process. */
function portcullis(...words: readonly string[]): Promise<Ended> {
  const [program = '', ...first] = portcullisCommand;
  return runProgram(program, [...first, ...words], process.env, folder);
}

const identity = ['--certificate-identity', mockSubject, '--certificate-oidc-issuer', mockIssuer];
const verify = (bundle: string, who: readonly string[], what: string) =>
  portcullis(
    'sigstore-verify-bundle',
    '--bundle',
    bundle,
    ...who,
    '--trusted-root',
    'trusted_root.json',
    what,
  );

const cases: readonly (readonly [string, SignOptions])[] = [
  ['a file with Rekor v1', { rekor: 1 }],
  ['a file with Rekor v2', { rekor: 2 }],
  ['a statement with Rekor v1', { rekor: 1, inToto: true }],
  ['a statement with Rekor v2', { rekor: 2, inToto: true }],
];

for (const [name, options] of cases) {
  test(`signs and verifies ${name}, by file and by digest`, async () => {
    await writeFile(join(folder, 'signing_config.json'), JSON.stringify(services.signingConfig(options)));
    const [what, flags] = options.inToto === true ? ['statement.json', ['--in-toto']] : ['artifact.txt', []];
    const token = ['--identity-token', services.token(options)];
    const config = ['--trusted-root', 'trusted_root.json', '--signing-config', 'signing_config.json'];
    const signed = await portcullis(
      'sigstore-sign-bundle',
      ...flags,
      ...token,
      '--bundle',
      'b.json',
      ...config,
      what,
    );
    assert.equal(signed.code, 0, signed.stderr);
    const [byFile, byDigest] = await Promise.all([
      verify('b.json', identity, 'artifact.txt'),
      verify('b.json', identity, digest),
    ]);
    assert.deepEqual([byFile.code, byDigest.code], [0, 0], byFile.stderr + byDigest.stderr);
    const bundle = JSON.parse(await readFile(join(folder, 'b.json'), 'utf8')) as {
      mediaType: string;
      verificationMaterial: object;
    };
    assert.equal(bundle.mediaType, 'application/vnd.dev.sigstore.bundle.v0.3+json');
    assert.deepEqual(Object.keys(bundle.verificationMaterial).sort(), [
      'certificate',
      ...(options.rekor === 2 ? ['timestampVerificationData'] : []),
      'tlogEntries',
    ]);
  });
}

const cosign = findTool('cosign');

test(
  'cosign accepts our signatures with Rekor v1 and v2, and refuses them for another identity',
  { skip: cosign.skip },
  async () => {
    const run = promisify(execFile);
    for (const rekor of [1, 2] as const) {
      await writeFile(join(folder, 'c.json'), JSON.stringify(await services.sign(artifact, { rekor })));
      const judged = (subject: string): Promise<unknown> =>
        run(
          cosign.path,
          [
            ...['verify-blob', '--bundle', 'c.json', '--trusted-root', 'trusted_root.json'],
            ...['--certificate-identity', subject, '--certificate-oidc-issuer', mockIssuer],
            ...(rekor === 2 ? ['--use-signed-timestamps'] : []),
            'artifact.txt',
          ],
          { cwd: folder, env: { ...process.env, HOME: folder, TUF_ROOT: join(folder, 'tuf') } },
        );
      await judged(mockSubject);
      await assert.rejects(judged('somebody'));
    }
  },
);

test('an artifact that the bundle does not sign, and an identity that did not sign it, are refused', async () => {
  const [other, otherDigest, otherIdentity] = await Promise.all([
    verify('b.json', identity, 'other.txt'),
    verify('b.json', identity, `sha256:${'0'.repeat(64)}`),
    verify(
      'b.json',
      ['--certificate-identity', 'somebody', '--certificate-oidc-issuer', mockIssuer],
      'artifact.txt',
    ),
  ]);
  assert.deepEqual([other.code, otherDigest.code, otherIdentity.code], [1, 1, 1]);
  assert.match(otherIdentity.stderr, /not by somebody/);
});

test('usage errors, missing files and a refused token are reported, and the token is never printed', async () => {
  const [wrong, missing] = await Promise.all([
    verify('b.json', ['--certificate-identity', 'somebody'], 'artifact.txt'),
    verify('gone.json', identity, 'artifact.txt'),
  ]);
  assert.equal(wrong.code, 2);
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /gone\.json.*does not exist/);
  const refused = await portcullis(
    'sigstore-sign-bundle',
    '--identity-token',
    'hidden.aGlkZGVu.x',
    '--bundle',
    'n.json',
    '--signing-config',
    'signing_config.json',
    'artifact.txt',
  );
  assert.equal(refused.code, 4);
  assert.match(refused.stderr, /TRUST_IDENTITY_TOKEN/);
  assert.doesNotMatch(refused.stderr, /aGlkZGVu|"hidden|'hidden/);
});
