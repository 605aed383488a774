import { createHash, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  digestOfBytes,
  fixtureContent,
  serveFixtures,
} from '../../../trust/evidence/fixtures/fixture-registry.ts';
import type { FixtureContent, FixtureRepository } from '../../../trust/evidence/fixtures/fixture-registry.ts';
import { createTestKey } from '../../../trust/gpg/fixtures/openpgp-signer.ts';
import type { TestKey } from '../../../trust/gpg/fixtures/openpgp-signer.ts';
import type { Authority, Issued } from '../../../trust/notation/fixtures/authority.ts';
import { createAuthority, p256, rootExtensions } from '../../../trust/notation/fixtures/authority.ts';

/** Registries, lookaside stores, keys and signatures to which realistic policies refer. */
export interface World {
  /** The folder of key files: `@KEYS@` in policies. */
  readonly keys: string;
  /** The lookaside store. Its URL is `@LOOKASIDE@` in registries.d. */
  readonly lookaside: string;
  readonly host: string;
  /** The references to decide about, by tag and by digest. */
  readonly images: readonly string[];
  close(): Promise<void>;
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const simpleSigning = 'application/vnd.dev.cosign.simplesigning.v1+json';
const now = Math.floor(Date.now() / 1000);

interface CosignKey {
  readonly secret: KeyObject;
  readonly pem: string;
}

function cosignKey(): CosignKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { secret: privateKey, pem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}

export async function createWorld(folder: string): Promise<World> {
  const stand = createStand(folder);
  addRedHat(stand);
  addHosts(stand);
  addUniversalBlue(stand);
  addLogged(stand);
  addKeyless(stand);
  addOwnAuthority(stand);
  addByRealCosign(stand);
  addIndexes(stand);
  const { keys, lookaside, images } = stand;
  const registry = await serveFixtures(stand.content, {
    before(path, response) {
      if (path !== '/v2/') return false;
      response.writeHead(200, { 'docker-distribution-api-version': 'registry/2.0' }).end('{}');
      return true;
    },
  });
  return { keys, lookaside, host: registry.host, images, close: () => registry.close() };
}

/** The content of the registries, and how images and signatures are added to it. */
function createStand(folder: string) {
  const keys = join(folder, 'keys');
  const lookaside = join(folder, 'lookaside');
  const content: FixtureContent = fixtureContent();
  const images: string[] = [];
  const written = new Set<string>();
  const image = (name: string, tag = 'latest'): string => {
    const [, repository = ''] = /^[^/]+\/(.+)$/.exec(name) ?? [];
    const digest = addManifest(repositoryOf(content, repository), { config: name, tag });
    repositoryOf(content, repository).tags.set(tag, digest);
    images.push(`${name}:${tag}`, `${name}@${digest}`);
    return digest;
  };
  const bySimpleSigning = (
    name: string,
    digest: string,
    key: TestKey,
    reference = `${name}:latest`,
    text?: string,
  ): void => {
    const [, repository = ''] = /^[^/]+\/(.+)$/.exec(name) ?? [];
    const store = join(lookaside, `${repository}@${digest.replace(':', '=')}`);
    mkdirSync(store, { recursive: true });
    let index = 1;
    while (written.has(`${store}/${index}`)) index += 1;
    written.add(`${store}/${index}`);
    writeFileSync(join(store, `signature-${index}`), key.sign(text ?? gpgPayload(digest, reference)));
  };
  return { folder, keys, lookaside, content, images, image, bySimpleSigning, ...createKeys(folder, keys) };
}

type Stand = ReturnType<typeof createStand>;

/** Creates the keys and authorities that policies name, and writes them into a folder. */
function createKeys(folder: string, keys: string) {
  const write = (name: string, bytes: string | Buffer): void => {
    mkdirSync(dirname(join(keys, name)), { recursive: true });
    writeFileSync(join(keys, name), bytes);
  };

  const gpg = {
    redhat: createTestKey({ type: 'rsa', userId: 'Red Hat, Inc. (release key 2) <security@redhat.example>' }),
    beta: createTestKey({ type: 'p256' }),
    team: createTestKey({ subkey: {} }),
    expired: createTestKey({ keyLifetime: 1000 }),
    revoked: createTestKey({ revoked: { at: 1_720_000_000, reason: 2 } }),
    foreign: createTestKey(),
  };
  for (const [name, key] of Object.entries(gpg)) write(`${name}.gpg`, key.publicKey);
  write('armored.asc', armored(gpg.redhat.publicKey));
  write('broken.gpg', 'this is not a key');
  const cosign = { blue: cosignKey(), ci: cosignKey(), foreign: cosignKey() };
  for (const [name, key] of Object.entries(cosign)) write(`${name}.pub`, key.pem);
  const rekor = cosignKey();
  const otherRekor = cosignKey();
  write('rekor.pub', rekor.pem);
  write('other-rekor.pub', otherRekor.pem);
  const fulcio = createFulcio(join(folder, 'fulcio'), 'fulcio');
  write('fulcio.pem', fulcio.pem);
  write('other-fulcio.pem', createFulcio(join(folder, 'other-fulcio'), 'other').pem);
  return { write, gpg, cosign, rekor, otherRekor, fulcio };
}

const redhat = 'registry.access.redhat.com';

/** Adds Red Hat's images, with a lookaside store: valid, by other keys, for another name, and unsigned. */
function addRedHat({ gpg, image, bySimpleSigning }: Stand): void {
  for (const [name, key] of [
    ['ubi9/ubi', gpg.redhat],
    ['rhel-beta', gpg.beta],
    ['ubi9/foreign', gpg.foreign],
    ['ubi9/expired', gpg.expired],
    ['ubi9/revoked', gpg.revoked],
  ] as const)
    bySimpleSigning(`${redhat}/${name}`, image(`${redhat}/${name}`), key);
  image(`${redhat}/ubi9/unsigned`);
  bySimpleSigning(
    `${redhat}/ubi9/renamed`,
    image(`${redhat}/ubi9/renamed`),
    gpg.redhat,
    `${redhat}/ubi9/ubi:latest`,
  );
  bySimpleSigning(`${redhat}/ubi9/repo`, image(`${redhat}/ubi9/repo`), gpg.redhat, `${redhat}/ubi9/repo:8`);
  bySimpleSigning(
    `${redhat}/ubi9/nameless`,
    image(`${redhat}/ubi9/nameless`),
    gpg.redhat,
    `${redhat}/ubi9/nameless`,
  );
  bySimpleSigning(
    `${redhat}/ubi9/other-digest`,
    image(`${redhat}/ubi9/other-digest`),
    gpg.redhat,
    undefined,
    gpgPayload(`sha256:${'0'.repeat(64)}`, `${redhat}/ubi9/other-digest:latest`),
  );
  const strict = image(`${redhat}/ubi9/strict`);
  bySimpleSigning(
    `${redhat}/ubi9/strict`,
    strict,
    gpg.redhat,
    undefined,
    gpgPayload(strict, `${redhat}/ubi9/strict:latest`).replace('"type"', '"more":1,"type"'),
  );
  const several = image(`${redhat}/ubi9/several`);
  for (const key of [gpg.foreign, gpg.expired, gpg.redhat])
    bySimpleSigning(`${redhat}/ubi9/several`, several, key);
}

/** Adds the registry of a team, its mirror, and other hosts. */
function addHosts({ content, gpg, cosign, image, bySimpleSigning }: Stand): void {
  for (const name of [
    'registry.example.com:5000/team/app',
    'registry.example.com:5000/team/sub/app',
    'registry.example.com:5000/team',
    'a.b.example.com/x',
    'example.com/x',
    'b.example.com:8443/x',
    'other.org/x',
    'localhost/x',
    'docker.io/library/busybox',
    'docker.io/grafana/grafana',
  ]) {
    const digest = image(name);
    bySimpleSigning(name, digest, gpg.team);
    addCosign(content, name, digest, { key: cosign.ci }, name);
  }
  image('registry.example.com:5000/team/app', 'v2');
  const mirrored = image('mirror.example.net/redhat/ubi9/ubi');
  bySimpleSigning('mirror.example.net/redhat/ubi9/ubi', mirrored, gpg.redhat, `${redhat}/ubi9/ubi:latest`);
}

/** Adds images like those of universal-blue: signatures of cosign in the registry. */
function addUniversalBlue({ content, cosign, image }: Stand): void {
  const blue = 'ghcr.io/ublue-os';
  for (const [name, key, claimed] of [
    ['bluefin', cosign.blue, `${blue}/bluefin`],
    ['aurora', cosign.ci, `${blue}/aurora`],
    ['foreign', cosign.foreign, `${blue}/foreign`],
    ['tagged', cosign.blue, `${blue}/tagged:latest`],
    ['renamed', cosign.blue, `${blue}/bluefin`],
  ] as const)
    addCosign(content, `${blue}/${name}`, image(`${blue}/${name}`), { key }, claimed);
  image(`${blue}/unsigned`);
  addCosign(
    content,
    `${blue}/damaged`,
    image(`${blue}/damaged`),
    { key: cosign.blue, damage: true },
    `${blue}/damaged`,
  );
}

/** Adds images with a transparency log, and one without. */
function addLogged({ content, cosign, rekor, otherRekor, image }: Stand): void {
  for (const [name, log] of [
    ['logged', rekor],
    ['otherlog', otherRekor],
  ] as const)
    addCosign(
      content,
      `quay.io/fed/${name}`,
      image(`quay.io/fed/${name}`),
      { key: cosign.blue, log },
      `quay.io/fed/${name}:latest`,
    );
  addCosign(
    content,
    'quay.io/fed/unlogged',
    image('quay.io/fed/unlogged'),
    { key: cosign.blue },
    'quay.io/fed/unlogged:latest',
  );
}

/** Adds images that identities signed. */
function addKeyless({ content, rekor, fulcio, image }: Stand): void {
  for (const [name, email, issuer] of [
    ['keyless', 'mitr@redhat.example', 'https://github.com/login/oauth'],
    ['otheruser', 'other@redhat.example', 'https://github.com/login/oauth'],
    ['otherissuer', 'mitr@redhat.example', 'https://accounts.example.com'],
  ] as const) {
    const leaf = fulcio.issue(email, issuer);
    addCosign(
      content,
      `quay.io/keyless/${name}`,
      image(`quay.io/keyless/${name}`),
      { key: leaf, certificate: leaf.certificate, chain: fulcio.pem, log: rekor },
      `quay.io/keyless/${name}:latest`,
    );
  }
}

/** Adds images with certificates of a private authority with an intermediate: valid and invalid ones. */
function addOwnAuthority({ content, image, write, folder }: Stand): void {
  const own = createOwnAuthority(join(folder, 'own'));
  write('own-roots.pem', own.roots);
  write('own-intermediates.pem', own.intermediates);
  write('old-roots.pem', own.oldRoots);
  for (const [name, { secret, certificate, chain }] of own.leaves) {
    const whole = `quay.io/own/${name}`;
    addCosign(
      content,
      whole,
      image(whole),
      { key: { secret, pem: '' }, certificate, chain },
      `${whole}:latest`,
    );
  }
}

/** Adds images by real cosign 3 (trust/evidence/fixtures). */
function addByRealCosign({ content, images }: Stand): void {
  for (const name of ['ecdsa-p256', 'rsa-2048', 'index', 'platform', 'unsigned'])
    if (content.has(`legacy/${name}`)) images.push(`127.0.0.1:15987/legacy/${name}:1`);
  images.push('127.0.0.1:15987/unsigned:1');
}

/** Adds indexes: only the index signed, and also the manifest of its platform. */
function addIndexes({ content, images, gpg, bySimpleSigning }: Stand): void {
  for (const part of ['index', 'platform'] as const) {
    const name = `${redhat}/multi/${part}`;
    const repository = repositoryOf(content, `multi/${part}`);
    const manifest = addManifest(repository, { config: name, tag: part });
    const platform = { architecture: 'amd64', os: 'linux' };
    const size = repository.manifests.get(manifest)?.length ?? 0;
    const index = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.index.v1+json',
        manifests: [{ mediaType: manifestType, digest: manifest, size, platform }],
      }),
    );
    const digest = digestOfBytes(index);
    repository.manifests.set(digest, index);
    repository.tags.set('latest', digest);
    images.push(`${name}:latest`);
    bySimpleSigning(name, part === 'index' ? digest : manifest, gpg.redhat);
  }
}

