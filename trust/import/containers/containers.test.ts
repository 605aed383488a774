import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../../evidence/fixtures/fuzzing.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import type { ImportedPolicy } from '../mapping/imported.ts';
import type { Requirement, TrustPolicy, TrustRule } from '../../requirements/types.ts';
import { exportContainersPolicy } from './export.ts';
import { importContainersPolicy } from './import.ts';
import { scopeChain, scopePatterns, whyNever } from './scopes.ts';

const gpgKey = join(import.meta.dirname, '../../gpg/fixtures/rsa2048.asc');

function read(text: string, registries: readonly string[] = []): Promise<ImportedPolicy> {
  const registriesD = registries.map((content, index) => ({ file: `${index}.yaml`, text: content }));
  return importContainersPolicy({
    policyJson: { file: 'policy.json', text },
    registriesD,
    directory: tmpdir(),
  });
}

const refused: readonly (readonly [what: string, text: string, place: RegExp])[] = [
  ['no JSON', '{\n  "default": [}\n}', /policy\.json:2:15/],
  ['a key twice', '{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}', /twice/],
  ['no default', '{"transports":{}}', /policy\.json:1:1.*no `default`/],
  ['an empty list', '{"default":[]}', /policy\.json:1:12.*not a list/],
  ['an unknown field', '{\n\t"default": [{"type":"reject"}],\n\t"more": 1\n}', /policy\.json:3:10.*`more`/],
  ['an unknown type', '{"default":[{"type":"signedbyMe"}]}', /policy\.json:1:21/],
  [
    'a field of another type',
    '{"default":[{"type":"reject","keyPath":"x"}]}',
    /`keyPath` is not a known field/,
  ],
  [
    'two kinds of keys',
    '{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"a","keyPaths":["b"]}]}',
    /cannot be combined with keyPath/,
  ],
  ['no keys', '{"default":[{"type":"signedBy","keyType":"GPGKeys"}]}', /names no keys/],
  [
    'a broken base64',
    '{"default":[{"type":"signedBy","keyType":"GPGKeys","keyData":"%"}]}',
    /`keyData` cannot be read/,
  ],
  [
    'an invalid identity',
    '{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"a","signedIdentity":{"type":"matchAll"}}]}',
    /type of identity/,
  ],
  [
    'an identity whose type is not a string',
    '{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"a","signedIdentity":{"type":{"toString":1}}}]}',
    /type of identity/,
  ],
  [
    'a repository that is not a string',
    '{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"a","signedIdentity":{"type":"exactRepository","dockerRepository":{"toString":1}}}]}',
    /dockerRepository/,
  ],
  [
    'a type of key that is not a string',
    '{"default":[{"type":"signedBy","keyType":{"toString":1},"keyPath":"a"}]}',
    /keyType/,
  ],
  [
    'an issuer that is not a string',
    '{"default":[{"type":"sigstoreSigned","rekorPublicKeyPath":"a","fulcio":{"caPath":"a","oidcIssuer":{"toString":1},"subjectEmail":"c"}}]}',
    /OIDC issuer/,
  ],
  [
    'a reference without a tag',
    '{"default":[{"type":"sigstoreSigned","keyPath":"a","signedIdentity":{"type":"exactReference","dockerReference":"a.b/c"}}]}',
    /dockerReference/,
  ],
  [
    'fulcio without a log',
    '{"default":[{"type":"sigstoreSigned","fulcio":{"caPath":"a","oidcIssuer":"b","subjectEmail":"c"}}]}',
    /requires a log/,
  ],
  [
    'pki with a log',
    '{"default":[{"type":"sigstoreSigned","rekorPublicKeyPath":"a","pki":{"caRootsPath":"a","subjectEmail":"c"}}]}',
    /does not support a log/,
  ],
];
for (const [what, text, place] of refused) {
  test(`a policy.json with ${what} is refused with its position`, async () => {
    await assert.rejects(
      read(text),
      (error: unknown) =>
        isPortcullisError(error) && error.code === 'TRUST_IMPORT_INVALID' && place.test(error.message),
    );
  });
}

