import type { Row } from './row.ts';

const authorisation = 'base/distribution/authorisation.test.ts';
const service = 'base/distribution/service-tokens.test.ts';
const client = 'base/http/client.test.ts';
const hostile = 'trust/sigstore/hostile.test.ts';
const verify = 'trust/sigstore/verify.test.ts';
const doesNot = 'does not verify: ${name}';
const unpack = 'runtime/images/unpack/unpack-layer.test.ts';
const noFetch =
  'the trust service fetches nothing that a client names: it has no key URL, no issuer and no discovery';
const noProxyCache = 'we run no registry and no pull-through cache';

/** Clients of registries, signatures and metadata. */
export const trustRows: readonly Row[] = [
  {
    id: 'CVE-2020-15157',
    what: 'containerd: credentials go to a URL that a manifest names',
    held: [
      [
        authorisation,
        'to another host carries no authorization, and a challenge from that host is not answered',
      ],
      [
        'base/distribution/misbehaving.test.ts',
        'whose next page is at another host are refused, and that host is not contacted',
      ],
    ],
  },
  {
    id: 'CVE-2021-41190',
    what: 'OCI: one document is an index to one reader and a manifest to another',
    held: [
      [
        'base/distribution/misbehaving.test.ts',
        'is refused if it is an index that a descriptor calls a manifest, or both in one (CVE-2021-41190)',
      ],
      ['base/distribution/manifest.test.ts', 'with ${name} is refused'],
      ['runtime/images/manifest/manifest.test.ts', 'manifest, ${what}: ${code}'],
    ],
  },
  {
    id: 'CVE-2026-48978',
    what: 'oras-go: credentials go to the realm that a hostile registry names',
    held: [
      [
        authorisation,
        'is refused if its token service on another host would receive the password over plain HTTP',
      ],
      [
        service,
        'are requested with the credentials of the registry only at the registry’s own token service',
      ],
      ['base/distribution/redirects.test.ts', 'cannot direct token requests to ${host}'],
    ],
  },
  {
    id: 'CVE-2026-50151',
    what: 'oras-go: credentials and content go to the Location of an upload',
    held: [[authorisation, 'of an upload is not followed, and the content is not sent to another host']],
  },
  {
    id: 'GHSA-vh4v-2xq2-g5cg',
    what: 'oras-go: credentials go along with a redirect',
    held: [
      [
        authorisation,
        'to another host carries no authorization, and a challenge from that host is not answered',
      ],
      [client, 'to another remote host is followed, without credentials or unknown headers'],
    ],
  },
  {
    id: 'CVE-2026-33540',
    what: 'distribution: the pull-through cache gives credentials to a hostile realm',
    absent: noProxyCache,
  },
  {
    id: 'google/go-containerregistry#2193',
    what: 'go-containerregistry: credentials go to the realm that a hostile registry names',
    held: [
      [
        authorisation,
        'is refused if its token service on another host would receive the password over plain HTTP',
      ],
      [
        service,
        'the registry’s password is not sent to a service on another host that requests it by Basic authentication',
      ],
    ],
  },
  {
    id: 'CVE-2026-50162',
    what: 'oras-go: a symlink of an archive leads the extraction elsewhere',
    held: [
      [unpack, 'symlinks that point outside are resolved inside the layer'],
      ['test/e2e/hostile-images.test.ts', 'a layer contains ${what}'],
    ],
  },
  {
    id: 'CVE-2026-50163',
    what: 'oras-go: a hard link of an archive leads the extraction elsewhere',
    held: [
      [unpack, 'a hard link to a symlink links the symlink'],
      ['test/e2e/hostile-images.test.ts', 'a layer contains ${what}'],
    ],
  },
  {
    id: 'CVE-2025-24976',
    what: 'distribution: the key that a token itself brings is trusted',
    held: [
      [
        'trust/notary/tokens.test.ts',
        'accepts only tokens of its issuer, and only for the access that they grant',
      ],
    ],
  },
  {
    id: 'CVE-2026-35172',
    what: 'distribution: a stale cache of descriptors serves deleted blobs',
    absent: noProxyCache,
  },
  {
    id: 'CVE-2025-62725',
    what: 'compose: an annotation of a layer names a path outside of the folder',
    held: [
      ['base/distribution/manifest.test.ts', 'with hostile names in its annotations stays a plain map'],
      ['trust/transfer/layout.test.ts', 'a digest is not a path: nothing outside the folder is read'],
    ],
  },
  {
    id: 'CVE-2026-22703',
    what: 'cosign: any valid log entry is accepted, also the entry of another signature',
    held: [
      [hostile, '${what} is not a signature'],
      [verify, 'parts of two valid bundles do not make a valid one'],
      ['trust/attestation/older-log-entries.test.ts', 'counts, and only for this envelope and this signer'],
    ],
  },
  {
    id: 'CVE-2026-24122',
    what: 'cosign: an expired intermediate is accepted if the log is not consulted',
    held: [
      [hostile, 'a signature with a certificate that has expired, or is not yet valid, does not count'],
      ['trust/notation/notation.test.ts', 'without a time stamp the certificates must be valid now'],
    ],
  },
  {
    id: 'CVE-2026-39395',
    what: 'cosign: an attestation whose payload does not parse verifies',
    held: [
      ['trust/attestation/evaluate.test.ts', 'attestation: ${name}: ${outcome}'],
      [
        'trust/attestation/evaluate.test.ts',
        'no content of an envelope throws, takes long, or admits an unsigned statement',
      ],
    ],
  },
  {
    id: 'GHSA-fx35-mq7g-6g98',
    what: 'sigstore: a bare public key in the certificate field skips chain and policy',
    held: [
      [
        verify,
        'a key in place of the certificate is not an identity, and a key verifies only its own signatures',
      ],
      [hostile, '${what} is not a signature'],
    ],
  },
  {
    id: 'CVE-2026-49834',
    what: 'sigstore-go: one log, twice, meets a threshold of several',
    held: [[hostile, 'one log named twice does not count as two logs (CVE-2026-49834)']],
  },
  {
    id: 'CVE-2026-54787',
    what: 'sigstore: the time of a time stamp is not compared with the validity of the key',
    held: [
      [verify, doesNot],
      [hostile, 'a signature with a certificate that has expired, or is not yet valid, does not count'],
    ],
  },
  {
    id: 'CVE-2026-39984',
    what: 'timestamp-authority: constraints are checked on another certificate than the signing one',
    held: [
      [verify, doesNot],
      ['trust/notation/notation.test.ts', "another signature's time stamp does not count"],
    ],
  },
  {
    id: 'CVE-2026-44310',
    what: 'gitsign: a panic ends with exit code 0',
    absent: 'no Git signatures are verified',
  },
  {
    id: 'CVE-2026-44309',
    what: 'gitsign: the signature covers normalized bytes',
    absent: 'no Git signatures are verified',
  },
  {
    id: 'GHSA-pmwq-pjrm-6p5r',
    what: 'in-toto: negated patterns differ between implementations',
    absent: 'no in-toto layouts are read: patterns of policies have one implementation and no negation',
  },
  {
    id: 'CVE-2026-23991',
    what: 'go-tuf: a malformed answer ends the process',
    held: [
      [
        'trust/tuf-metadata/metadata.test.ts',
        'any JSON in place of metadata is refused with a readable error',
      ],
      ['trust/tuf-metadata/metadata.test.ts', 'changed bytes are refused, or read as changed'],
    ],
  },
  {
    id: 'CVE-2026-23992',
    what: 'go-tuf: a threshold of 0 is accepted',
    held: [['trust/tuf/trusted-set.test.ts', 'a threshold below 1 is refused (CVE-2026-23992)']],
  },
  {
    id: 'CVE-2026-24686',
    what: 'go-tuf: the name of a repository leads out of the cache folder',
    held: [
      [
        'trust/tuf-author/working-folder.test.ts',
        'a collection of any name has its own folder directly below the folder of collections',
      ],
      ['trust/tuf-author/to-folder.test.ts', 'a role name cannot lead out of the folder'],
    ],
  },
  {
    id: 'CVE-2026-24137',
    what: 'sigstore: the path of a TUF target can write files anywhere',
    held: [
      [
        'trust/tuf-client/client.test.ts',
        'a target of any name is downloaded below its folder, and only with the signed content',
      ],
    ],
  },
  {
    id: 'CVE-2024-56138',
    what: 'notation-go: revocation of the chain of a time stamp is not checked',
    held: [
      [
        'trust/notation/notation.test.ts',
        'of the certificate of a time stamping authority counts as well (CVE-2024-56138)',
      ],
    ],
  },
  {
    id: 'CVE-2024-51491',
    what: 'notation-go: an error of the cache of revocation lists ends the verification',
    held: [
      ['trust/notation/revocation/faults.test.ts', 'no fault admits an image'],
      ['trust/notation/renew.test.ts', 'stay unchanged while no server answers, or one answers garbage'],
    ],
  },
  {
    id: 'CVE-2026-24117',
    what: 'Rekor: the server fetches a key from a URL that the client supplies',
    absent: noFetch,
  },
  {
    id: 'CVE-2026-22772',
    what: 'Fulcio: a pattern of issuers matches foreign hosts, which are fetched',
    absent: noFetch,
  },
  {
    id: 'CVE-2026-49478',
    what: 'Fulcio: discovery follows a redirect to internal addresses',
    absent: noFetch,
  },
  {
    id: 'CVE-2025-66564',
    what: 'timestamp-authority: parsing allocates as much as the input says',
    held: [
      [
        'trust/sigstore/reading.test.ts',
        'damaged certificates and time stamps are errors with a place, without delay',
      ],
      ['trust/notation/hostile.test.ts', 'deep nesting, declared lengths and size are bounded'],
    ],
  },
  {
    id: 'CVE-2025-66506',
    what: 'Fulcio: splitting a token with many dots exhausts memory',
    held: [
      [
        'trust/notary/tokens.test.ts',
        'accepts only tokens of its issuer, and only for the access that they grant',
      ],
    ],
  },
  {
    id: 'CVE-2026-48702',
    what: 'a compressed answer exhausts memory',
    held: [
      [client, 'that is compressed is not decompressed, and its compressed size counts'],
      [unpack, 'decompression bombs are refused by ratio, by bytes and by count'],
    ],
  },
  {
    id: 'CVE-2026-49835',
    what: 'metric labels that requests choose exhaust memory',
    held: [
      [
        'test/e2e/observability.test.ts',
        '/metrics counts calls, pods, containers, pulls and verdicts, and names neither image nor id',
      ],
    ],
  },
  {
    id: 'CVE-2009-2408',
    what: 'NSS: a NUL in the name of a certificate ends the comparison',
    held: [[hostile, 'no identity that resembles the one in a policy is accepted for it']],
  },
];
