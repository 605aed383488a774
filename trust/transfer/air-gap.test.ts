/**
 * The content that crosses an air gap in one file: images with every form of evidence, and the policy with
 * its keys and roots. The command verifies each file in a network namespace without links.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openAirGap } from '../../test/fixtures/air-gap.ts';
import type { AirGap } from '../../test/fixtures/air-gap.ts';
import { portcullisCommand, runProgram } from '../../test/fixtures/command.ts';
import type { Ended } from '../../test/fixtures/command.ts';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { openRegistries } from '../registries/registry-access.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { canonicalJson } from '../json/canonical-json.ts';
import { loadSigningKey } from '../keys/private-key.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import {
  chainOf,
  createAuthority,
  rootExtensions,
  signerExtensions,
} from '../notation/fixtures/authority.ts';
import { rootFolder } from '../sigstore/root-cache.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore, SignOptions } from '../sigstore/fixtures/mock-sigstore.ts';
import { attestImage } from '../signing/attest-image.ts';
import { openSigner } from '../signing/open-signer.ts';
import { signImage } from '../signing/sign-image.ts';
import type { SignatureFormat } from '../signing/sign-image.ts';
import { archiveReference } from './carry.ts';

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
const home = mkdtempSync(join(tmpdir(), 'portcullis-air-gap-'));
const at = (name: string): string => join(home, name);
const reference = 'r.example/app:1';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const provenance = 'https://slsa.dev/provenance/v1';
const vsaType = 'https://slsa.dev/verification_summary/v1';
const verifier = 'https://ci.example.com/gate';
const tufUrl = 'https://tuf.example.com';
const day = 24 * 3600 * 1000;

let gap: AirGap;
let server: TestRegistry;
let registry: RegistryAccess;
let earlier: MockSigstore;
let later: MockSigstore;
const keys = new Map<string, SigningKey>();
let notary: Signer;
let made = 0;

const keyTypes = {
  ecdsa: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ed25519: () => generateKeyPairSync('ed25519'),
  rsa: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'ml-dsa-44': () => generateKeyPairSync('ml-dsa-44'),
  'ml-dsa-65': () => generateKeyPairSync('ml-dsa-65'),
  other: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  archive: () => generateKeyPairSync('ml-dsa-44'),
};

const keyOf = (name: keyof typeof keyTypes): SigningKey => keys.get(name) as SigningKey;

before(async () => {
  if (skip !== false) return;
  gap = await openAirGap();
  server = await startRegistry();
  registry = await openRegistries({ mirrors: [`r.example=${server.url}`], insecureHosts: [] });
  for (const [name, make] of Object.entries(keyTypes)) {
    const { publicKey, privateKey } = make();
    writeFileSync(at(`${name}.pub`), publicKey.export({ type: 'spki', format: 'pem' }));
    writeFileSync(at(`${name}.key`), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    keys.set(name, await loadSigningKey(at(`${name}.key`), { environment: {} }));
  }
  [earlier, later] = await Promise.all([startMockSigstore(), startMockSigstore()]);
  mkdirSync(at('ca'));
  const authority = createAuthority(at('ca'));
  const root = authority.issue('root', { extensions: rootExtensions });
  const leaf = authority.issue('builder', { extensions: signerExtensions, by: root });
  writeFileSync(at('root.crt'), readFileSync(root.certificate));
  notary = keySigner(await loadSigningKey(leaf.key, { environment: {} }), {
    certificates: chainOf(leaf, root),
  });
});
after(async () => {
  if (skip !== false) return rmSync(home, { recursive: true });
  await Promise.all([gap.close(), earlier.close(), later.close(), registry.close()]);
  await server.close();
  rmSync(home, { recursive: true });
});

interface Image {
  readonly repository: RegistryRepository;
  readonly digest: string;
}

/** Pushes an image that no other test has, to a repository of its own. */
async function newImage(): Promise<Image> {
  made += 1;
  const [repository] = await registry.repositories({ registry: 'r.example', repository: `app-${made}` });
  assert.ok(repository);
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: process.arch === 'x64' ? 'amd64' : 'arm64',
      config: { Labels: { number: String(made) } },
      rootfs: { type: 'layers', diff_ids: [] },
    }),
  );
  const { digest, size } = await repository.pushBlob(config);
  const described = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size };
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config: described, layers: [] }),
  );
  return { repository, digest: (await repository.pushManifest(manifest, manifestType, { tag: '1' })).digest };
}

type Sign = (image: Image) => Promise<unknown>;