test('registries.d is refused where it contradicts itself or is not YAML', async () => {
  const reject = '{"default":[{"type":"reject"}]}';
  await assert.rejects(
    read(reject, ['docker: { a.com: { lookaside: x } }', 'docker: { a.com: {} }']),
    /1\.yaml:1:18.*another file names a\.com/,
  );
  await assert.rejects(
    read(reject, ['default-docker: {}', 'default-docker: {}']),
    /another file has a default-docker/,
  );
  await assert.rejects(read(reject, ['docker: {']), /0\.yaml/);
  await assert.rejects(
    read(reject, ['docker: { a.com: { use-sigstore-attachments: often } }']),
    /neither true nor false/,
  );
});

test('the most specific scope alone decides: rules except the scopes inside theirs', async () => {
  const signed = { type: 'signedBy', keyType: 'GPGKeys', keyPath: gpgKey };
  const docker = {
    'quay.io': [signed],
    'quay.io/open': [{ type: 'insecureAcceptAnything' }],
    'quay.io/open/not': [{ type: 'reject' }],
    'quay.io/same': [signed],
  };
  const { rules, unmapped } = await read(
    JSON.stringify({
      default: [{ type: 'reject' }],
      transports: { docker, 'docker-daemon': { '': [{ type: 'reject' }] } },
    }),
  );
  assert.deepEqual(
    rules.map(({ rule }) => [rule['images'], rule['except'], Object.keys(rule).at(-1)]),
    [
      [['quay.io/**'], ['quay.io/open', 'quay.io/open/**'], 'require'],
      [['quay.io/open', 'quay.io/open/**'], ['quay.io/open/not', 'quay.io/open/not/**'], 'allow'],
      [['quay.io/open/not', 'quay.io/open/not/**'], undefined, 'deny'],
    ],
  );
  assert.deepEqual(
    unmapped.map(({ path }) => path),
    ['transports.docker-daemon.'],
  );
});

test('a part without a counterpart denies its scope and is listed with its position', async () => {
  const text = JSON.stringify(
    {
      default: [{ type: 'insecureAcceptAnything' }],
      transports: {
        docker: {
          'a.com': [{ type: 'signedBy', keyType: 'GPGKeys', keyPath: '/nowhere' }],
          'b.com': [{ type: 'signedBaseLayer', baseLayerIdentity: { type: 'matchExact' } }],
          'Upper.com': [{ type: 'reject' }],
        },
      },
    },
    null,
    1,
  );
  const { rules, unmapped } = await read(text);
  assert.deepEqual(
    rules.map(({ rule }) => Object.keys(rule).at(-1)),
    ['allow', 'deny', 'deny'],
  );
  assert.deepEqual(
    unmapped.map(({ line, became }) => [line > 1, became]),
    [
      [true, 'other scopes decide'],
      [true, 'the images of the scope docker: a.com are denied'],
      [true, 'the images of the scope docker: b.com are denied'],
    ],
  );
});

test('scopes are looked up as the image library looks them up', () => {
  assert.deepEqual(scopeChain('a.b.example.com:8443/ns/app:1'), [
    'a.b.example.com:8443/ns/app:1',
    'a.b.example.com:8443/ns/app',
    'a.b.example.com:8443/ns',
    'a.b.example.com:8443',
    '*.b.example.com',
    '*.example.com',
    '*.com',
    '',
  ]);
  assert.deepEqual(scopeChain('*.example.com'), ['*.example.com', '*.com', '']);
  assert.deepEqual(scopePatterns('docker.io/grafana'), ['docker.io/grafana/**']);
  assert.deepEqual(scopePatterns('*.example.com'), ['*.example.com/**', '*.example.com:*/**']);
  for (const scope of [
    'busybox',
    'docker.io/busybox:1',
    'index.docker.io',
    'Quay.io',
    'quay.io/',
    '*.com/x',
    '*',
    'quay.io:1@sha256:0',
  ])
    assert.notEqual(whyNever(scope), undefined, scope);
  for (const scope of ['', 'quay.io', 'localhost', 'localhost:5000/a', '*.com', 'quay.io/a/b:1'])
    assert.equal(whyNever(scope), undefined, scope);
});

