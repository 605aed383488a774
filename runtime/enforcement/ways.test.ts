import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import { loadPolicy } from '../../trust/index.ts';
import type { Requirement, TrustPolicy, TrustRule, Verdict } from '../../trust/index.ts';
import type { DaemonConfig } from '../config/types.ts';
import { clockFindings, createClockWatch } from '../findings/clock.ts';
import { openEnforcement, resultOf } from './enforcement.ts';
import type { EnforcementState } from './enforcement.ts';
import { nodeFindings } from './node-findings.ts';
import type { NodeFacts } from './node-findings.ts';
import { tryPair } from './planted.ts';
import { policyFindings } from '../findings/policy-findings.ts';
import type { Seen } from '../findings/policy-findings.ts';
import { readNode } from './read-node.ts';
import { createSeenLog } from './seen.ts';
import { found, ways } from '../findings/finding-codes.ts';
import type { Found, WayCode } from '../findings/finding-codes.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-ways-'));
after(() => rmSync(folder, { recursive: true }));
const key = String(
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' }),
);
writeFileSync(join(folder, 'k.pub'), key);
const now = new Date('2026-11-22T00:00:00Z');
const proven = new Set<WayCode>();

function codesOf(findings: readonly Found[]): readonly WayCode[] {
  const codes = findings.map(({ code }) => code);
  for (const code of codes) proven.add(code);
  return codes;
}

/** The requests of a node after one image was requested, in one namespace. */
function seenBy(policy: TrustPolicy): Promise<Seen> {
  const recorded = { references: ['good.test/app:1', 'Not A Reference'], namespaces: ['shop', ''] };
  return createSeenLog({ all: () => Promise.resolve([]) }, () => recorded).read(policy);
}

async function findingsIn(policy: TrustPolicy, at = now): Promise<readonly Found[]> {
  return policyFindings(policy, await seenBy(policy), at);
}

