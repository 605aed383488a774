import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { digestOf } from '../../base/distribution/index.ts';
import { loadSigningKey } from '../keys/private-key.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { loadPolicy } from '../policy/load.ts';
import { signImage } from '../signing/sign-image.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import type { Verdict } from '../findings/types.ts';
import { keySigner } from '../signers/signer.ts';
import { syncedDuring } from '../../base/storage/synced.fixture.ts';
import { writeArchive } from './archive.ts';
import { packPolicy } from './carried-policy.ts';
import { extractPolicy, verifyArchive } from './carry.ts';
import { openLayout } from './layout.ts';
import type { LayoutRepository } from './layout.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-archive-test-'));
after(() => rmSync(home, { recursive: true }));
const now = new Date();
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const reference = 'r.example/app:1';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
writeFileSync(join(home, 'k.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
writeFileSync(join(home, 'k.pub'), publicKey.export({ type: 'spki', format: 'pem' }));

async function policyOf(require: string): Promise<TrustPolicy> {
  const rules = `rules:\n  - images: ['r.example/app']\n    require: ${require}\n`;
  writeFileSync(
    join(home, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\n${rules}`,
  );
  return (await loadPolicy({ paths: [join(home, 'policy.yaml')] })).policy;
}

async function push(layout: LayoutRepository, label: string, tag?: string): Promise<string> {
  const config = Buffer.from(
    JSON.stringify({ os: 'linux', architecture: 'amd64', label, rootfs: { type: 'layers', diff_ids: [] } }),
  );
  const { digest, size } = await layout.pushBlob(config);
  const described = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size };
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config: described, layers: [] }),
  );
  return (await layout.pushManifest(manifest, manifestType, tag === undefined ? {} : { tag })).digest;
}

/**
 * Makes an archive with a signed image under the tag, and with an unsigned one. The statement is about one of
 * them.
 */
async function archiveOf(
  about: 'signed' | 'unsigned',
): Promise<{ readonly file: string; readonly digest: string }> {
  const folder = mkdtempSync(join(home, 'layout-'));
  const layout = await openLayout(folder);
  const signed = await push(layout, 'signed', '1');
  const unsigned = await push(layout, 'unsigned');
  const key = await loadSigningKey(join(home, 'k.key'), { environment: {} });
  await signImage({ repository: layout, digest: signed, key, format: 'bundle', now });
  await layout.finish();
  const digest = { signed, unsigned }[about];
  const statement = {
    ...{ version: 1, reference, digest, createdAt: now.toISOString() },
    ...{
      freshUntil: new Date(now.getTime() + 60_000).toISOString(),
      index: digestOf(readFileSync(join(folder, 'index.json'))),
    },
  };
  writeFileSync(join(folder, 'portcullis-archive.json'), JSON.stringify(statement));
  const blobs = readdirSync(join(folder, 'blobs/sha256')).map((name) => `blobs/sha256/${name}`);
  const file = `${folder}.tar`;
  execFileSync('tar', [
    '-cf',
    file,
    '-C',
    folder,
    'portcullis-archive.json',
    'oci-layout',
    'index.json',
    ...blobs,
  ]);
  return { file, digest };
}

test('the size of a file that is read as a whole is checked before it is read', async () => {
  const policy = await policyOf('{ cosign: { key: k.pub } }');
  const layout = mkdtempSync(join(home, 'large-'));
  const blob = Buffer.alloc(5 * 1024 * 1024, ' ');
  const { digest, size } = await (await openLayout(layout)).pushBlob(blob);
  const pack = (index: string): string => {
    writeFileSync(join(layout, 'index.json'), index);
    const statement = {
      version: 1,
      reference,
      digest,
      createdAt: now.toISOString(),
      freshUntil: '2040-01-01T00:00:00Z',
    };
    writeFileSync(
      join(layout, 'portcullis-archive.json'),
      JSON.stringify({ ...statement, index: digestOf(Buffer.from(index)) }),
    );
    execFileSync('tar', [
      '-cf',
      `${layout}.tar`,
      '-C',
      layout,
      'portcullis-archive.json',
      'index.json',
      `blobs/sha256/${digest.slice(7)}`,
    ]);
    return `${layout}.tar`;
  };
  const index = JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: manifestType, digest, size }] });
  for (const [made, why] of [
    [index, /it has 5242880 bytes; 4194304 are allowed/u],
    [index + ' '.repeat(17 * 1024 * 1024), /index\.json/u],
  ] as const) {
    const input = { file: pack(made), policy, namespace: '', trustState: join(home, 'state'), now };
    await assert.rejects(
      verifyArchive(input),
      (error: Error) => 'code' in error && error.code === 'TRUST_ARCHIVE_DAMAGED' && why.test(error.message),
    );
  }
});

test('no service is asked: evidence elsewhere counts as unreachable', async () => {
  let asked = 0;
  const server = createHttpServer((_request, response) => {
    asked += 1;
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    copyFileSync('trust/gpg/fixtures/ed25519.asc', join(home, 'gpg.asc'));
    const policy = await policyOf(`{ gpg: { keys: [gpg.asc], lookaside: 'http://127.0.0.1:${port}/sigs' } }`);
    const { file } = await archiveOf('signed');
    const { verdict } = await verifyArchive({
      file,
      policy,
      namespace: '',
      trustState: join(home, 'state'),
      now,
    });
    assert.deepEqual([verdict.outcome, asked], ['undecided', 0]);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test('the verified image is the one that the archive names and that would be loaded', async () => {
  const policy = await policyOf('{ cosign: { key: k.pub } }');
  const judge = async (file: string): Promise<Verdict> =>
    (await verifyArchive({ file, policy, namespace: '', trustState: join(home, 'state'), now })).verdict;
  for (const [about, outcome] of [
    ['signed', 'admit'],
    ['unsigned', 'deny'],
  ] as const) {
    const { file, digest } = await archiveOf(about);
    const verdict = await judge(file);
    assert.deepEqual([verdict.digest, verdict.outcome], [digest, outcome]);
  }
});

test('an archive, and the policy that is taken out of it, are on the disk before and with their names', async () => {
  const layout = await openLayout(mkdtempSync(join(home, 'layout-')));
  const digest = await push(layout, 'image', '1');
  await layout.finish();
  await policyOf('{ cosign: { key: k.pub } }');
  mkdirSync(join(home, 'policy'));
  for (const name of ['policy.yaml', 'k.pub']) copyFileSync(join(home, name), join(home, 'policy', name));
  const signer = keySigner(await loadSigningKey(join(home, 'k.key'), { environment: {} }));
  const file = join(home, 'out/app.tar');
  const policy = await packPolicy(join(home, 'policy'), now);
  const written = await syncedDuring(() =>
    writeArchive({
      ...{ file, from: layout, reference, wanted: digest, tag: '1', policy, freshFor: 3600, signer, now },
    }),
  );
  assert.match(written.at(-2) ?? '', /\/out\/app\.tar\.[0-9a-f-]+\.part$/u);
  assert.equal(written.at(-1), join(home, 'out'));

  const to = join(home, 'taken/policy.d');
  const key = parsePublicKey('k.pub', readFileSync(join(home, 'k.pub'), 'utf8'));
  assert.ok(!('problem' in key));
  const taken = await syncedDuring(() => extractPolicy({ file, key, to, now }));
  assert.deepEqual(readdirSync(to).sort(), ['k.pub', 'policy.yaml']);
  const names = taken.map((path) => path.replace(/\.[0-9a-f-]{36}\.part/u, '').slice(home.length));
  assert.deepEqual(names.slice(0, -1).sort(), [
    '/taken/policy.d',
    '/taken/policy.d/k.pub',
    '/taken/policy.d/policy.yaml',
  ]);
  assert.equal(names.at(-1), '/taken');
});