const sign =
  (key: keyof typeof keyTypes, format: SignatureFormat = 'bundle'): Sign =>
  ({ repository, digest }) =>
    signImage({ repository, digest, key: keyOf(key), format, now: new Date() });

const notarise =
  (format: SignatureFormat): Sign =>
  ({ repository, digest }) =>
    signImage({ repository, digest, key: notary, format, now: new Date() });

const keyless =
  (services: () => MockSigstore, options: SignOptions, format: SignatureFormat = 'bundle'): Sign =>
  async ({ repository, digest }) => {
    const signer = await identity(services(), options);
    await signImage({ repository, digest, key: signer, format, now: new Date() });
  };

async function identity(services: MockSigstore, options: SignOptions): Promise<Signer> {
  made += 1;
  writeFileSync(at(`token-${made}`), services.token(options));
  writeFileSync(at(`config-${made}.json`), JSON.stringify(services.signingConfig(options)));
  return openSigner({
    passphrase: { environment: {} },
    identityToken: { file: at(`token-${made}`) },
    signingConfig: at(`config-${made}.json`),
    now: new Date(),
  });
}

const attest =
  (
    key: () => SigningKey | Promise<Signer>,
    type = provenance,
    predicate: unknown = { builder: 'b' },
    format: 'bundle' | 'legacy' = 'bundle',
  ): Sign =>
  async ({ repository, digest }) =>
    attestImage({ repository, digest, key: await key(), type, predicate, format, now: new Date() });

const summary: Sign = (image) =>
  attest(() => keyOf('ml-dsa-44'), vsaType, {
    verifier: { id: verifier },
    timeVerified: new Date().toISOString(),
    resourceUri: `oci://r.example/app@${image.digest}`,
    policy: { uri: 'urn:example:policy', digest: { sha256: '1'.repeat(64) } },
    verificationResult: 'PASSED',
    verifiedLevels: ['SLSA_BUILD_LEVEL_2'],
    slsaVersion: '1.2',
  })(image);

type Root = ReturnType<MockSigstore['trustedRoot']>;

/**
 * A root after the rotation of the timestamp authority: the earlier one has ended, the later one is in use.
 */
function rotatedRoot(kept: 'both' | 'later'): Root {
  const [old, current] = [earlier.trustedRoot(), later.trustedRoot()] as Record<string, unknown[]>[];
  const ended = (old?.['timestampAuthorities'] ?? []).map((authority) => {
    const { validFor } = authority as { validFor: { start: string } };
    return {
      ...(authority as object),
      validFor: { ...validFor, end: new Date(Date.now() + 1000).toISOString() },
    };
  });
  return {
    ...earlier.trustedRoot(),
    timestampAuthorities: [...(kept === 'both' ? ended : []), ...(current?.['timestampAuthorities'] ?? [])],
  };
}

