import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../../evidence/fixtures/fuzzing.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { sealDossier } from '../../evidence/dossier.ts';
import { amd64, policyOf } from '../../evidence/fixtures/fixture-image.ts';
import { bundle, by, decided, dossierOf, ours, second } from '../../evidence/fixtures/sample-evidence.ts';
import { formatPolicy } from '../format.ts';
import { loadPolicy } from '../load.ts';
import { testPolicy } from './policy-tests.ts';
import type { PolicyTestResult } from './policy-tests.ts';
import { readRecording, saveRecording } from './recording.ts';
import { simulatePolicy } from './simulate.ts';
import { processorMs } from '../../../test/fixtures/cost.ts';

const now = new Date('2026-11-20T12:00:00Z');
let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-tests-'));
});
after(() => rm(folder, { recursive: true }));

const head = 'apiVersion: portcullis.dev/v1alpha1\n';
const policy = `${head}kind: TrustPolicy
rules:
  - images: ["r.example/team/**"]
    require: { cosign: { key: k.pub, signs: index } }
  - images: ["r.example/old/**"]
    deny: withdrawn
    breakGlass: { until: 2026-12-01, reason: r, by: me }
  - images: ["r.example/never/**"]
    namespaces: [nowhere]
    allow: unverified
`;

async function run(
  cases: string,
  more = 'policy: [policy.yaml]\nkeys: { k: k.pub }\nnow: 2026-11-20\n',
): Promise<PolicyTestResult> {
  await writeFile(join(folder, 'policy.yaml'), policy);
  await writeFile(join(folder, 'test.yaml'), `${head}kind: PolicyTest\n${more}cases:\n${cases}`);
  return testPolicy({ paths: [join(folder, 'test.yaml')], policy: [], now });
}

const table: readonly (readonly [what: string, stated: string, failures: readonly RegExp[]])[] = [
  [
    'a signed index',
    'image: r.example/team/a:1, index: true, signed: [{ key: k, over: index }], expect: admit',
    [],
  ],
  [
    'another part',
    'image: r.example/team/a:1, index: true, signed: [{ key: k }], expect: deny, reason: TRUST_SIGNATURE_OTHER_PART',
    [],
  ],
  [
    'another image',
    'image: r.example/team/a:1, signed: [{ key: k, over: other }], expect: deny, reason: TRUST_SIGNATURE_OTHER_DIGEST',
    [],
  ],
  [
    'another key',
    'image: r.example/team/a:1, signed: [{ key: x }], expect: deny, reason: TRUST_SIGNATURE_OTHER_KEY',
    [],
  ],
  [
    'the older form',
    'image: r.example/team/a:1, index: true, signed: [{ key: k, over: index, format: legacy }], expect: admit',
    [],
  ],
  ['an unreachable registry', 'image: r.example/team/a:1, unreachable: true, expect: undecided', []],
  ['no rule', 'image: r.example/x:1, expect: deny, reason: TRUST_NO_RULE', []],
  ['break-glass', 'image: r.example/old/a:1, expect: admit, exception: break-glass', []],
  [
    'break-glass that has ended',
    'image: r.example/old/a:1, now: 2026-12-02, expect: deny, reason: TRUST_RULE_DENIES',
    [],
  ],
  ['a wrong expectation', 'image: r.example/x:1, expect: admit', [/expected admit, got deny/]],
  [
    'a reason that is missing',
    'image: r.example/x:1, expect: deny, reason: TRUST_ADMITTED',
    [/no reason has the code/],
  ],
  [
    'an exception that is missing',
    'image: r.example/x:1, expect: deny, exception: report',
    [/expected an exception/],
  ],
];

for (const [what, stated, failures] of table) {
  test(`a case about ${what}`, async () => {
    const { cases } = await run(`  - { name: c, ${stated} }\n`);
    assert.equal(cases.length, 1);
    assert.equal(cases[0]?.passed, failures.length === 0, JSON.stringify(cases[0]?.failures));
    for (const [index, pattern] of failures.entries()) assert.match(cases[0]?.failures[index] ?? '', pattern);
  });
}

test('rules that no case reaches are named', async () => {
  const { unreached } = await run('  - { name: c, image: r.example/team/a:1, expect: deny }\n');
  assert.deepEqual(unreached, ['policy.yaml:6', 'policy.yaml:9']);
});