/** Returns the policy with these rules, read as the daemon reads it. */
async function policyOf(rules: string, more = ''): Promise<TrustPolicy> {
  const file = join(folder, 'p.yaml');
  writeFileSync(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules:\n${rules}${more}`,
  );
  return (await loadPolicy({ paths: [file] })).policy;
}

const need = 'require: { cosign: { key: k.pub } }';
const good = `  - images: ["good.test/**"]\n    ${need}\n`;
const keyless = (subject: string, more = ''): string =>
  `sigstore: { issuer: "https://token.actions.githubusercontent.com", subject: "${subject}"${more} }`;

test('a sound policy has no finding', async () => {
  assert.deepEqual(await findingsIn(await policyOf(good)), []);
  const named = `  - images: ["good.test/**"]\n    require: { ${keyless('https://github.com/example/*/.github/workflows/release.yml@refs/tags/*')} }\n`;
  assert.deepEqual(codesOf(await findingsIn(await policyOf(named))), []);
});

const inPolicies: readonly (readonly [string, WayCode, string])[] = [
  ['a misspelt registry', 'RULE_NEVER_MATCHED', `${good}  - images: ["god.test/**"]\n    ${need}\n`],
  ['a pattern without a registry', 'RULE_NEVER_MATCHED', `  - images: ["app/**"]\n    ${need}\n`],
  [
    'a digest although tags are requested',
    'RULE_NEVER_MATCHED',
    `  - images: ["good.test/app@sha256:${'a'.repeat(64)}"]\n    ${need}\n`,
  ],
  ['a tag that is never requested', 'RULE_NEVER_MATCHED', `  - images: ["good.test/app:v*"]\n    ${need}\n`],
  [
    'an exception for all images',
    'RULE_EXCEPTS_ITSELF',
    `  - images: ["good.test/**"]\n    except: ["**"]\n    ${need}\n`,
  ],
  [
    'an allowance after a requirement',
    'RULE_SHADOWED',
    `${good}  - images: ["good.test/app"]\n    allow: unverified\n`,
  ],
  ['a requirement after a denial', 'RULE_SHADOWED', `${good}  - images: ["*.test/**"]\n    deny: closed\n`],
  ['anything unverified', 'RULE_ALLOWS_ANY', '  - images: ["**"]\n    allow: unverified\n'],
  [
    'all images unverified, by host and path',
    'RULE_ALLOWS_ANY',
    '  - images: ["*/**"]\n    allow: unverified\n',
  ],
  ['a denial of all images', 'RULE_DENIES_ANY', `${good}  - images: ["**"]\n    deny: closed\n`],
  [
    'an unknown namespace',
    'NAMESPACE_NEVER_SEEN',
    `  - images: ["good.test/**"]\n    namespaces: ["shpo"]\n    ${need}\n`,
  ],
  ['report mode', 'REPORT_MODE', `  - images: ["good.test/**"]\n    mode: report\n    ${need}\n`],
  ['a waiver', 'BREAK_GLASS_OPEN', `${good}    breakGlass: { until: 2026-11-23, reason: r, by: b }\n`],
  [
    'a waiver without an end date',
    'BREAK_GLASS_WITHOUT_END',
    `${good}    breakGlass: { until: 9999-12-31, reason: r, by: b }\n`,
  ],
  [
    'a waiver that has ended',
    'BREAK_GLASS_ENDED',
    `${good}    breakGlass: { until: 2026-11-01, reason: r, by: b }\n`,
  ],
  [
    'any account of the site',
    'IDENTITY_ANYONE',
    `  - images: ["good.test/**"]\n    require: { ${keyless('https://github.com/**')} }\n`,
  ],
  [
    'any workflow',
    'IDENTITY_ANYONE',
    `  - images: ["good.test/**"]\n    require: { ${keyless('https://github.com/*/*/.github/workflows/*.yml@refs/**')} }\n`,
  ],
  [
    'an alternative that any account meets',
    'ALTERNATIVE_ANYONE',
    `  - images: ["good.test/**"]\n    require: { any: [ { cosign: { key: k.pub } }, { ${keyless('https://github.com/**')} } ] }\n`,
  ],
  [
    'privileged everywhere',
    'CEILING_PRIVILEGED',
    `  - images: ["**"]\n    ${need}\n    entitlements: { ceiling: privileged }\n`,
  ],
];

for (const [cause, code, rules] of inPolicies)
  test(`${cause}: ${code}, with the rule's place`, async () => {
    const findings = await findingsIn(await policyOf(rules));
    assert.ok(codesOf(findings).includes(code), JSON.stringify(findings));
    assert.match(findings.find((one) => one.code === code)?.on ?? '', /^rule .*p\.yaml:\d+$/);
  });

test('a threshold of named keys, and a claim beside a wide subject, do not accept every signer', async () => {
  const claims = ', claims: { sourceRepositoryURI: "https://github.com/example/pay" }';
  for (const require of [
    `{ threshold: { count: 2, of: [ { cosign: { key: k.pub } }, { ${keyless('https://github.com/**')} } ] } }`,
    `{ ${keyless('https://github.com/**', claims)} }`,
  ])
    assert.deepEqual(
      codesOf(await findingsIn(await policyOf(`  - images: ["good.test/**"]\n    require: ${require}\n`))),
      [],
    );
});

test('expired certificates refuse every image, and levels that only log admit every signer', async () => {
  const subject = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    '/C=US/ST=WA/O=o/CN=r',
    '-days',
    '2',
  ];
  execFileSync('openssl', [...subject, '-keyout', join(folder, 'r.key'), '-out', join(folder, 'r.crt')], {
    stdio: 'ignore',
  });
  const policy = await policyOf(
    `  - images: ["good.test/**"]\n    require: { notation: { certificates: { ca: [r.crt] }, level: audit } }\n`,
  );
  assert.deepEqual(codesOf(await findingsIn(policy, new Date())), ['LOGS_ONLY']);
  assert.ok(
    codesOf(await findingsIn(policy, new Date(Date.now() + 10 * 86_400_000))).includes('CERTIFICATE_ENDED'),
  );
});

