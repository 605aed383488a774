import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadSigningKey, openSigner } from '../../../trust/index.ts';
import { signImage } from '../../../trust/signing/sign-image.ts';
import {
  mockIssuer,
  mockSubject,
  startMockSigstore,
} from '../../../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../../../trust/sigstore/fixtures/mock-sigstore.ts';
import { findTool } from '../../fixtures/tools.ts';
import { carryReferrers, carryTag, flip } from './artifacts.ts';
import type { Change } from './artifacts.ts';
import type { Cell, OpenTool, Row } from './cells.ts';
import type { Ground, Published } from './ground.ts';

const run = promisify(execFile);
const foreign = mockSubject.replace('/team/', '/other/');
const noRepositories = 'cosign itself does not check which repository was signed';

/** How one form is signed and verified. Everything else about its cells is derived from this. */
interface Form {
  readonly name: string;
  readonly folder: string;
  readonly rules: string;
  readonly legacy: boolean;
  sign(image: Published, by: 'builder' | 'stranger'): Promise<unknown>;
  judge(image: Published): Promise<boolean>;
  ours(image: Published): Promise<unknown>;
  readonly expired: Cell | string;
  readonly missing: Cell;
  /** The signed parts of the registry content, each changed alone. */
  readonly flips: readonly Change[];
  /** Why cosign is not asked about these. */
  readonly flipsUnjudged?: string;
}

/**
 * cosign with keys, in both forms, and with identities, against a Fulcio, a Rekor of each version and a time
 * stamp authority on loopback.
 */
export const openCosign: OpenTool = async (ground) => {
  const bench = await openBench(ground);
  const forms = [
    keyed(bench, 'legacy'),
    keyed(bench, 'bundle'),
    keyless(bench, 1, 'bundle'),
    keyless(bench, 2, 'bundle'),
    keyless(bench, 1, 'legacy'),
  ];
  return {
    rows: forms.map((form) => rowOf(form, ground)),
    async close() {
      await bench.services.close();
    },
  };
};

/** The tool, keys and services with which the forms are signed and verified. */
interface Bench {
  readonly ground: Ground;
  /** Returns the path of a file of the tool. */
  at(name: string): string;
  cosign(...args: readonly string[]): Promise<unknown>;
  /** Returns whether cosign verifies. */
  judged(...args: readonly string[]): Promise<boolean>;
  readonly builder: Awaited<ReturnType<typeof loadSigningKey>>;
  readonly services: MockSigstore;
  /** Signs with an identity by our own code. */
  ourIdentity(image: Published, rekor: 1 | 2, format: 'bundle' | 'legacy'): Promise<undefined>;
}

const plain = ['--allow-insecure-registry', '--yes'];

const service = (url: string, majorApiVersion = 1): object[] => [
  { url, majorApiVersion, validFor: { start: '2020-01-01T00:00:00Z' }, operator: 'example' },
];

/**
 * A token as an issuer creates it, except for the signature, which neither cosign nor this Fulcio verifies.
 */
const token = (subject: string): string => {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: mockIssuer, sub: subject, aud: 'sigstore', iat: now, exp: now + 3600 };
  return ['{"alg":"RS256"}', JSON.stringify(claims), 'signature']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');
};

async function openBench(ground: Ground): Promise<Bench> {
  const { path } = findTool('cosign');
  const { folder } = ground;
  const at = (name: string): string => join(folder, name);
  const env = { ...process.env, HOME: folder, TUF_ROOT: at('tuf'), COSIGN_PASSWORD: 'secret' };
  const cosign = (...args: readonly string[]): Promise<unknown> => run(path, args, { env, timeout: 60_000 });
  const judged = (...args: readonly string[]): Promise<boolean> =>
    cosign('verify', '--allow-insecure-registry', ...args).then(
      () => true,
      () => false,
    );
  for (const name of ['builder', 'stranger'])
    await cosign('generate-key-pair', '--output-key-prefix', at(name));
  const builder = await loadSigningKey(at('builder.key'), {
    environment: { PORTCULLIS_PASSPHRASE: 'secret' },
  });

  const services = await startMockSigstore();
  writeFileSync(at('root.json'), JSON.stringify(services.trustedRoot()));

  const ourIdentity = async (
    image: Published,
    rekor: 1 | 2,
    format: 'bundle' | 'legacy',
  ): Promise<undefined> => {
    writeFileSync(at('token'), token(mockSubject));
    writeFileSync(at('ours.json'), JSON.stringify(services.signingConfig({ rekor })));
    const key = await openSigner({
      passphrase: { environment: {} },
      identityToken: { file: at('token') },
      signingConfig: at('ours.json'),
      now: new Date(),
    });
    await signImage({ repository: image.repository, digest: image.digest, key, format, now: new Date() });
    await key.close();
    return undefined;
  };

  for (const rekor of [1, 2] as const)
    writeFileSync(
      at(`signing-${rekor}.json`),
      JSON.stringify({
        mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
        caUrls: service(services.url),
        rekorTlogUrls: service(services.url, rekor),
        rekorTlogConfig: { selector: 'ANY' },
        ...(rekor === 2
          ? { tsaUrls: service(`${services.url}/api/v1/timestamp`), tsaConfig: { selector: 'ANY' } }
          : {}),
      }),
    );
  return { ground, at, cosign, judged, builder, services, ourIdentity };
}