const cases = fuzzing(5, 300);
const letters = fc.string({ maxLength: 12 });
const requirement = fc.record(
  {
    type: fc.constantFrom('reject', 'signedBy', 'sigstoreSigned', 'signedBaseLayer', 'x'),
    keyType: fc.constantFrom('GPGKeys', 'X509Certificates'),
    keyPath: fc.constantFrom(gpgKey, '/nowhere', '/dev/zero', ''),
    keyData: fc.string(),
    signedIdentity: fc.record(
      { type: fc.constantFrom('matchExact', 'remapIdentity'), prefix: letters, signedPrefix: letters },
      { requiredKeys: ['type'] },
    ),
  },
  { requiredKeys: ['type'] },
);

test('no generated policy.json admits an image that it does not accept, or fails without a position', async () => {
  const scope = fc.oneof(letters, fc.constantFrom('quay.io', '*.io', 'quay.io/a', 'quay.io/a:1', ''));
  const value = fc.record({
    default: fc.array(requirement, { maxLength: 2 }),
    transports: fc.record({
      docker: fc.dictionary(scope, fc.array(requirement, { maxLength: 3 }), { maxKeys: 4 }),
    }),
  });
  const text = fc.oneof(
    value.map((json) => JSON.stringify(json)),
    fc.json(),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(
      text,
      fc.oneof(fc.string(), fc.constant('docker: { quay.io: { lookaside: "file:///x" } }')),
      async (json, yaml) => {
        try {
          const { rules } = await read(json, [yaml]);
          // No requirement here is insecureAcceptAnything.
          assert.ok(rules.every(({ rule }) => rule['allow'] === undefined));
        } catch (error) {
          assert.ok(isPortcullisError(error) && error.code === 'TRUST_IMPORT_INVALID', String(error));
          assert.match(error.message, /:\d+:\d+/);
        }
      },
    ),
    cases,
  );
});

function exported(...rules: readonly Partial<TrustRule>[]): {
  docker: Record<string, unknown>;
  why: readonly string[];
} {
  const whole = rules.map((rule, index): TrustRule => ({
    name: `p.yaml:${index + 1}`,
    images: ['**'],
    allowUnverified: false,
    ceiling: { rule: '', ceiling: 'baseline' },
    ...rule,
  }));
  const policy: TrustPolicy = { revision: '', default: 'deny', rules: whole };
  const { policyJson, unmapped } = exportContainersPolicy(policy);
  const { transports } = JSON.parse(policyJson) as { transports: { docker: Record<string, unknown> } };
  return { docker: transports.docker, why: unmapped.map(({ why }) => why) };
}

const rejected = [{ type: 'reject' }];
const anything = [{ type: 'insecureAcceptAnything' }];
test('images whose rules cannot be exported are rejected, and listed', () => {
  const open = { allowUnverified: true } as const;
  assert.deepEqual(exported({ ...open, images: ['quay.io/**'] }), {
    docker: { '': rejected, 'quay.io': anything },
    why: [],
  });
  const narrowed = exported(
    { ...open, images: ['quay.io/**'] },
    { images: ['quay.io/**'], namespaces: ['a'], require: { kind: 'all', of: [] } },
  );
  assert.deepEqual(narrowed.docker, { '': rejected });
  assert.match(narrowed.why.join(), /namespaces/);
  const somewhere = exported(
    { ...open, images: ['quay.io/**'] },
    { images: ['quay.io/*/secret'], require: { kind: 'all', of: [] } },
  );
  assert.deepEqual(somewhere.docker, { '': rejected });
  const wide = exported({ ...open, images: ['quay.io/dev/**'] });
  assert.deepEqual([wide.docker, wide.why.length], [{ '': rejected }, 1]);
  const excepted = exported({ ...open, images: ['quay.io/**'], except: ['quay.io/x', 'quay.io/x/**'] });
  assert.deepEqual(excepted.docker, { '': rejected, 'quay.io': anything, 'quay.io/x': rejected });
});