const broken: readonly (readonly [what: string, cases: string, says: RegExp, more?: string])[] = [
  [
    'an unknown field',
    '  - { name: c, image: r.example/a:1, expect: deny, reasn: x }\n',
    /test\.yaml:7:\d+: cases\[0\]\.reasn: unknown field/,
  ],
  ['no image', '  - { name: c, expect: deny }\n', /test\.yaml:7:5: cases\[0\]: the case has neither/],
  [
    'an invalid image',
    '  - { name: c, image: "A B", expect: deny }\n',
    /test\.yaml:7:\d+: cases\[0\]\.image/,
  ],
  [
    'a dossier that does not exist',
    '  - { name: c, dossier: gone.json, expect: deny }\n',
    /test\.yaml:7:\d+: cases\[0\]\.dossier/,
  ],
  [
    'a dossier and evidence',
    '  - { name: c, dossier: gone.json, signed: [], expect: deny }\n',
    /cannot be combined with `dossier`/,
  ],
  [
    'an invalid date',
    '  - { name: c, image: r.example/a:1, now: 2026-02-30, expect: deny }\n',
    /not a valid date/,
  ],
  [
    'a key that the policy does not name',
    '  - { name: c, image: r.example/a:1, expect: deny }\n',
    /names no file other\.pub/,
    'policy: [policy.yaml]\nkeys: { k: k.pub, o: other.pub }\n',
  ],
  [
    'no policy',
    '  - { name: c, image: r.example/a:1, expect: deny }\n',
    /names no policy/,
    'keys: { k: k.pub }\n',
  ],
];

for (const [what, cases, says, more] of broken) {
  test(`a test file with ${what} is refused with the position`, () => assert.rejects(run(cases, more), says));
}

test('a recorded image is decided again, by tests and simulations', async () => {
  const verdict = decided([bundle(ours)]);
  const dossier = dossierOf([bundle(ours)]);
  const records = join(folder, 'records');
  await mkdir(records);
  await saveRecording(join(records, 'a.json'), verdict, dossier);
  await assert.rejects(
    saveRecording(join(records, 'a.json'), verdict, dossier),
    /TRUST_RECORDING_NOT_WRITTEN/,
  );
  await writeFile(
    join(records, 'bare.json'),
    JSON.stringify(sealDossier({ ...dossierOf([bundle(second)]) })),
  );
  await writeFile(join(records, 'broken.json'), '{');
  assert.equal((await readRecording(join(records, 'a.json'))).reference, verdict.reference);
  await writeFile(join(records, 'altered.json'), JSON.stringify({ ...dossier, items: [] }));
  await assert.rejects(readRecording(join(records, 'altered.json')), /altered/);

  const same = await simulatePolicy({ candidate: policyOf({ require: by(ours) }), paths: [records], now });
  assert.deepEqual([same.decided, same.changes.length, same.skipped.length], [1, 0, 3]);
  const other = await simulatePolicy({ candidate: policyOf({ require: by(second) }), paths: [records], now });
  assert.deepEqual(
    other.changes.map(({ before, after, namespace }) => [before, after, namespace]),
    [['admit', 'deny', verdict.namespace]],
  );
  const compared = await simulatePolicy({
    candidate: policyOf({ require: by(ours) }),
    baseline: policyOf({ require: by(second) }),
    paths: [records],
    now,
  });
  assert.deepEqual(compared.changes.map(({ before, after }) => `${before} ${after}`).sort(), [
    'admit deny',
    'deny admit',
  ]);
  await assert.rejects(
    simulatePolicy({ candidate: policyOf(), paths: [join(folder, 'nowhere')], now }),
    /nowhere: it does not exist; .*TRUST_SIMULATION_NO_INPUT/,
  );
  const empty = await mkdtemp(join(folder, 'empty-'));
  await assert.rejects(
    simulatePolicy({ candidate: policyOf(), paths: [records, empty], now }),
    /the folder contains no recording .*TRUST_SIMULATION_NO_INPUT/,
  );
  assert.deepEqual(verdict.platform, amd64);
});

test('an image of several manifests is decided about by all of them, by tests and simulations', async () => {
  const file = join(folder, 'several.json');
  const unsigned = dossierOf([bundle(second)]);
  await saveRecording(file, decided([bundle(ours)]), dossierOf([bundle(ours)]), [unsigned]);
  const candidate = policyOf({ require: by(ours) });
  const { changes } = await simulatePolicy({ candidate, paths: [file], now });
  assert.deepEqual(
    changes.map(({ before, after }) => [before, after]),
    [['admit', 'deny']],
  );
  const pem = createPublicKey(ours.private).export({ type: 'spki', format: 'pem' });
  await writeFile(join(folder, 'ours.pub'), pem);
  await writeFile(
    join(folder, 'ours.yaml'),
    `${head}kind: TrustPolicy\nrules: [{ images: ["**"], require: { cosign: { key: ours.pub } } }]\n`,
  );
  const { cases } = await run(
    '  - { name: several, dossier: several.json, expect: deny }\n',
    'policy: [ours.yaml]\nnow: 2026-11-20\n',
  );
  assert.deepEqual(
    cases.map(({ failures }) => failures),
    [[]],
  );
});

