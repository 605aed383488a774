/**
 * Bundles that @sigstore/sign creates with the unmodified servers of @sigstore/mock, through the conformance
 * commands. Entries that a server logs wrongly must be refused: the Rekor v1 mock logs the proposal of an
 * envelope instead of an entry, and the Rekor v2 mock logs the request, at an index outside its tree. No
 * client of sigstore accepts these.
 */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { bundleToJSON } from '@sigstore/bundle';
import {
  fulcioHandler,
  initializeCA,
  initializeCTLog,
  initializeTLog,
  initializeTSA,
  rekorHandler,
  rekorV2Handler,
  tsaHandler,
} from '@sigstore/mock';
import { HashAlgorithm, PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { CreateEntryRequest } from '@sigstore/protobuf-specs/rekor/v2';
import {
  DSSEBundleBuilder,
  FulcioSigner,
  MessageSignatureBundleBuilder,
  RekorWitness,
  TSAWitness,
} from '@sigstore/sign';
import { createHttpServer } from '../../base/connections/index.ts';
import { portcullisCommand, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';

const identity = { sub: 'me@example.com', iss: 'https://issuer.example' };
const token = ['{"alg":"none"}', JSON.stringify(identity), '']
  .map((part) => Buffer.from(part).toString('base64url'))
  .join('.');
const artifact = Buffer.from('what is signed\n');
const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
const digest = sha256(artifact).toString('hex');
const statement = Buffer.from(
  JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'artifact.txt', digest: { sha256: digest } }],
    predicateType: 'https://example.com/p',
    predicate: {},
  }),
);

type TLog = Awaited<ReturnType<typeof initializeTLog>>;

/** Returns the entry that Rekor v2 logs for a request (sigstore/rekor-tiles). */
function entryOf(request: CreateEntryRequest): {
  readonly kind: string;
  readonly apiVersion: string;
  readonly spec: object;
} {
  const { spec } = request;
  const json = CreateEntryRequest.toJSON(request) as Record<string, Record<string, unknown>>;
  if (spec?.$case === 'hashedRekordRequestV002') {
    const { digest: value, signature } = json['hashedRekordRequestV002'] ?? {};
    const hashedRekordV002 = { data: { algorithm: 'SHA2_256', digest: value }, signature };
    return { kind: 'hashedrekord', apiVersion: '0.0.2', spec: { hashedRekordV002 } };
  }
  const envelope = spec?.dsseRequestV002.envelope;
  const verifiers = json['dsseRequestV002']?.['verifiers'] as readonly object[];
  const payloadHash = {
    algorithm: 'SHA2_256',
    digest: sha256(envelope?.payload ?? Buffer.alloc(0)).toString('base64'),
  };
  const signatures = envelope?.signatures.map(({ sig }, index) => ({
    content: sig.toString('base64'),
    verifier: verifiers[index],
  }));
  return { kind: 'dsse', apiVersion: '0.0.2', spec: { dsseV002: { payloadHash, signatures } } };
}

/**
 * The Rekor v2 mock with the minimal changes for a client: an entry instead of the request, its kind, its
 * index.
 */
function mended(log: TLog): TLog {
  return {
    publicKey: log.publicKey,
    log: (entry) => log.log(entry),
    logV2: async (request) => {
      const body = entryOf(request);
      const { inclusionProof, ...entry } = await log.logV2(body as unknown as CreateEntryRequest);
      assert.ok(inclusionProof);
      return {
        ...entry,
        kindVersion: { kind: body.kind, version: '0.0.2' },
        inclusionProof: { ...inclusionProof, logIndex: '0' },
      };
    },
  };
}

