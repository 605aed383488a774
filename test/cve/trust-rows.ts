import type { Row } from './row.ts';

const authorisation = 'base/distribution/authorisation.test.ts';
const service = 'base/distribution/service-tokens.test.ts';
const client = 'base/http/client.test.ts';
const hostile = 'trust/sigstore/hostile.test.ts';
const verify = 'trust/sigstore/verify.test.ts';
const doesNot = 'does not verify: ${name}';
const unpack = 'runtime/images/unpack/unpack-layer.test.ts';
const noFetch = 'the trust service fetches nothing that a client names: it has no key URL, no issuer and no discovery';
const noProxyCache = 'we run no registry and no pull-through cache';

/** Clients of registries, signatures and metadata. */
export const trustRows: readonly Row[] = [
  {
    id: 'CVE-2020-15157',
    what: 'containerd: credentials go to a URL that a manifest names',
    held: [
      [authorisation, 'to another host carries no authorization, and a demand from there is not answered'],
      ['base/distribution/misbehaving.test.ts', 'whose next page is at another host are refused, and none is asked there'],
    ],
  },
  {
    id: 'CVE-2021-41190',
    what: 'OCI: one document is an index to one reader and a manifest to another',
    held: [
      [
        'base/distribution/misbehaving.test.ts',
        'an index that a descriptor calls a manifest, and both in one, are refused (CVE-2021-41190)',
      ],
      ['base/distribution/manifest.test.ts', 'with ${name} is refused'],
      ['runtime/images/manifest/manifest.test.ts', 'manifest, ${what}: ${code}'],
    ],
  },
  {
    id: 'CVE-2026-48978',
    what: 'oras-go: credentials go to the realm that a hostile registry names',
    held: [
      [authorisation, 'whose token service would get the password in plain HTTP elsewhere is refused'],
      [service, 'are asked for with them where the registry itself sends its clients, and nowhere else'],
      ['base/distribution/redirects.test.ts', 'does not have tokens asked for at ${host}'],
    ],
  },
  {
    id: 'CVE-2026-50151',
    what: 'oras-go: credentials and content go to the Location of an upload',
    held: [[authorisation, 'of an upload is not followed, nor is its content taken elsewhere']],
  },
  {
    id: 'GHSA-vh4v-2xq2-g5cg',
    what: 'oras-go: credentials go along with a redirect',
    held: [
      [authorisation, 'to another host carries no authorization, and a demand from there is not answered'],
      [client, 'to another host elsewhere is followed, without credentials or unknown headers'],
    ],
  },
  { id: 'CVE-2026-33540', what: 'distribution: the pull-through cache gives credentials to a hostile realm', absent: noProxyCache },
  {
    id: 'google/go-containerregistry#2193',
    what: 'go-containerregistry: credentials go to the realm that a hostile registry names',
    held: [
      [authorisation, 'whose token service would get the password in plain HTTP elsewhere is refused'],
      [service, 'a password is not shown to a service that demands it for itself on another host'],
    ],
  },
  {
    id: 'CVE-2026-50162',
    what: 'oras-go: a symlink of an archive leads the extraction elsewhere',
    held: [
      [unpack, 'symlinks to the outside are followed inside the layer only'],
      ['test/e2e/hostile-images.test.ts', 'a layer holds ${what}'],
    ],
  },
  {
    id: 'CVE-2026-50163',
    what: 'oras-go: a hard link of an archive leads the extraction elsewhere',
    held: [
      [unpack, 'a hard link to a symlink links the symlink'],
      ['test/e2e/hostile-images.test.ts', 'a layer holds ${what}'],
    ],
  },
  {
    id: 'CVE-2025-24976',
    what: 'distribution: the key that a token itself brings is trusted',
    held: [['trust/notary/tokens.test.ts', 'believes those of its issuer for what they grant, and no others']],
  },
  { id: 'CVE-2026-35172', what: 'distribution: a stale cache of descriptors serves deleted blobs', absent: noProxyCache },
  {
    id: 'CVE-2025-62725',
    what: 'compose: an annotation of a layer names a path outside of the folder',
    held: [
      ['base/distribution/manifest.test.ts', 'with hostile names in its annotations stays a plain map'],
      ['trust/transfer/layout.test.ts', 'a digest is no path: nothing outside of the folder is read'],
    ],
  },
  {
    id: 'CVE-2026-22703',
    what: 'cosign: any valid entry of the log is accepted, also that of another signature',
    held: [
      [hostile, '${what} is no signature'],
      [verify, 'parts of two good bundles make no good one'],
      ['trust/attestation/older-log-entries.test.ts', 'counts, and only for this envelope and this signer'],
    ],
  },
  {
    id: 'CVE-2026-24122',
    what: 'cosign: an expired intermediate is accepted where the log is not asked',
    held: [
      [hostile, 'who signs with a certificate that has ended, or is not yet valid, has not signed'],
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
        'whatever stands in an envelope, nothing throws, nothing takes long, and nothing unsigned is admitted',
      ],
    ],
  },
  {
    id: 'GHSA-fx35-mq7g-6g98',
    what: 'sigstore: a bare public key in the certificate field skips chain and policy',
    held: [
      [verify, 'a key in place of the certificate is no identity, and a key verifies only its own'],
      [hostile, '${what} is no signature'],
    ],
  },
  {
    id: 'CVE-2026-49834',
    what: 'sigstore-go: one log, twice, meets a threshold of several',
    held: [[hostile, 'one log named twice is no second log (CVE-2026-49834)']],
  },
  {
    id: 'CVE-2026-54787',
    what: 'sigstore: the time of a stamp is not compared with the validity of the key',
    held: [
      [verify, doesNot],
      [hostile, 'who signs with a certificate that has ended, or is not yet valid, has not signed'],
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
  { id: 'CVE-2026-44310', what: 'gitsign: a panic ends with exit code 0', absent: 'no Git signatures are verified' },
  { id: 'CVE-2026-44309', what: 'gitsign: the signature is over normalised bytes', absent: 'no Git signatures are verified' },
  {
    id: 'GHSA-pmwq-pjrm-6p5r',
    what: 'in-toto: negated patterns differ between implementations',
    absent: 'no in-toto layouts are read: patterns of policies have one implementation and no negation',
  },
  {
    id: 'CVE-2026-23991',
    what: 'go-tuf: a malformed answer ends the process',
    held: [
      ['trust/tuf/metadata/metadata.test.ts', 'any JSON in the place of metadata is refused by a sentence'],
      ['trust/tuf/metadata/metadata.test.ts', 'bytes that were changed anywhere are not read as before, or not at all'],
    ],
  },
  {
    id: 'CVE-2026-23992',
    what: 'go-tuf: a threshold of 0 is accepted',
    held: [['trust/tuf/trusted-set.test.ts', 'a threshold below 1 is no threshold (CVE-2026-23992)']],
  },
  {
    id: 'CVE-2026-24686',
    what: 'go-tuf: the name of a repository leads out of the cache',
    held: [
      [
        'trust/tuf/author/working-folder.test.ts',
        'whatever its name, a collection’s folder is one below all collections, and nobody else’s',
      ],
      ['trust/tuf/author/to-folder.test.ts', 'a role is no way out of the folder'],
    ],
  },
  {
    id: 'CVE-2026-24137',
    what: 'sigstore: the path of a TUF target writes files anywhere',
    held: [['trust/tuf/client/client.test.ts', 'a target is downloaded below its folder, whatever its name, and only as it was signed']],
  },
  {
    id: 'CVE-2024-56138',
    what: 'notation-go: revocation of the chain of a time stamp is not checked',
    held: [['trust/notation/notation.test.ts', 'of the certificate of a time stamping authority counts as well (CVE-2024-56138)']],
  },
  {
    id: 'CVE-2024-51491',
    what: 'notation-go: an error of the cache of revocation lists ends the verification',
    held: [
      ['trust/notation/revocation/faults.test.ts', 'no fault admits'],
      ['trust/notation/renew.test.ts', 'stay as they are while nobody answers, or answers garbage'],
    ],
  },
  { id: 'CVE-2026-24117', what: 'Rekor: the server fetches a key from a URL of the client', absent: noFetch },
  { id: 'CVE-2026-22772', what: 'Fulcio: a pattern of issuers matches foreign hosts, which are fetched', absent: noFetch },
  { id: 'CVE-2026-49478', what: 'Fulcio: discovery follows a redirect to inner addresses', absent: noFetch },
  {
    id: 'CVE-2025-66564',
    what: 'timestamp-authority: parsing allocates as much as the input says',
    held: [
      ['trust/sigstore/reading.test.ts', 'damaged certificates and time stamps are errors with a place, at once'],
      ['trust/notation/hostile.test.ts', 'nesting, promises of length, and size'],
    ],
  },
  {
    id: 'CVE-2025-66506',
    what: 'Fulcio: a token of many dots is split into memory',
    held: [['trust/notary/tokens.test.ts', 'believes those of its issuer for what they grant, and no others']],
  },
  {
    id: 'CVE-2026-48702',
    what: 'memory by a compressed answer',
    held: [
      [client, 'that is compressed is not decompressed, and counts as it was sent'],
      [unpack, 'bombs are refused by ratio, by bytes and by count'],
    ],
  },
  {
    id: 'CVE-2026-49835',
    what: 'memory by labels of metrics that requests choose',
    held: [
      ['test/e2e/observability.test.ts', '/metrics counts calls, pods, containers, pulls and verdicts, and names neither image nor id'],
    ],
  },
  {
    id: 'CVE-2009-2408',
    what: 'NSS: a NUL in the name of a certificate ends the comparison',
    held: [[hostile, 'nobody with a name like the one that a policy names passes for him']],
  },
];