/** Requirements that can only be loaded with a network. */
const demands: readonly (readonly [WayCode, Requirement])[] = [
  ['ROOT_ENDED', rootedKey('2026-11-20T00:00:00Z')],
  ['ROOT_ENDS_SOON', rootedKey('2026-11-23T00:00:00Z')],
  [
    'STALE_WINDOW_LONG',
    { kind: 'tuf', service: 'https://t.test', dialect: 'tuf', names: 'tag', root: [], grace: 31 * 86_400 },
  ],
  [
    'TRUST_ON_FIRST_USE',
    { kind: 'tuf', service: 'https://t.test', dialect: 'notary', names: 'tag', root: 'first-use' },
  ],
  [
    'NO_PROVEN_TIME',
    {
      kind: 'sigstore',
      identity: { issuer: 'https://i.test', subject: 'ann@good.test' },
      proof: { root: { name: 'r', digest: '', content: '' }, logs: 0, timeStamps: 0, certificateLogs: 0 },
    },
  ],
];

function rootedKey(expires: string): Requirement {
  const root = { name: 'https://tuf.test', digest: '', content: '', expires };
  return {
    kind: 'cosign-key',
    key: { name: 'k.pub', spki: '', type: 'ecdsa' },
    log: { root, logs: 1, timeStamps: 0, certificateLogs: 0 },
  };
}

for (const [code, require] of demands)
  test(`of a requirement: ${code}`, async () => {
    const ceiling = { rule: 'p.yaml:1', ceiling: 'baseline' };
    const rule: TrustRule = {
      name: 'p.yaml:1',
      images: ['good.test/**'],
      allowUnverified: false,
      require,
      ceiling,
    };
    const policy: TrustPolicy = { revision: 'sha256:00', default: 'deny', rules: [rule] };
    assert.deepEqual(codesOf(await findingsIn(policy)), [code]);
  });

const config: Pick<DaemonConfig, 'socket' | 'root' | 'audit' | 'registries' | 'enforcement'> = {
  socket: '/run/p.sock',
  root: '/lib',
  audit: { path: '/log/audit', reads: false, required: false },
  registries: { mirrors: {}, prefixes: {}, insecure: [], tls: {}, certificates: [] },
  enforcement: {
    admitted: 'good.test/a:1',
    refused: 'good.test/b:1',
    namespace: '',
    interval: 3600,
    accept: [],
  },
};
const node: NodeFacts = {
  policy: undefined,
  problem: undefined,
  policyPaths: [],
  outOfPolicy: { containers: [], images: 0 },
};

test('of the node: each finding is named, and a sound node has none', async () => {
  const policy = await policyOf(good);
  const sound = { ...node, policy };
  assert.deepEqual(nodeFindings(config, sound), []);
  const cases: readonly (readonly [WayCode, Partial<NodeFacts>, Partial<typeof config>?])[] = [
    ['NO_POLICY', { policy: undefined }],
    ['POLICY_NOT_RELOADED', { problem: 'p.yaml:4:1: broken' }],
    ['POLICY_FOLDER_EMPTY', { policyPaths: [{ path: '/p', state: 'empty' }] }],
    ['POLICY_PATH_GONE', { policyPaths: [{ path: '/p', state: 'gone', why: 'ENOENT' }] }],
    ['OUT_OF_POLICY_RUNS', { outOfPolicy: { containers: [{ rule: 'p.yaml:3', count: 2 }], images: 0 } }],
    ['IMAGES_OUT_OF_POLICY', { outOfPolicy: { containers: [], images: 1 } }],
    ['VERDICT_LOG_UNWRITABLE', { root: 'EROFS' }],
    ['AUDIT_LOG_UNWRITABLE', { audit: 'ENOENT' }],
    ['KUBELET_ELSEWHERE', { kubeletSocket: '/run/containerd/containerd.sock' }],
    ['NO_PLANTED_PAIR', {}, { enforcement: { ...config.enforcement, admitted: '', refused: '' } }],
    ['PLAIN_HTTP', {}, { registries: { ...config.registries, insecure: ['good.test'] } }],
    [
      'PLAIN_HTTP',
      {},
      {
        registries: {
          ...config.registries,
          mirrors: { 'good.test': { url: 'http://10.0.0.1', origin: true } },
        },
      },
    ],
  ];
  for (const [code, facts, changed] of cases)
    assert.deepEqual(codesOf(nodeFindings({ ...config, ...changed }, { ...sound, ...facts })), [code]);
});