function repositoryOf(content: FixtureContent, name: string): FixtureRepository {
  let repository = content.get(name);
  if (repository === undefined) {
    repository = { tags: new Map(), manifests: new Map(), blobs: new Map() };
    content.set(name, repository);
  }
  return repository;
}

function addManifest(repository: FixtureRepository, facts: object): string {
  const config = Buffer.from(JSON.stringify(facts));
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestOfBytes(config),
        size: config.length,
      },
      layers: [],
    }),
  );
  repository.blobs.set(digestOfBytes(config), config);
  repository.manifests.set(digestOfBytes(bytes), bytes);
  return digestOfBytes(bytes);
}

function gpgPayload(digest: string, reference: string): string {
  return JSON.stringify({
    critical: {
      identity: { 'docker-reference': reference },
      image: { 'docker-manifest-digest': digest },
      type: 'atomic container signature',
    },
    optional: { creator: 'test', timestamp: now },
  });
}

interface CosignSigner {
  readonly key: CosignKey;
  readonly certificate?: string;
  readonly chain?: string;
  readonly log?: CosignKey;
  readonly damage?: boolean;
}

/** Adds a signature in cosign's older form: a layer of the manifest under `sha256-….sig`. */
function addCosign(
  content: FixtureContent,
  name: string,
  digest: string,
  signer: CosignSigner,
  claimed: string,
): void {
  const [, path = ''] = /^[^/]+\/(.+)$/.exec(name) ?? [];
  const repository = repositoryOf(content, path);
  const payload = Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': claimed },
        image: { 'docker-manifest-digest': digest },
        type: 'cosign container image signature',
      },
      optional: null,
    }),
  );
  const signature = sign(
    'sha256',
    signer.damage === true ? Buffer.from('other') : payload,
    signer.key.secret,
  ).toString('base64');
  const layer = {
    mediaType: simpleSigning,
    digest: digestOfBytes(payload),
    size: payload.length,
    annotations: {
      'dev.cosignproject.cosign/signature': signature,
      ...(signer.certificate === undefined
        ? {}
        : {
            'dev.sigstore.cosign/certificate': signer.certificate,
            'dev.sigstore.cosign/chain': signer.chain,
          }),
      ...(signer.log === undefined
        ? {}
        : {
            'dev.sigstore.cosign/bundle': logged(
              signer.log,
              payload,
              signature,
              signer.certificate ?? signer.key.pem,
            ),
          }),
    },
  };
  repository.blobs.set(layer.digest, payload);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestOfBytes(Buffer.from('{}')),
        size: 2,
      },
      layers: [layer],
    }),
  );
  repository.blobs.set(digestOfBytes(Buffer.from('{}')), Buffer.from('{}'));
  repository.manifests.set(digestOfBytes(manifest), manifest);
  repository.tags.set(`${digest.replace(':', '-')}.sig`, digestOfBytes(manifest));
}