function keyed({ ground, at, cosign, judged, builder }: Bench, format: 'bundle' | 'legacy'): Form {
  const slug = `key-${format}`;
  const name = format === 'legacy' ? ', signedIdentity: { type: matchRepository }' : '';
  const offline = ['--insecure-ignore-tlog=true', '--private-infrastructure'];
  const sign: Form['sign'] = ({ target }, by) =>
    cosign(
      ...[
        'sign',
        '--key',
        at(`${by}.key`),
        `--new-bundle-format=${format === 'bundle'}`,
        '--tlog-upload=false',
      ],
      ...['--use-signing-config=false', ...plain, target],
    );
  return {
    name: `cosign 3 ${format}`,
    folder: slug,
    rules:
      `  - images: ["${ground.host}/${slug}/in/**"]\n    require: { cosign: { key: builder.pub${name} } }\n` +
      `  - images: ["${ground.host}/${slug}/logged/**"]\n    require: { cosign: { key: builder.pub, log: { root: root.json } } }\n`,
    legacy: format === 'legacy',
    sign,
    judge: ({ target }) => judged('--key', at('builder.pub'), ...offline, target),
    ours: ({ repository, digest }) =>
      signImage({ repository, digest, key: builder, format, now: new Date() }),
    expired: 'a key does not expire, and without a log or a time stamp the time of a signature is unknown',
    missing: {
      outcome: 'deny',
      codes: ['TRUST_SIGSTORE_LOG'],
      folder: 'logged',
      async arrange(image) {
        await sign(image, 'builder');
        return undefined;
      },
      judge: ({ target }) => judged('--key', at('builder.pub'), '--trusted-root', at('root.json'), target),
    },
    flips: format === 'legacy' ? legacyFlips.slice(0, 2) : bundleFlips.slice(0, 2),
  };
}

function keyless(
  { ground, at, cosign, judged, services, ourIdentity }: Bench,
  rekor: 1 | 2,
  format: 'bundle' | 'legacy',
): Form {
  const slug = `keyless-${rekor}-${format}`;
  const name = format === 'legacy' ? ', signedIdentity: { type: matchRepository }' : '';
  const form = format === 'legacy' ? ['--new-bundle-format=false'] : [];
  const more = rekor === 2 ? ['--use-signed-timestamps'] : [];
  const config =
    format === 'legacy'
      ? ['--use-signing-config=false', '--fulcio-url', services.url, '--rekor-url', services.url]
      : ['--signing-config', at(`signing-${rekor}.json`)];
  const judge: Form['judge'] = ({ target }) =>
    judged(
      ...[
        '--trusted-root',
        at('root.json'),
        '--certificate-identity',
        mockSubject,
        '--certificate-oidc-issuer',
        mockIssuer,
      ],
      ...more,
      target,
    );
  const sign: Form['sign'] = ({ target }, by) =>
    cosign(
      ...['sign', ...form, ...config, '--trusted-root', at('root.json')],
      ...['--identity-token', token(by === 'builder' ? mockSubject : foreign), ...plain, target],
    );
  return {
    name: `cosign 3 keyless ${format}, Rekor v${rekor}${rekor === 2 ? ', TSA' : ''}`,
    folder: slug,
    rules: `  - images: ["${ground.host}/${slug}/in/**"]\n    require: { sigstore: { issuer: "${mockIssuer}", subject: "${mockSubject}", root: root.json${name} } }\n`,
    legacy: format === 'legacy',
    sign,
    judge,
    ours: (image) => ourIdentity(image, rekor, format),
    expired: 'cosign and Portcullis refuse to sign when the certificate has expired',
    missing: {
      outcome: 'deny',
      codes: ['TRUST_SIGSTORE_LOG', 'TRUST_SIGSTORE_TIME'],
      async arrange(image) {
        await sign(image, 'builder');
        const copy = await ground.copy(image, image.repository.repository.replace('/in/', '/in/bare-'));
        await (format === 'legacy' ? carryTag : carryReferrers)(
          image,
          copy,
          format === 'legacy' ? withoutEntry : withoutEntries,
        );
        return copy;
      },
      judge,
    },
    flips: format === 'legacy' ? legacyFlips : bundleFlips,
    ...(rekor === 2
      ? {
          flipsUnjudged:
            'if a time stamp proves the time, cosign 3.1.3 ignores a log entry whose body was changed',
        }
      : {}),
  };
}