test('on the disk: an empty folder, a missing folder, a state that cannot be written, the kubelet’s own file', async () => {
  const [empty, kubeletRoot] = [join(folder, 'empty'), join(folder, 'kubelet')];
  for (const path of [empty, kubeletRoot]) mkdirSync(path);
  writeFileSync(join(empty, '.hidden.yaml'), '');
  writeFileSync(
    join(kubeletRoot, 'config.yaml'),
    'kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///run/crio/crio.sock\n',
  );
  const read = await readNode({
    policy: [empty, join(folder, 'none')],
    root: join(folder, 'none'),
    audit: config.audit,
    kubeletRoot,
  });
  assert.deepEqual(
    read.policyPaths.map(({ state, why }) => ({ state, why })),
    [
      { state: 'empty', why: undefined },
      { state: 'gone', why: 'it does not exist' },
    ],
  );
  assert.equal(read.root, 'it does not exist');
  const followed = { policies: true, policyStatus: true, reports: true, servers: [] };
  const own = { policy: [join(folder, 'none')], root: folder, audit: config.audit, kubeletRoot };
  assert.deepEqual(
    (await readNode({ ...own, cluster: followed })).policyPaths,
    [],
    'a node that follows its cluster has no files of its own',
  );
  assert.equal(read.kubeletSocket, '/run/crio/crio.sock');
});

test('an audit log that the daemon has not created yet is no finding, unless it cannot be created', async () => {
  writeFileSync(join(folder, 'file'), '');
  const auditOf = async (...names: string[]): Promise<string | undefined> => {
    const path = join(folder, ...names);
    const audit = { ...config.audit, path };
    return (await readNode({ policy: [], root: folder, audit, kubeletRoot: folder })).audit;
  };
  assert.equal(await auditOf('new', 'folder', 'audit.log'), undefined);
  assert.equal(await auditOf('file', 'audit.log'), 'a part of its path is not a folder');
});

test('entries of the verdict log count, and a rule that matches later is no longer reported as unmatched', async () => {
  const policy = await policyOf(good);
  const rows = [
    { seq: 7, reference: 'good.test/app:1', namespace: 'shop', time: '2026-11-22T01:00:00.000Z' },
  ];
  let asked: readonly unknown[] = [];
  let log: readonly object[] = [];
  const all = (_: string, params: readonly unknown[] = []): Promise<never> => {
    asked = params;
    return Promise.resolve(log as never);
  };
  const seen = createSeenLog({ all }, () => ({ references: ['other.test/app:1'], namespaces: [] }));
  assert.deepEqual(codesOf(policyFindings(policy, await seen.read(policy), now)), ['RULE_NEVER_MATCHED']);
  log = rows;
  assert.deepEqual(policyFindings(policy, await seen.read(policy), now), []);
  assert.equal(seen.newest(), '2026-11-22T01:00:00.000Z');
  log = [];
  assert.deepEqual(policyFindings(policy, await seen.read(policy), now), []);
  assert.equal(asked[0], 7, 'only newer rows are read');
});

test('of the clock: behind recorded times, different from other clocks, changed manually', () => {
  const day = 86_400_000;
  const at = now.getTime();
  const reading = { now: at, uptime: day, kernel: at + 500, hardware: at + 2 * 3_600_000 };
  assert.deepEqual(clockFindings(reading, at - day), []);
  assert.deepEqual(codesOf(clockFindings(reading, at + day)), ['CLOCK_BEHIND']);
  assert.deepEqual(codesOf(clockFindings({ ...reading, kernel: at + day }, 0)), ['CLOCK_DISAGREES']);
  assert.deepEqual(codesOf(clockFindings({ ...reading, hardware: at - 300 * day }, 0)), ['CLOCK_DISAGREES']);
  const watch = createClockWatch();
  const later = (wall: number, uptime: number): readonly Found[] =>
    watch({ now: at + wall, uptime: day + uptime }, 0);
  assert.deepEqual(later(0, 0), []);
  assert.deepEqual(later(20_000, 15_000), []);
  assert.deepEqual(codesOf(later(day, 30_000)), ['CLOCK_JUMPED']);
  assert.deepEqual(codesOf(later(day + 15_000, 45_000)), ['CLOCK_JUMPED']);
  assert.deepEqual(later(2 * day, day + 30_000), []);
});