test('no scope of all hosts of a domain stands for a pattern with a tag', () => {
  const open = { allowUnverified: true } as const;
  const tagged = ['*.quay.io/**:v1', '*.quay.io:*/**'];
  assert.deepEqual(exported({ ...open, images: tagged }).docker, { '': rejected });
  const excepted = exported({ ...open }, { deny: 'no', images: ['**'], except: tagged });
  assert.deepEqual(excepted.docker, { '': rejected });
});

test('a denied digest rejects its repository, whose tags may lead to it', () => {
  const digest = `sha256:${'0'.repeat(64)}`;
  const open = { allowUnverified: true, images: ['quay.io/**'] } as const;
  const { docker, why } = exported(open, { images: [`quay.io/app@${digest}`], deny: 'bad' });
  assert.deepEqual(docker['quay.io/app'], rejected);
  assert.deepEqual(docker['quay.io'], anything);
  assert.match(why.join(), /no scope contains the tags that lead to quay\.io\/app@sha256:0/);
});

test('another name of a registry leads around no exported requirement', () => {
  const open = { allowUnverified: true } as const;
  const never = { deny: 'never' } as const;
  const all = exported({ ...open }, { ...never, images: ['quay.io/a/**', 'quay.io/a'] });
  assert.deepEqual(all.docker, {
    '': anything,
    'quay.io/a': rejected,
    'quay.io:443/a': rejected,
    'quay.io:80/a': rejected,
  });
  const hub = exported({ ...open }, { ...never, images: ['docker.io/**'], except: ['docker.io/x/**'] });
  assert.deepEqual(hub.docker['registry-1.docker.io:443'], rejected);
  assert.deepEqual(hub.docker['registry-1.docker.io:443/x'], anything);
  // By another name, a rule admits nothing.
  const key = { kind: 'cosign-key', key: { name: 'k', type: 'ecdsa', spki: '' } } as const;
  const alone = exported({ images: ['quay.io/**'], require: key });
  assert.deepEqual(Object.keys(alone.docker), ['', 'quay.io']);
  const both = exported({ images: ['quay.io/**'], require: key }, { ...open, images: ['quay.io:443/**'] });
  assert.deepEqual(both.docker['quay.io:443'], both.docker['quay.io']);
  const somewhere = exported({ ...never, images: ['quay.io/*/x'] }, { ...open, images: ['quay.io:443/**'] });
  assert.deepEqual(somewhere.docker, { '': rejected });
});

test('a threshold is exported only where each part has a signer of its own', () => {
  const gpg: Requirement = {
    kind: 'gpg',
    keys: [],
    keyFiles: ['/k.gpg'],
    lookaside: 'file:///x',
    constraints: { signedIdentity: { type: 'matchRepoDigestOrExact' } },
  };
  const key = (name: string) => ({ kind: 'cosign-key', key: { name, type: 'ecdsa', spki: name } }) as const;
  const two = (...of: readonly Requirement[]): ReturnType<typeof exported> =>
    exported({ images: ['quay.io/**'], require: { kind: 'threshold', count: 2, of } });
  assert.equal((two(key('aaaa'), key('bbbb')).docker['quay.io'] as readonly unknown[]).length, 2);
  const same = two(gpg, gpg);
  assert.deepEqual(same.docker, { '': rejected });
  assert.match(same.why.join(), /cannot count signers/);
});

test('thousands of scopes, and scopes of any length, are read at once', async () => {
  const docker = Object.fromEntries(
    Array.from({ length: 2000 }, (_, index) => [
      `h${index % 50}.example.com/team${index}`,
      [{ type: index % 2 === 0 ? 'reject' : 'insecureAcceptAnything' }],
    ]),
  );
  const started = performance.now();
  const { rules } = await read(
    JSON.stringify({
      default: [{ type: 'reject' }],
      transports: { docker: { ...docker, [`${'a'.repeat(300_000)}.`]: [{ type: 'reject' }] } },
    }),
  );
  assert.equal(rules.length, 1000);
  assert.ok(performance.now() - started < 30_000);
});