function rowOf(form: Form, ground: Ground): Row {
  const { judge } = form;
  const carry = form.legacy ? carryTag : carryReferrers;
  const refused = (
    arrange: (image: Published) => Promise<Published | undefined>,
    ...codes: readonly string[]
  ): Cell => ({
    outcome: 'deny',
    codes,
    arrange,
    judge,
  });
  const signed = async (image: Published, by: 'builder' | 'stranger' = 'builder'): Promise<undefined> => {
    await form.sign(image, by);
    return undefined;
  };
  const beside = (image: Published, where: string): Promise<Published> =>
    ground.copy(image, image.repository.repository.replace('/in/', where));
  return {
    name: form.name,
    folder: form.folder,
    rules: form.rules,
    cells: {
      good: { ...refused((image) => signed(image), 'TRUST_SIGNATURE_VALID'), outcome: 'admit' },
      'other identity': refused(
        (image) => signed(image, 'stranger'),
        'TRUST_SIGNATURE_OTHER_KEY',
        'TRUST_SIGNATURE_WRONG',
        'TRUST_SIGSTORE_IDENTITY',
      ),
      'other digest': refused(async (image) => {
        const source = await ground.publish(
          `${form.folder}/source`,
          image.digest === image.index ? 'index' : 'manifest',
        );
        await signed(source);
        await carry(source, image);
        return undefined;
      }, 'TRUST_SIGNATURE_OTHER_DIGEST'),
      // The older form names the signed repository. A bundle does not, so that only the rules restrict it.
      'other repository': {
        ...refused(
          async (image) => {
            await signed(image);
            const copy = await beside(image, form.legacy ? '/in/other-' : '/out/');
            await carry(image, copy);
            return copy;
          },
          form.legacy ? 'TRUST_IDENTITY_OTHER' : 'TRUST_NO_RULE',
        ),
        judge: noRepositories,
      },
      expired: form.expired,
      revoked: form.folder.startsWith('keyless')
        ? 'certificates of ten minutes are not revoked; a root that is no longer trusted is removed from the trusted root'
        : 'keys of cosign are not revoked: they are removed from the policy',
      'missing log entry': form.missing,
      'flipped byte': {
        ...refused(
          async (image) => {
            await signed(image);
            const copy = await beside(image, '/in/flipped-');
            // One manifest contains all signatures of the older form.
            if (form.legacy) await carryTag(image, copy, form.flips[part(image)]);
            else for (const change of form.flips) await carryReferrers(image, copy, change);
            return copy;
          },
          'TRUST_SIGNATURE_WRONG',
          'TRUST_SIGNATURE_MALFORMED',
          'TRUST_SIGSTORE_LOG',
          'TRUST_SIGSTORE_CERTIFICATE',
        ),
        judge: form.flipsUnjudged ?? judge,
      },
    },
    ours: {
      async arrange(image) {
        await form.ours(image);
        return undefined;
      },
      judge,
    },
  };
}

/** 0 for the index, 1 for the manifest. */
function part({ digest, index }: Published): number {
  return digest === index ? 0 : 1;
}

interface BundleJson {
  verificationMaterial: { tlogEntries?: { canonicalizedBody: string }[]; certificate?: { rawBytes: string } };
  dsseEnvelope: { payload: string; signatures: { sig: string }[] };
}

function changed(change: (bundle: BundleJson) => void): Change {
  return ({ bytes, annotations }) => {
    const bundle = JSON.parse(bytes.toString()) as BundleJson;
    change(bundle);
    return { bytes: Buffer.from(JSON.stringify(bundle)), annotations };
  };
}

const flipped = (base64: string, at: number): string =>
  flip(Buffer.from(base64, 'base64'), at).toString('base64');

const withoutEntries = changed((bundle) => {
  bundle.verificationMaterial.tlogEntries = [];
});

const bundleFlips: readonly Change[] = [
  changed(({ dsseEnvelope: { signatures } }) => {
    for (const signature of signatures) signature.sig = flipped(signature.sig, 0.6);
  }),
  changed(({ dsseEnvelope }) => {
    dsseEnvelope.payload = flipped(dsseEnvelope.payload, 0.5);
  }),
  changed(({ verificationMaterial: { certificate } }) => {
    if (certificate !== undefined) certificate.rawBytes = flipped(certificate.rawBytes, 0.5);
  }),
  changed(({ verificationMaterial: { tlogEntries = [] } }) => {
    for (const entry of tlogEntries) entry.canonicalizedBody = flipped(entry.canonicalizedBody, 0.5);
  }),
];

const annotationNames = {
  signature: 'dev.cosignproject.cosign/signature',
  bundle: 'dev.sigstore.cosign/bundle',
};

const withoutEntry: Change = ({ bytes, annotations }) => ({
  bytes,
  annotations: Object.fromEntries(
    Object.entries(annotations).filter(([name]) => name !== annotationNames.bundle),
  ),
});

const legacyFlips: readonly Change[] = [
  ({ bytes, annotations }) => ({
    bytes,
    annotations: {
      ...annotations,
      [annotationNames.signature]: flipped(annotations[annotationNames.signature] ?? '', 0.6),
    },
  }),
  ({ bytes, annotations }) => ({ bytes: flip(bytes, 0.5), annotations }),
];