/** Returns Rekor's signed entry timestamp (SET) for a hashedrekord entry, in the form that cosign stores. */
function logged(log: CosignKey, payload: Buffer, signature: string, material: string): string {
  const value = createHash('sha256').update(payload).digest('hex');
  const body = {
    apiVersion: '0.0.1',
    kind: 'hashedrekord',
    spec: {
      data: { hash: { algorithm: 'sha256', value } },
      signature: { content: signature, publicKey: { content: Buffer.from(material).toString('base64') } },
    },
  };
  const spki = Buffer.from(log.pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  // In the order of canonical JSON, because the SET signs this text.
  const entry = {
    body: Buffer.from(JSON.stringify(body)).toString('base64'),
    integratedTime: now,
    logID: createHash('sha256').update(spki).digest('hex'),
    logIndex: 7,
  };
  const promise = sign('sha256', Buffer.from(JSON.stringify(entry)), log.secret).toString('base64');
  return JSON.stringify({ SignedEntryTimestamp: promise, Payload: entry });
}

interface OwnLeaf {
  readonly secret: KeyObject;
  readonly certificate: string;
  readonly chain: string;
}

/**
 * A root, an intermediate, and signer certificates of every type that the image library distinguishes
 * (signature/pki_cert.go).
 */
function createOwnAuthority(folder: string): {
  readonly roots: string;
  readonly intermediates: string;
  readonly oldRoots: string;
  readonly leaves: ReadonlyMap<string, OwnLeaf>;
} {
  const authority = createAuthority(folder);
  const root = authority.issue('root', { extensions: rootExtensions });
  const over = new Date(Date.now() - 60_000);
  const old = authority.issue('old', { extensions: rootExtensions, to: over });
  const between = authority.issue('between', { by: root, extensions: rootExtensions });
  const subOf = (name: string, extensions: readonly string[]): Issued =>
    authority.issue(name, { by: root, extensions });
  const [usage = '', keyUsage = ''] = rootExtensions;
  const noAuthority = subOf('no-authority', ['basicConstraints=CA:FALSE']);
  const otherUse = subOf('other-use', [...rootExtensions, 'extendedKeyUsage=serverAuth']);
  const shortPath = subOf('short-path', ['basicConstraints=critical,CA:TRUE,pathlen:0', keyUsage]);
  const below = authority.issue('below', { by: shortPath, extensions: [usage, keyUsage] });
  const named = subOf('named', [
    ...rootExtensions,
    'nameConstraints=permitted;email:redhat.example,excluded;DNS:evil.example',
  ]);
  const mayNotSign = subOf('may-not-sign', [
    'basicConstraints=critical,CA:TRUE',
    'keyUsage=critical,cRLSign',
  ]);
  const text = ({ certificate }: Issued): string => readFileSync(certificate, 'utf8');
  const leaves = new Map<string, OwnLeaf>();
  const leaf = (
    name: string,
    options: {
      by?: Issued;
      names?: string;
      more?: readonly string[];
      to?: Date;
      chain?: readonly Issued[];
      signature?: readonly string[];
    },
  ): void => {
    const names = options.names ?? 'email:mitr@redhat.example,DNS:sign.redhat.example';
    const more = options.more ?? ['keyUsage=critical,digitalSignature', 'extendedKeyUsage=codeSigning'];
    const issuer = options.by ?? between;
    const issued = authority.issue(name, {
      by: issuer,
      extensions: ['basicConstraints=CA:FALSE', ...more, `subjectAltName=${names}`],
      ...(options.to === undefined ? {} : { to: options.to }),
      ...(options.signature === undefined ? {} : { signature: options.signature }),
    });
    const chain = (options.chain ?? [issuer, root]).map(text).join('');
    leaves.set(name, {
      secret: createPrivateKey(readFileSync(issued.key)),
      certificate: text(issued),
      chain,
    });
  };
  leaf('good', {});
  leaf('by-root', { by: root, chain: [root] });
  leaf('chainless', { chain: [] });
  leaf('half-chain', { by: shortPath, chain: [shortPath] });
  leaf('only-root', { chain: [root] });
  leaf('other-email', { names: 'email:other@redhat.example,DNS:sign.redhat.example' });
  leaf('upper-email', { names: 'email:Mitr@redhat.example,DNS:SIGN.redhat.example' });
  leaf('other-host', { names: 'email:mitr@redhat.example,DNS:other.redhat.example' });
  leaf('wildcard', { names: 'email:mitr@redhat.example,DNS:*.redhat.example' });
  leaf('deep-wildcard', { names: 'email:mitr@redhat.example,DNS:*.example' });
  leaf('part-wildcard', { names: 'email:mitr@redhat.example,DNS:s*.redhat.example' });
  leaf('address', { names: 'email:mitr@redhat.example,IP:192.0.2.7' });
  leaf('address-as-name', { names: 'email:mitr@redhat.example,DNS:192.0.2.7' });
  leaf('address-of-six', { names: 'email:mitr@redhat.example,IP:2001:db8::7' });
  leaf('host-only', { names: 'DNS:sign.redhat.example' });
  leaf('uri-only', { names: 'URI:https://redhat.example/mitr' });
  leaf('expired', { to: over });
  leaf('for-servers', { more: ['extendedKeyUsage=serverAuth'] });
  leaf('for-anything', { more: ['extendedKeyUsage=anyExtendedKeyUsage'] });
  leaf('for-all', { more: [] });
  leaf('for-keys', { more: ['keyUsage=critical,keyEncipherment', 'extendedKeyUsage=codeSigning'] });
  leaf('by-no-authority', { by: noAuthority });
  leaf('by-other-use', { by: otherUse });
  leaf('by-may-not-sign', { by: mayNotSign });
  leaf('by-too-deep', { by: below, chain: [below, shortPath, root] });
  leaf('by-named', { by: named });
  leaf('by-named-other', { by: named, names: 'email:mitr@other.example,DNS:sign.redhat.example' });
  leaf('by-named-excluded', {
    by: named,
    names: 'email:mitr@redhat.example,DNS:sign.redhat.example,DNS:a.evil.example',
  });
  leaf('by-old', { by: old, chain: [old] });
  // Version 1, as openssl issues it without extensions: as a root and as an intermediate.
  const first = firstVersion(authority, 'first');
  const firstBetween = firstVersion(authority, 'first-between', root);
  const rsa = authority.issue('rsa', {
    extensions: rootExtensions,
    algorithm: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  });
  leaf('by-first', { by: first, chain: [first] });
  leaf('by-first-between', { by: firstBetween, chain: [firstBetween, root] });
  const pss = (salt: number): readonly string[] => ['rsa_padding_mode:pss', `rsa_pss_saltlen:${salt}`];
  leaf('by-pss', { by: rsa, chain: [rsa], signature: pss(32) });
  leaf('by-pss-salt', { by: rsa, chain: [rsa], signature: pss(20) });
  const foreign = createAuthority(`${folder}-stranger`).issue('root', { extensions: rootExtensions });
  leaf('by-stranger', { by: foreign, chain: [foreign] });
  const good = leaves.get('good');
  const other = leaves.get('other-email');
  // The certificate of one signer with the signature of another signer.
  if (good !== undefined && other !== undefined) leaves.set('borrowed', { ...good, secret: other.secret });
  if (good !== undefined)
    leaves.set('two-leaves', { ...good, certificate: good.certificate + good.certificate });
  return {
    roots: text(root),
    intermediates: text(between),
    oldRoots: [old, root, first, rsa].map(text).join(''),
    leaves,
  };
}

function firstVersion({ folder, openssl }: Authority, name: string, by?: Issued): Issued {
  const issued = { name, key: join(folder, `${name}.key`), certificate: join(folder, `${name}.crt`) };
  openssl('genpkey', ...p256, '-out', issued.key);
  openssl(
    'req',
    '-new',
    '-config',
    'ca.cnf',
    '-key',
    issued.key,
    '-subj',
    `/CN=${name}`,
    '-out',
    `${name}.csr`,
  );
  const issuing =
    by === undefined
      ? ['-signkey', issued.key]
      : ['-CA', by.certificate, '-CAkey', by.key, '-CAcreateserial'];
  openssl('x509', '-req', '-in', `${name}.csr`, ...issuing, '-days', '2', '-out', issued.certificate);
  return issued;
}

interface TestFulcio {
  readonly pem: string;
  issue(email: string, issuer: string): CosignKey & { readonly certificate: string };
}

/**
 * Issues certificates like Fulcio: with an e-mail address as subject alternative name, and the OIDC issuer as
 * extension.
 */
function createFulcio(folder: string, name: string): TestFulcio {
  const authority = createAuthority(folder);
  const root = authority.issue(name, { extensions: rootExtensions });
  return {
    pem: readFileSync(root.certificate, 'utf8'),
    issue(email, issuer) {
      const extensions = [
        'basicConstraints=critical,CA:FALSE',
        'keyUsage=critical,digitalSignature',
        'extendedKeyUsage=codeSigning',
        `subjectAltName=email:${email}`,
        `1.3.6.1.4.1.57264.1.1=DER:${Buffer.from(issuer).toString('hex')}`,
      ];
      const leaf = authority.issue(
        `leaf-${createHash('sha256')
          .update(email + issuer)
          .digest('hex')
          .slice(0, 8)}`,
        { by: root, extensions },
      );
      const secret = createPrivateKey(readFileSync(leaf.key));
      return { secret, pem: '', certificate: readFileSync(leaf.certificate, 'utf8') };
    },
  };
}

function armored(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: test\n\n${lines.join('\n')}\n-----END PGP PUBLIC KEY BLOCK-----\n`;
}