test('the canonical form keeps comments and meaning, and is its own canonical form', () => {
  const text = `# top
kind: TrustPolicy   # k
apiVersion: portcullis.dev/v1alpha1
rules:
    # first
    - require: {cosign: {key: a.pub}}   # why
      images: ["a/**",
        "b/**"]
---
# other
rules: []
kind: TrustPolicy
`;
  const once = formatPolicy(text, 'p.yaml');
  assert.deepEqual(once.problems, []);
  assert.match(
    once.text,
    /^# top\napiVersion: .*\nkind: TrustPolicy # k\nrules:\n {2}# first\n {2}- images: /,
  );
  for (const comment of ['# top', '# k', '# first', '# why', '# other'])
    assert.ok(once.text.includes(comment), comment);
  assert.equal(formatPolicy(once.text, 'p.yaml').text, once.text);
  assert.equal(
    formatPolicy('{"rules":[],"kind":"TrustPolicy"}', 'p.json').text,
    '{\n  "kind": "TrustPolicy",\n  "rules": []\n}\n',
  );
  assert.match(formatPolicy('a: [', 'p.yaml').problems[0]?.message ?? '', /./);
});

test('fuzzed policies, tests and layouts give a problem with its position or the expected result; never a crash, never slow', async () => {
  const keys = [
    'apiVersion',
    'kind',
    'rules',
    'images',
    'except',
    'require',
    'allow',
    'deny',
    'mode',
    'breakGlass',
    'until',
    'reason',
    'by',
    'namespaces',
    'cosign',
    'key',
    'any',
    'all',
    'threshold',
    'count',
    'of',
    'maxAge',
    'annotations',
    'signs',
    'signedIdentity',
    'type',
    'cases',
    'name',
    'image',
    'signed',
    'expect',
    'policy',
  ];
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom(
        'x',
        '',
        '**',
        7,
        -1,
        null,
        true,
        'k.pub',
        'unverified',
        'report',
        '2026-02-30',
        '30d',
        'r.example/**',
        'TrustPolicy',
        'PolicyTest',
        'portcullis.dev/v1alpha1',
      ),
      fc.array(tie('any'), { maxLength: 3 }),
      tie('record'),
    ),
    record: fc.dictionary(fc.constantFrom(...keys), tie('any'), { maxKeys: 5 }),
  })).record;
  const file = join(folder, 'fuzz.yaml');
  const checkFailure = async (act: () => Promise<unknown>): Promise<void> => {
    const started = processorMs();
    await act().catch((error: unknown) =>
      assert.ok(isPortcullisError(error) && /fuzz\.yaml:\d+:\d+/.test(error.message), String(error)),
    );
    assert.ok(processorMs() - started < 1000);
  };
  await fc.assert(
    fc.asyncProperty(value, fc.constantFrom('TrustPolicy', 'PolicyTest'), async (made, kind) => {
      const text = JSON.stringify({ ...(made as object), apiVersion: 'portcullis.dev/v1alpha1', kind });
      await writeFile(file, text);
      await checkFailure(() => loadPolicy({ paths: [file] }));
      await checkFailure(() => testPolicy({ paths: [file], policy: [join(folder, 'policy.yaml')], now }));
      formatPolicy(text, file);
    }),
    fuzzing(17, 200),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.string({
        unit: fc.constantFrom(
          'a',
          ':',
          ' ',
          '\n',
          '-',
          '[',
          '{',
          '}',
          ']',
          '#',
          '&',
          '*',
          '"',
          '|',
          '\t',
          '?',
          '!',
        ),
        maxLength: 60,
      }),
      async (text) => {
        await writeFile(file, text);
        await checkFailure(() => loadPolicy({ paths: [file] }));
        const once = formatPolicy(text, file);
        if (once.problems.length === 0) assert.deepEqual(formatPolicy(once.text, file).problems, []);
      },
    ),
    fuzzing(19, 300),
  );
});

test('a test file that does not exist is named, with nothing about its lines or about policies', async () => {
  const missing = join(folder, 'nothing-here.yaml');
  await assert.rejects(testPolicy({ paths: [missing], policy: [], now }), (error) => {
    assert.ok(isPortcullisError(error));
    assert.match(
      error.failure.why,
      /nothing-here\.yaml: cannot be read: it does not exist; name a readable file/u,
    );
    assert.equal(error.failure.fix, 'name files that exist and can be read');
    return true;
  });
});

test('a folder without test files is refused, with no advice to write a policy', async () => {
  const empty = await mkdtemp(join(folder, 'empty-'));
  await assert.rejects(testPolicy({ paths: [empty], policy: [], now }), (error) => {
    assert.ok(isPortcullisError(error));
    assert.match(error.failure.why, /contains no \.yaml, \.yml or \.json file; name a folder that contains/u);
    assert.doesNotMatch(error.message, /policy init/u);
    return true;
  });
});