let folder: string;
let url: string;
/** Whether the Rekor v2 mock is corrected. */
let mend = true;
/** The server never closes a connection that its client is about to reuse. */
const server = createHttpServer({ keepAliveTimeout: 0 });

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sigstore-mock-'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const pair = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const ctLog = await initializeCTLog(pair());
  const [authority, log, stamps] = await Promise.all([
    initializeCA(pair(), ctLog),
    initializeTLog(url, pair()),
    initializeTSA(pair()),
  ]);
  server.on('request', (request, response) => {
    const handlers = [
      fulcioHandler(authority),
      rekorHandler(log),
      rekorV2Handler(mend ? mended(log) : log),
      tsaHandler(stamps),
    ];
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      void handlers
        .find(({ path }) => path === request.url)
        ?.fn(Buffer.concat(chunks).toString())
        .then(({ statusCode, response: body, contentType = 'text/plain' }) =>
          response.writeHead(statusCode, { 'content-type': contentType }).end(body),
        );
    });
  });
  const validFor = { start: new Date(Date.now() - 3_600_000) };
  const bytes = (view: ArrayBufferView): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  const authorityOf = (certificates: readonly ArrayBufferView[]) => ({
    subject: { organization: 'sigstore.mock', commonName: 'sigstore' },
    uri: url,
    certChain: { certificates: certificates.map((one) => ({ rawBytes: bytes(one) })) },
    // sigstore-go and @sigstore/verify do not require one.
    validFor: undefined,
    operator: '',
  });
  const logOf = (key: Buffer) => ({
    baseUrl: url,
    hashAlgorithm: HashAlgorithm.SHA2_256,
    logId: { keyId: sha256(key) },
    publicKey: { rawBytes: key, keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256, validFor },
    checkpointKeyId: undefined,
    operator: '',
  });
  const root = TrustedRoot.toJSON({
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [logOf(log.publicKey)],
    ctlogs: [logOf(ctLog.publicKey)],
    certificateAuthorities: [authorityOf([authority.rootCertificate])],
    timestampAuthorities: [authorityOf([stamps.intCertificate, stamps.rootCertificate])],
  });
  await Promise.all([
    writeFile(join(folder, 'artifact.txt'), artifact),
    writeFile(join(folder, 'trusted_root.json'), JSON.stringify(root)),
  ]);
});
after(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

interface Making {
  readonly rekor: 1 | 2;
  readonly stamp?: boolean;
  /** Signs a statement instead of an artifact. The value is the kind of entry that Rekor v1 logs. */
  readonly statement?: 'dsse' | 'intoto';
}

async function make({ rekor, stamp = false, statement: entryType }: Making): Promise<string> {
  const signer = new FulcioSigner({
    fulcioBaseURL: url,
    identityProvider: { getToken: () => Promise.resolve(token) },
  });
  const witnesses = [
    new RekorWitness({ rekorBaseURL: url, majorApiVersion: rekor, entryType: entryType ?? 'dsse' }),
    ...(stamp ? [new TSAWitness({ tsaBaseURL: url })] : []),
  ];
  const bundle =
    entryType === undefined
      ? await new MessageSignatureBundleBuilder({ signer, witnesses }).create({ data: artifact })
      : await new DSSEBundleBuilder({ signer, witnesses }).create({
          data: statement,
          type: 'application/vnd.in-toto+json',
        });
  const name = `${rekor}-${stamp}-${entryType ?? 'message'}-${mend}.json`;
  await writeFile(join(folder, name), JSON.stringify(bundleToJSON(bundle)));
  return name;
}

/** Asynchronous, because the servers run in this process. */
function portcullis(...words: readonly string[]): Promise<Ended> {
  const [program = '', ...first] = portcullisCommand;
  return runProgram(program, [...first, ...words], process.env, folder);
}

const flags = [
  '--certificate-identity',
  identity.sub,
  '--certificate-oidc-issuer',
  identity.iss,
  '--trusted-root',
  'trusted_root.json',
];
const verify = (bundle: string, what: readonly string[] = ['artifact.txt', `sha256:${digest}`]) =>
  Promise.all(what.map((one) => portcullis('sigstore-verify-bundle', '--bundle', bundle, ...flags, one)));

const good: readonly (readonly [string, Making])[] = [
  ['a file, Rekor v1', { rekor: 1 }],
  ['a file, Rekor v1 and a time stamp', { rekor: 1, stamp: true }],
  ['a statement, Rekor v1', { rekor: 1, statement: 'intoto' }],
  ['a file, Rekor v2', { rekor: 2, stamp: true }],
  ['a statement, Rekor v2', { rekor: 2, stamp: true, statement: 'dsse' }],
];

for (const [name, making] of good) {
  test(`verifies what sigstore-js created with the mock: ${name}`, async () => {
    const [byFile, byDigest] = await verify(await make(making));
    assert.deepEqual([byFile?.code, byDigest?.code], [0, 0], `${byFile?.stderr}${byDigest?.stderr}`);
  });
}

test('does not verify entries that the mock logs wrongly', async () => {
  for (const [making, says] of [
    [{ rekor: 1, statement: 'dsse' }, /it is for another signature/],
    [{ rekor: 2, stamp: true }, /does not lead to the root of the checkpoint/],
  ] as const) {
    mend = false;
    const bundle = await make(making).finally(() => (mend = true));
    for (const { code, stderr } of await verify(bundle)) {
      assert.equal(code, 1);
      assert.match(stderr, says);
    }
  }
});

test('signs with the mock, also if the signing configuration names no time stamp authority', async () => {
  const service = (majorApiVersion: number): object[] => [
    { url, majorApiVersion, validFor: { start: new Date(Date.now() - 3_600_000) }, operator: 'mock' },
  ];
  const any = { selector: 'ANY' };
  for (const [name, rekor, stamps] of [
    // As `cosign signing-config create` writes it.
    ['1.sc.json', 1, { tsaConfig: {} }],
    ['2.sc.json', 2, { tsaUrls: service(1), tsaConfig: any }],
  ] as const) {
    const config = {
      mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
      caUrls: service(1),
      rekorTlogUrls: service(rekor),
    };
    await writeFile(join(folder, name), JSON.stringify({ ...config, rekorTlogConfig: any, ...stamps }));
    const bundle = `${name}.bundle`;
    const words = ['--identity-token', token, '--signing-config', name, '--bundle', bundle, 'artifact.txt'];
    const signed = await portcullis('sigstore-sign-bundle', ...words);
    assert.equal(signed.code, 0, signed.stderr);
    const [found] = await verify(bundle, ['artifact.txt']);
    assert.equal(found?.code, 0, found?.stderr ?? '');
  }
});
