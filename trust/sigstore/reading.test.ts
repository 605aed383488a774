import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { readCertificate } from '../x509/certificate.ts';
import { readTimeStamp } from '../x509/time-stamp.ts';
import { createMerkleLog, inclusionProof } from './fixtures/merkle-log.ts';
import { readBundle } from './bundle.ts';
import { isSignedByLog, readCheckpoint } from './checkpoint.ts';
import { subjectMatches } from './identity.ts';
import { rootOfProof } from './merkle.ts';
import { embeddedTrustedRoot } from './seeds.ts';
import { readTrustedRoot } from './trusted-root.ts';

type Json = Record<string, unknown>;

const patterns: readonly (readonly [pattern: string, text: string, matches: boolean])[] = [
  ['a@example.com', 'a@example.com', true],
  ['a@example.com', 'xa@example.com', false],
  ['a@example.com', 'a@exampleXcom', false],
  ['*@example.com', 'a@example.com', true],
  ['*@example.com', 'a@example.com.evil.example', false],
  ['*@example.com', 'https://evil.example/x@example.com', false],
  [
    'https://github.com/o/r/.github/workflows/w.yml@refs/tags/*',
    'https://github.com/o/r/.github/workflows/w.yml@refs/tags/v1',
    true,
  ],
  [
    'https://github.com/o/r/.github/workflows/w.yml@refs/tags/*',
    'https://github.com/o/r/.github/workflows/w.yml@refs/tags/v/1',
    true,
  ],
  [
    'https://github.com/o/r/.github/workflows/w.yml@refs/tags/*',
    'https://github.com/o/r/.github/workflows/w.yml@refs/heads/main',
    false,
  ],
  [
    'https://github.com/o/*/.github/workflows/w.yml@refs/tags/*',
    'https://github.com/o/r/.github/workflows/w.yml@refs/tags/v1',
    true,
  ],
  // A branch of another repository, named so that a loose wildcard would take it for the workflow.
  [
    'https://github.com/o/*/.github/workflows/w.yml@refs/tags/*',
    'https://github.com/o/evil/.github/workflows/x.yml@refs/heads/.github/workflows/w.yml@refs/tags/v1',
    false,
  ],
  [
    'https://github.com/o/**/w.yml@refs/tags/v1',
    'https://github.com/o/r/.github/workflows/w.yml@refs/tags/v1',
    true,
  ],
  ['', '', true],
  ['a*', 'a', true],
  ['a*b', 'ab', true],
  ['a*b', 'a/b', false],
  ['a**b', 'a/b', true],
  ['a.c', 'abc', false],
  ['(a+)+$', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', false],
];

for (const [pattern, text, matches] of patterns)
  test(`"${pattern}" ${matches ? 'matches' : 'does not match'} "${text}"`, () =>
    assert.equal(subjectMatches(pattern, text), matches));

test('patterns with many stars are matched quickly', () => {
  // CPU time, because wall time depends on other processes.
  const began = process.cpuUsage();
  subjectMatches('*a'.repeat(256), 'a'.repeat(4096));
  subjectMatches('**a'.repeat(256), `${'a'.repeat(4095)}b`);
  assert.ok(process.cpuUsage(began).user < 1_000_000);
});

test('every inclusion proof of every small tree leads to its root, and to no other', () => {
  for (let size = 1; size <= 33; size += 1) {
    const leaves = Array.from({ length: size }, (_, index) => Buffer.from(`leaf ${index}`));
    for (const [index, leaf] of leaves.entries()) {
      const { root, hashes } = inclusionProof(index, leaves);
      assert.ok(rootOfProof(leaf, BigInt(index), BigInt(size), hashes)?.equals(root));
      for (const [at, of, proof] of [
        [index + 1, size, hashes],
        [index, size, hashes.slice(1)],
        [index, size, [...hashes, root]],
        [index, 2 * size, hashes],
      ] as const)
        if (hashes.length > 0) assert.notDeepEqual(rootOfProof(leaf, BigInt(at), BigInt(of), proof), root);
    }
  }
});

test('a checkpoint is signed by its log alone, whoever else signs', () => {
  const key = generateKeyPairSync('ed25519');
  const log = createMerkleLog('log.example', key.privateKey);
  const { envelope } = (
    log.add('dsse', Buffer.from('x')) as { inclusionProof: { checkpoint: { envelope: string } } }
  ).inclusionProof.checkpoint;
  const trusted = {
    name: 'log',
    id: log.id,
    key: key.publicKey,
    digest: null,
    validFor: { start: 0, end: Infinity },
  };
  assert.ok(isSignedByLog(readCheckpoint(envelope), trusted));
  assert.ok(isSignedByLog(readCheckpoint(`${envelope}\u2014 witness.example AAAAAAAA\n`), trusted));
  assert.ok(
    !isSignedByLog(readCheckpoint(envelope), { ...trusted, key: generateKeyPairSync('ed25519').publicKey }),
  );
  // Whatever id the root has for the log's key, the checkpoint refers to the key by the C2SP id or by the
  // root's id, and by no other.
  const otherwise = { ...trusted, id: Buffer.alloc(32, 1).toString('base64') };
  assert.ok(isSignedByLog(readCheckpoint(envelope), otherwise));
  const signature = /\S+(?=\n$)/.exec(envelope)?.[0] ?? '';
  const hinted = (hint: number): string =>
    envelope.replace(
      signature,
      Buffer.concat([Buffer.alloc(4, hint), Buffer.from(signature, 'base64').subarray(4)]).toString('base64'),
    );
  for (const [hint, counts] of [
    [1, true],
    [2, true],
    [3, false],
  ] as const)
    assert.equal(
      isSignedByLog(readCheckpoint(hinted(hint)), {
        ...otherwise,
        checkpointId: Buffer.alloc(4, 2).toString('base64'),
      }),
      counts,
    );
  for (const [from, to] of [
    ['\n6\n', '\n7\n'],
    ['log.example\n', 'log.example2\n'],
    ['\u2014 log.example', '\u2014 other.example'],
  ] as const)
    assert.ok(!isSignedByLog(readCheckpoint(envelope.replace(from, to)), trusted), to);
  for (const broken of [
    '',
    '\n\n',
    'a\n',
    'a\nb\n\n',
    envelope.slice(0, -1),
    envelope.replace('\u2014', '-'),
    envelope.replace('\n6\n', '\n06\n'),
  ])
    assert.throws(() => readCheckpoint(broken), /checkpoint/);
});

test('the root that ships with this version names the public services', () => {
  const root = readTrustedRoot(embeddedTrustedRoot());
  assert.deepEqual(root.ignored, []);
  assert.deepEqual(
    root.logs.map(({ name }) => name),
    ['https://rekor.sigstore.dev', 'https://log2025-1.rekor.sigstore.dev'],
  );
  assert.ok(
    root.authorities.length > 0 && root.certificateLogs.length > 0 && root.timeStampAuthorities.length > 0,
  );
});

/** Changes of the public root that must be refused, each with its message. */
const roots: readonly (readonly [string, (root: Json) => void, RegExp])[] = [
  ['another media type', (root) => void (root['mediaType'] = 'x'), /not a sigstore trusted root/],
  [
    'a log without the start of its validity',
    (root) => Reflect.deleteProperty(logOf(root)['validFor'] as Json, 'start'),
    /tlogs\[0\].*validFor.start/,
  ],
  [
    'a log without validity',
    (root) => Reflect.deleteProperty(logOf(root), 'validFor'),
    /tlogs\[0\].*validFor.start/,
  ],
  [
    'an end before the start',
    (root) => void ((logOf(root)['validFor'] as Json)['end'] = '2000-01-01T00:00:00Z'),
    /validFor.end/,
  ],
  [
    'an invalid time',
    (root) => void ((logOf(root)['validFor'] as Json)['start'] = 'yesterday'),
    /validFor.start/,
  ],
  [
    'an invalid key',
    (root) => void (logOf(root)['rawBytes'] = 'AAAA'),
    /cannot be read as PKIX_ECDSA_P256_SHA_256/,
  ],
  ['a key that is not base64', (root) => void (logOf(root)['rawBytes'] = '?'), /not base64/],
  [
    'a log without identity',
    (root) => Reflect.deleteProperty((root['tlogs'] as Json[])[0] as Json, 'logId'),
    /logId/,
  ],
  [
    'an authority whose start is not a time',
    (root) => void (((root['certificateAuthorities'] as Json[])[0] as Json)['validFor'] = { start: 'x' }),
    /certificateAuthorities\[0\].validFor/,
  ],
  [
    'an authority with an invalid validity',
    (root) => void (((root['certificateAuthorities'] as Json[])[0] as Json)['validFor'] = 'always'),
    /certificateAuthorities\[0\].validFor/,
  ],
  [
    'an authority without certificates',
    (root) => void (((root['certificateAuthorities'] as Json[])[0] as Json)['certChain'] = {}),
    /1 to 8/,
  ],
  [
    'an authority with an invalid certificate',
    (root) =>
      void (((root['timestampAuthorities'] as Json[])[0] as Json)['certChain'] = {
        certificates: [{ rawBytes: 'MAA=' }],
      }),
    /timestampAuthorities\[0\].certChain.certificates\[0\]: .* at byte/,
  ],
  ['logs that are not a list', (root) => void (root['tlogs'] = {}), /tlogs is not a list/],
];

function logOf(root: Json): Json {
  return ((root['tlogs'] as Json[])[0] as Json)['publicKey'] as Json;
}

for (const [name, change, says] of roots) {
  test(`refuses a trusted root with ${name}`, () => {
    const root = JSON.parse(embeddedTrustedRoot().toString()) as Json;
    change(root);
    assert.throws(() => readTrustedRoot(Buffer.from(JSON.stringify(root))), says);
  });
}

test('an authority without a start is limited by its certificates, and its end applies', () => {
  const end = '2030-01-01T00:00:00Z';
  for (const [validFor, until] of [
    [undefined, Number.POSITIVE_INFINITY],
    [null, Number.POSITIVE_INFINITY],
    [{}, Number.POSITIVE_INFINITY],
    [{ start: null, end }, Date.parse(end)],
  ] as const) {
    const root = JSON.parse(embeddedTrustedRoot().toString()) as Json;
    ((root['certificateAuthorities'] as Json[])[0] as Json)['validFor'] = validFor;
    const [authority] = readTrustedRoot(Buffer.from(JSON.stringify(root))).authorities;
    assert.deepEqual(authority?.validFor, { start: Number.NEGATIVE_INFINITY, end: until });
  }
});

test('an unknown key type is ignored and reported, and the rest remains valid', () => {
  const root = JSON.parse(embeddedTrustedRoot().toString()) as Json;
  logOf(root)['keyDetails'] = 'ML_DSA_99';
  const read = readTrustedRoot(Buffer.from(JSON.stringify(root)));
  assert.equal(read.logs.length, 1);
  assert.deepEqual(read.ignored, ['tlogs[0]: ML_DSA_99']);
});

test('damaged certificates and time stamps are errors with a place, without delay', () => {
  const root = readTrustedRoot(embeddedTrustedRoot());
  const good = root.authorities[1]?.chain[0]?.raw ?? Buffer.alloc(0);
  assert.ok(readCertificate(good).isAuthority);
  fc.assert(
    fc.property(
      fc.nat(good.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.nat(good.length),
      (at, mask, length) => {
        const changed = Buffer.from(good);
        changed[at] = (changed[at] as number) ^ mask;
        for (const bytes of [changed, good.subarray(0, length), Buffer.concat([good, changed])]) {
          for (const read of [readCertificate, readTimeStamp]) {
            try {
              read(bytes);
            } catch (error) {
              assert.match((error as Error).message, /at byte \d+$/);
            }
          }
        }
      },
    ),
    fuzzing(8, 400),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.throws(() => readCertificate(bytes), /at byte \d+$/);
      assert.throws(() => readTimeStamp(bytes), /at byte \d+$/);
    }),
    fuzzing(9, 300),
  );
});

test('a bundle with another media type than text of a known version is refused', () => {
  const bundle = { verificationMaterial: { publicKey: {} }, messageSignature: { signature: 'AAAA' } };
  const known = 'application/vnd.dev.sigstore.bundle.v0.3+json';
  const read = (mediaType: unknown): unknown =>
    readBundle(Buffer.from(JSON.stringify({ ...bundle, mediaType })));
  assert.doesNotThrow(() => read(known));
  for (const mediaType of ['constructor', '__proto__', [known], { toString: 1 }, undefined])
    assert.throws(() => read(mediaType), /it is not a sigstore bundle of version 0\.1, 0\.2 or 0\.3/);
});