type Said = 'admit' | 'unverified' | 'unsigned' | 'badly signed' | 'no rule' | 'denied' | 'unreachable';

function answer(said: Said, digest: string): Promise<Verdict> {
  if (said === 'admit' || said === 'unverified')
    return Promise.resolve({ id: 'v', manifestDigest: digest, unverified: said === 'unverified' } as Verdict);
  const codes = {
    unsigned: ['TRUST_DENIED', 'TRUST_RULE_UNSATISFIED', 'TRUST_REQUIREMENT_UNMET'],
    'badly signed': ['TRUST_DENIED', 'TRUST_RULE_UNSATISFIED', 'TRUST_SIGNATURE_WRONG'],
    'no rule': ['TRUST_NO_RULE', 'TRUST_RULE_OTHER'],
    denied: ['TRUST_NEVER_ADMITS', 'TRUST_RULE_DENIES'],
    unreachable: [],
  }[said];
  const reasons = codes.reduceRight<object | undefined>(
    (child, code) => ({ counted: false, text: '', code, children: child ? [child] : [] }),
    undefined,
  );
  return Promise.reject(
    new PortcullisError({
      code: said === 'unreachable' ? 'IMAGES_PULL_FAILED' : 'IMAGES_DENIED',
      kind: 'denied',
      ...{ attempted: 'pull image', on: 'x', why: said, fix: '' },
      details: { reasons },
    }),
  );
}

const pairs: readonly (readonly [Said, Said, readonly WayCode[], string?])[] = [
  ['admit', 'unsigned', []],
  ['admit', 'badly signed', []],
  ['admit', 'admit', ['PLANTED_UNSIGNED_ADMITTED']],
  ['unverified', 'unverified', ['PLANTED_UNSIGNED_ADMITTED', 'PLANTED_SIGNED_UNVERIFIED']],
  ['badly signed', 'unsigned', ['VERIFIER_REFUSES_ALL']],
  ['badly signed', 'admit', ['PLANTED_UNSIGNED_ADMITTED', 'PLANTED_SIGNED_REFUSED']],
  ['unsigned', 'unsigned', ['VERIFIER_REFUSES_ALL', 'MIRROR_LACKS_EVIDENCE'], 'http://m.test'],
  ['badly signed', 'unsigned', ['VERIFIER_REFUSES_ALL'], 'http://m.test'],
  ['no rule', 'no rule', ['PLANTED_NO_RULE', 'PLANTED_NO_RULE']],
  ['admit', 'denied', ['PLANTED_NO_RULE']],
  ['unreachable', 'unsigned', ['PLANTED_NOT_DECIDED']],
  ['admit', 'unreachable', ['PLANTED_NOT_DECIDED']],
];

for (const [admitted, refused, codes, mirror] of pairs)
  test(`of the pair: signed ${admitted}, unsigned ${refused}${mirror === undefined ? '' : ', behind a mirror'}`, async () => {
    const images = {
      tryPull: ({ reference }: { reference: string }) =>
        answer(reference === 'a' ? admitted : refused, reference),
    };
    const findings = await tryPair(
      { admitted: 'a', refused: 'b', namespace: '' },
      { images, onlyMirror: () => mirror },
      AbortSignal.timeout(1e6),
    );
    assert.deepEqual(codesOf(findings), codes);
  });

test('of the pair: two names of one image prove nothing', async () => {
  const images = { tryPull: () => answer('admit', 'sha256:aa') };
  const findings = await tryPair(
    { admitted: 'a', refused: 'b', namespace: '' },
    { images, onlyMirror: () => undefined },
    AbortSignal.timeout(1e6),
  );
  assert.deepEqual(codesOf(findings), ['PLANTED_SAME_IMAGE']);
});