/** Writes a policy folder with every key and root that a rule may name. */
function policyFolder(require: string, root?: Root): string {
  const folder = mkdtempSync(at('policy-'));
  for (const name of Object.keys(keyTypes))
    writeFileSync(join(folder, `${name}.pub`), readFileSync(at(`${name}.pub`)));
  writeFileSync(join(folder, 'root.crt'), readFileSync(at('root.crt')));
  if (root !== undefined) writeFileSync(join(folder, 'root.json'), JSON.stringify(root));
  writeFileSync(
    join(folder, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ['r.example/app']\n    require: ${require}\n`,
  );
  return folder;
}

/** The archive's reference has the same name for every image. */
const accessTo = ({ repository }: Image): RegistryAccess => ({
  options: {},
  repositories: () => Promise.resolve([repository]),
  close: () => Promise.resolve(),
});

async function archive(
  image: Image,
  policy: string | undefined,
  more: { readonly freshFor?: number; readonly key?: string; readonly now?: Date } = {},
): Promise<string> {
  made += 1;
  const file = at(`archive-${made}.tar`);
  await archiveReference({
    reference,
    file,
    registry: accessTo(image),
    ...(policy === undefined ? {} : { policy }),
    freshFor: more.freshFor ?? 3600,
    key: more.key ?? at('archive.key'),
    passphrase: { environment: {} },
    now: more.now ?? new Date(),
  });
  return file;
}

/** Runs the command where no network is. */
function inGap(...words: readonly string[]): Promise<Ended> {
  const [program = '', ...rest] = [...gap.within, ...portcullisCommand, 'trust', 'archive', ...words];
  return runProgram(program, rest, { ...process.env, XDG_STATE_HOME: at('state') });
}

const verify = (file: string, ...words: readonly string[]): Promise<Ended> =>
  inGap('verify', file, '--archive-key', at('archive.pub'), ...words);

const cosign = (key: string): string => `{ cosign: { key: ${key}.pub } }`;
const sigstore = (more = '', root = 'root.json'): string =>
  `{ sigstore: { issuer: "${mockIssuer}", subject: "${mockSubject}", root: ${root}${more} } }`;
const attested = (by: string, more = ''): string =>
  `{ attestation: { type: ${provenance}, by: ${by}${more} } }`;
const early = (): MockSigstore => earlier;
const v1 = { rekor: 1 } as const;
const v2 = { rekor: 2 } as const;
const stamped = { rekor: 1, timeStamp: true } as const;
const rootOf = (): Root => earlier.trustedRoot();
const stampedAndSigned: Sign = async (image) => {
  await sign('ml-dsa-44')(image);
  await keyless(early, stamped)(image);
};

const admitted: readonly (readonly [name: string, Sign, require: string, root?: () => Root])[] = [
  ['a sigstore bundle by an ECDSA key', sign('ecdsa'), cosign('ecdsa')],
  ['the older form by an ECDSA key', sign('ecdsa', 'legacy'), cosign('ecdsa')],
  ['a bundle by an Ed25519 key', sign('ed25519'), cosign('ed25519')],
  ['a bundle by an RSA key', sign('rsa'), cosign('rsa')],
  ['a bundle by an ML-DSA-44 key', sign('ml-dsa-44'), cosign('ml-dsa-44')],
  ['the older form by an ML-DSA-44 key', sign('ml-dsa-44', 'legacy'), cosign('ml-dsa-44')],
  ['a bundle by an ML-DSA-65 key', sign('ml-dsa-65'), cosign('ml-dsa-65')],
  ['a keyless bundle with an entry of Rekor v1', keyless(early, v1), sigstore(), rootOf],
  ['a keyless signature of the older form', keyless(early, v1, 'legacy'), sigstore(), rootOf],
  ['a keyless bundle with an entry of Rekor v2', keyless(early, v2), sigstore(), rootOf],
  [
    'a time stamp of an authority that was rotated out since',
    keyless(early, stamped),
    sigstore(', timestamp: true'),
    () => rotatedRoot('both'),
  ],
  [
    'a time stamp of a rotated authority beside an ML-DSA-44 signature',
    stampedAndSigned,
    `{ all: [${cosign('ml-dsa-44')}, ${sigstore(', timestamp: true')}] }`,
    () => rotatedRoot('both'),
  ],
  [
    'a Notary Project signature in JWS',
    notarise('notation-jws'),
    '{ notation: { certificates: { ca: [root.crt] } } }',
  ],
  [
    'a Notary Project signature in COSE',
    notarise('notation-cose'),
    '{ notation: { certificates: { ca: [root.crt] } } }',
  ],
  ['an attestation by a key', attest(() => keyOf('ecdsa')), attested(cosign('ecdsa'))],
  ['an attestation by an ML-DSA-44 key', attest(() => keyOf('ml-dsa-44')), attested(cosign('ml-dsa-44'))],
  [
    'an attestation of the older form',
    attest(() => keyOf('ecdsa'), provenance, { builder: 'b' }, 'legacy'),
    attested(cosign('ecdsa')),
  ],
  ['a keyless attestation', attest(() => identity(earlier, v1)), attested(sigstore()), rootOf],
  [
    'an attestation with a condition',
    attest(() => keyOf('ecdsa')),
    attested(cosign('ecdsa'), `, cel: ["predicate.builder == 'b'"]`),
  ],
  [
    'a verification summary (VSA)',
    summary,
    `{ vsa: { verifier: "${verifier}", by: ${cosign('ml-dsa-44')}, maxAge: 1d } }`,
  ],
  [
    'two signers of different kinds',
    async (image) => {
      await sign('ml-dsa-44')(image);
      await keyless(early, v2)(image);
    },
    `{ all: [${cosign('ml-dsa-44')}, ${sigstore()}] }`,
    rootOf,
  ],
];

/** Makes an archive for each case, and verifies all of them in one process where no network is. */
async function outcomesOf(cases: typeof admitted): Promise<readonly string[]> {
  const asked: object[] = [];
  for (const [, make, require, root] of cases) {
    const image = await newImage();
    await make(image);
    const file = await archive(image, policyFolder(require, root?.()));
    asked.push({ file, key: at('archive.pub'), trustState: at('state') });
  }
  const fixture = join(import.meta.dirname, 'verify-many.fixture.ts');
  const [program, ...words] = [...gap.within, process.execPath, fixture] as const;
  const ended = await runProgram(program, words, process.env, home, { input: JSON.stringify(asked) });
  assert.equal(ended.code, 0, ended.output);
  return JSON.parse(ended.stdout) as readonly string[];
}

const denied: readonly (readonly [name: string, Sign, require: string, root?: () => Root])[] = [
  ['an image without a signature', () => Promise.resolve(), cosign('ecdsa')],
  ['a signature by another key', sign('other'), cosign('ecdsa')],
  ['an ML-DSA-65 signature where ML-DSA-44 is required', sign('ml-dsa-65'), cosign('ml-dsa-44')],
  ['the identity of another instance', keyless(() => later, v1), sigstore(), rootOf],
  [
    'a time stamp of an authority that the root does not name',
    keyless(early, stamped),
    sigstore(', timestamp: true'),
    () => rotatedRoot('later'),
  ],
  [
    'an ML-DSA-44 signature beside a time stamp of an authority that the root does not name',
    stampedAndSigned,
    `{ all: [${cosign('ml-dsa-44')}, ${sigstore(', timestamp: true')}] }`,
    () => rotatedRoot('later'),
  ],
  [
    'an attestation whose condition fails',
    attest(() => keyOf('ecdsa')),
    attested(cosign('ecdsa'), `, cel: ["predicate.builder == 'c'"]`),
  ],
];

for (const [outcome, title, cases] of [
  ['admit', 'admitted from the file alone, by the policy that it carries', admitted],
  ['deny', 'denied from the file alone', denied],
] as const)
  describe(title, { skip }, () => {
    let outcomes: readonly string[] = [];
    before(async () => {
      outcomes = await outcomesOf(cases);
    });
    for (const [index, [name]] of cases.entries()) test(name, () => assert.equal(outcomes[index], outcome));
  });

/** Changes the members of an archive, as somebody who carries it could. */
function changed(file: string, change: (folder: string) => void): string {
  const folder = mkdtempSync(at('changed-'));
  execFileSync('tar', ['-xf', file, '-C', folder]);
  change(folder);
  made += 1;
  const other = at(`changed-${made}.tar`);
  const names = execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).trim().split('\n');
  execFileSync('tar', ['-cf', other, '-C', folder, ...names]);
  return other;
}

const flip = (file: string): void => {
  const bytes = readFileSync(file);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] as number) ^ 1;
  writeFileSync(file, bytes);
};

describe('refused', { skip }, () => {
  let image: Image;
  let file: string;
  before(async () => {
    image = await newImage();
    await sign('ecdsa')(image);
    file = await archive(image, policyFolder(cosign('ecdsa')));
    assert.equal((await verify(file)).code, 0);
  });

  const refuses = async (words: Promise<Ended>, code: string): Promise<void> => {
    const ended = await words;
    assert.notEqual(ended.code, 0, ended.output);
    assert.match(ended.output, new RegExp(code, 'u'));
  };

  test('an expired archive', async () => {
    const old = await archive(image, policyFolder(cosign('ecdsa')), {
      freshFor: 60,
      now: new Date(Date.now() - 120_000),
    });
    await refuses(verify(old), 'TRUST_ARCHIVE_STALE');
  });

  test('an archive that another key signed', async () => {
    const other = await archive(image, policyFolder(cosign('ecdsa')), { key: at('other.key') });
    await refuses(verify(other), 'TRUST_ARCHIVE_UNSIGNED');
  });

  test('the policy of an archive whose signature is not checked', () =>
    refuses(inGap('verify', file), 'TRUST_ARCHIVE_UNSIGNED'));

  test('an archive without a policy, unless one is given', async () => {
    const bare = await archive(image, undefined);
    await refuses(verify(bare), 'TRUST_ARCHIVE_POLICY');
    const ended = await verify(bare, '--policy', policyFolder(cosign('ecdsa')));
    assert.equal(ended.code, 0, ended.output);
  });

  test('an exchanged policy, with and without a new statement', async () => {
    const weaker = await archive(image, policyFolder(cosign('other')));
    const folder = mkdtempSync(at('weaker-'));
    execFileSync('tar', ['-xf', weaker, '-C', folder]);
    const exchange = (names: readonly string[]) => (to: string) => {
      for (const name of names) writeFileSync(join(to, name), readFileSync(join(folder, name)));
    };
    await refuses(verify(changed(file, exchange(['portcullis-policy.tar']))), 'TRUST_ARCHIVE_DAMAGED');
    await refuses(
      verify(changed(file, exchange(['portcullis-policy.tar', 'portcullis-archive.json']))),
      'TRUST_ARCHIVE_UNSIGNED',
    );
  });

  test('a longer freshness than was signed', () =>
    refuses(
      verify(
        changed(file, (folder) => {
          const path = join(folder, 'portcullis-archive.json');
          const statement = JSON.parse(readFileSync(path, 'utf8')) as object;
          const freshUntil = new Date(Date.now() + 365 * day).toISOString();
          writeFileSync(path, canonicalJson({ ...statement, freshUntil }));
        }),
      ),
      'TRUST_ARCHIVE_UNSIGNED',
    ));

  test('a changed byte in the manifest of the image', async () => {
    const ended = await verify(
      changed(file, (folder) => flip(join(folder, 'blobs/sha256', image.digest.slice('sha256:'.length)))),
    );
    assert.notEqual(ended.code, 0);
    assert.match(ended.output, /TRUST_ARCHIVE_DAMAGED|denied|cannot be decided/u);
  });

  test('another index', () =>
    refuses(verify(changed(file, (folder) => flip(join(folder, 'index.json')))), 'TRUST_ARCHIVE_DAMAGED'));

  test('an unsigned archive that is to carry a policy', () =>
    assert.rejects(
      archiveReference({
        reference,
        file: at('never.tar'),
        registry: accessTo(image),
        policy: policyFolder(cosign('ecdsa')),
        freshFor: 60,
        passphrase: { environment: {} },
        now: new Date(),
      }),
      /TRUST_ARCHIVE_UNSIGNED/u,
    ));

  test('a policy with a mistake', async () =>
    assert.rejects(archive(image, policyFolder('{ cosign: { key: absent.pub } }')), /TRUST_POLICY_INVALID/u));
});

describe('trusted roots of TUF repositories', { skip }, () => {
  /** Fills a cache as `sigstore-root update` does. */
  function fillCache(cache: string, expires: Date): void {
    const folder = rootFolder(cache, tufUrl);
    mkdirSync(join(folder, 'metadata'), { recursive: true });
    writeFileSync(join(folder, 'trusted_root.json'), JSON.stringify(earlier.trustedRoot()));
    writeFileSync(
      join(folder, 'metadata/timestamp.json'),
      JSON.stringify({ signed: { expires: expires.toISOString() } }),
    );
  }
  const rule = (cache: string): string => sigstore('', `{ tuf: { url: "${tufUrl}", cache: "${cache}" } }`);

  test('are carried by the archive, and the machine behind the gap needs no cache', async () => {
    const cache = mkdtempSync(at('cache-'));
    fillCache(cache, new Date(Date.now() + day));
    const image = await newImage();
    await keyless(early, v2)(image);
    const file = await archive(image, policyFolder(rule(cache)));
    rmSync(cache, { recursive: true });
    const ended = await verify(file);
    assert.equal(ended.code, 0, ended.output);
  });

  test('that have expired are not carried', async () => {
    const cache = mkdtempSync(at('cache-'));
    fillCache(cache, new Date(Date.now() - day));
    const image = await newImage();
    await assert.rejects(archive(image, policyFolder(rule(cache))), /TRUST_ARCHIVE_ROOT_EXPIRED/u);
  });
});

describe('trust archive policy', { skip }, () => {
  test('writes the policy of a signed archive, which then decides as the archive does', async () => {
    const image = await newImage();
    await sign('ml-dsa-44')(image);
    const file = await archive(image, policyFolder(cosign('ml-dsa-44')));
    const to = at('extracted');
    mkdirSync(`${to}.part`);
    writeFileSync(join(`${to}.part`, 'mine'), '');
    const words = ['policy', file, '--archive-key', at('archive.pub'), '--to', to];
    const ended = await inGap(...words);
    assert.equal(ended.code, 0, ended.output);
    assert.equal(readFileSync(join(`${to}.part`, 'mine'), 'utf8'), '', 'what others have stays');
    assert.equal((await verify(file, '--policy', to)).code, 0);
    assert.match((await inGap(...words)).output, /TRUST_ARCHIVE_EXISTS/u);
  });

  test('writes nothing from an archive that another key signed', async () => {
    const image = await newImage();
    const file = await archive(image, policyFolder(cosign('ecdsa')));
    const words = ['policy', file, '--archive-key', at('other.pub'), '--to', at('nothing')];
    assert.match((await inGap(...words)).output, /TRUST_ARCHIVE_UNSIGNED/u);
    assert.throws(() => readFileSync(at('nothing/policy.yaml')), /ENOENT/u);
  });
});