test('a failure outweighs an unknown result, and accepted findings and notes do not count', () => {
  assert.equal(resultOf([]), 'pass');
  assert.equal(resultOf([found('BREAK_GLASS_ENDED', 'x')]), 'pass');
  assert.equal(resultOf([found('NO_PLANTED_PAIR', 'x')]), 'could not tell');
  assert.equal(resultOf([found('NO_PLANTED_PAIR', 'x'), found('REPORT_MODE', 'x')]), 'fail');
  assert.equal(resultOf([{ ...found('REPORT_MODE', 'x'), accepted: true }]), 'pass');
});

const quiet = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet } as never;

test('runs one test at a time, reports a change once, repeats tests, and aborts a test that hangs', async () => {
  const reported: EnforcementState[] = [];
  const wait = async (wanted: () => boolean): Promise<void> => {
    while (!wanted()) await new Promise((resolve) => setTimeout(resolve, 2));
  };
  let [under, most, tries, looks] = [0, 0, 0, 0];
  let node: readonly Found[] = [];
  let hang = false;
  const enforcement = openEnforcement({
    tryPair: async (signal) => {
      most = Math.max(most, (under += 1));
      if (hang)
        await new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(new Error('too late'))),
        ).finally(() => (under -= 1));
      else await Promise.resolve();
      if (!hang) under -= 1;
      tries += 1;
      return [];
    },
    look: () => {
      looks += 1;
      return Promise.resolve(node);
    },
    ...{ accept: ['PLAIN_HTTP'], intervalMs: 1e9, lookMs: 5, deadlineMs: 20, log: quiet },
    onChange: (state) => void reported.push(state),
  });
  assert.deepEqual(codesOf(enforcement.state().findings), []);
  assert.equal(enforcement.state().result, 'could not tell', 'before any test');
  for (let index = 0; index < 5; index += 1) enforcement.request();
  await wait(() => reported.length === 1 && tries >= 2);
  assert.equal(reported[0]?.result, 'pass');
  assert.equal(most, 1);
  const before = looks;
  await wait(() => looks > before + 3);
  assert.equal(reported.length, 1, 'an unchanged result is not reported');
  node = [found('REPORT_MODE', 'rule p.yaml:1'), found('PLAIN_HTTP', 'good.test')];
  await wait(() => reported.length === 2);
  assert.equal(reported[1]?.result, 'fail');
  assert.deepEqual(
    reported[1]?.findings.map(({ accepted = false }) => accepted),
    [false, true],
  );
  node = [];
  await wait(() => reported.length === 3);
  hang = true;
  enforcement.request();
  await wait(() => reported.length === 4);
  assert.deepEqual(codesOf(reported[3]?.findings ?? []), ['PLANTED_NOT_DECIDED']);
  await enforcement.close();
});

test('an overdue test is reported', async () => {
  const enforcement = openEnforcement({
    tryPair: () => new Promise(() => undefined),
    look: () => Promise.resolve([]),
    ...{ accept: [], intervalMs: 1, lookMs: 2, deadlineMs: 1, log: quiet, onChange: () => undefined },
  });
  enforcement.request();
  while (!codesOf(enforcement.state().findings).includes('NOT_TRIED'))
    await new Promise((resolve) => setTimeout(resolve, 2));
  assert.equal(enforcement.state().result, 'could not tell');
});

test('each code is tested above, and docs/enforcement.md lists it with its meaning', () => {
  assert.deepEqual([...proven].toSorted(), Object.keys(ways).toSorted());
  const doc = readFileSync(new URL('../../docs/enforcement.md', import.meta.url), 'utf8');
  const rows = doc
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  assert.deepEqual(
    rows.map(([, code, effect, text, fix]) => [code, effect, text, fix]),
    Object.entries(ways).map(([code, { effect, text, fix }]) => [
      `\`${code}\``,
      { fail: 'fail', unknown: 'could not tell', note: 'note' }[effect],
      text,
      fix,
    ]),
  );
});
