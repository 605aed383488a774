import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import draft4 from 'ajv-draft-04';
import fc from 'fast-check';
import { findTool } from '../../test/fixtures/tools.ts';
import { amd64 } from '../evidence/fixtures/fixture-image.ts';
import { by, decided, foreign, bundle, ours, unreachable } from '../evidence/fixtures/sample-evidence.ts';
import { policyOf } from '../evidence/fixtures/fixture-image.ts';
import type { Verdict } from '../findings/types.ts';
import { gateReport, gateText, reportFormats } from './reports.ts';
import type { GateImage, GateResult } from './types.ts';

const context = { version: '1.2.3', policyFiles: ['/srv/app/policies/policy.yaml'], folder: '/srv/app' };
const hostile =
  'x\u0000\u001b[31m\ud800\uffff ]]> <script>alert(1)</script> & "quote" \'tick\' | a | b | `code` [link](https://evil.example) {0} @team\n\n## title\n</pre></details></failure>';

function imageOf(verdict: Verdict, more: Partial<GateImage> = {}): GateImage {
  const { digest, manifestDigest, namespace, reference } = verdict;
  const decision = ({ admit: 'admitted', deny: 'denied', undecided: 'undecided' } as const)[verdict.outcome];
  return {
    ...{ reference, namespace, platform: `${amd64.os}/${amd64.architecture}`, digest, manifestDigest },
    ...{ decision, code: 'TRUST_REQUIREMENT_UNMET', advice: 'sign the image', rule: 'policy.yaml:7' },
    ...{ verdict, places: [], ...more },
  };
}

function resultOf(images: readonly GateImage[]): GateResult {
  const count = (decision: GateImage['decision']): number =>
    images.filter((image) => image.decision === decision).length;
  return {
    policyRevision: 'sha256:policy',
    decidedAt: '2026-11-20T12:00:00.000Z',
    counts: {
      ...{ admitted: count('admitted'), waived: count('waived'), denied: count('denied') },
      ...{ undecided: count('undecided'), failed: count('failed') },
    },
    waivers: {
      expired: [{ id: 'OLD', owner: hostile, expires: '2026-01-01T00:00:00.000Z', place: 'w.yaml:3' }],
      unused: [],
    },
    images,
  };
}

/** A verdict whose reasons hold a text that a registry chose. */
function withText(verdict: Verdict, text: string): Verdict {
  return { ...verdict, reasons: { ...verdict.reasons, children: [{ counted: false, text }] } };
}

const policy = policyOf({ require: by(ours) });
const place = {
  file: 'deploy/app one.yaml',
  line: 12,
  column: 9,
  object: 'Deployment shop/web, container app',
};
const mixed = resultOf([
  imageOf(decided([bundle(ours)], policy)),
  imageOf(withText(decided([bundle(foreign)], policy), hostile), { places: [place], namespace: hostile }),
  imageOf(decided([], policy, { unreachable })),
  imageOf(decided([], policy), {
    decision: 'waived',
    waivers: [
      {
        ...{ id: 'SEC-1', owner: 'team@example.com', reason: hostile, place: 'w.yaml:9' },
        ...{ expires: '2026-12-01T00:00:00.000Z', codes: ['TRUST_REQUIREMENT_UNMET'] },
      },
    ],
  }),
  {
    ...{ reference: 'registry.example.com/gone:1', namespace: '', decision: 'failed', places: [] },
    code: 'DISTRIBUTION_NOT_FOUND',
    error: {
      ...{ code: 'DISTRIBUTION_NOT_FOUND', kind: 'not-found', attempted: 'read', on: hostile },
      ...{ why: hostile, fix: 'push it' },
    },
  },
]);

const judgeSarif = new draft4.default({
  allErrors: true,
  formats: {
    uri: (text: string) => URL.canParse(text),
    'uri-reference': (text: string) =>
      URL.canParse(text, 'https://base.example/') && !/[\s<>"{}|\\^`]/.test(text),
    'date-time': (text: string) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text),
  },
}).compile(JSON.parse(readFileSync(join(import.meta.dirname, 'testdata/sarif-schema-2.1.0.json'), 'utf8')));

interface Sarif {
  readonly runs: readonly {
    readonly tool: {
      readonly driver: {
        readonly rules: readonly { readonly id: string; readonly help: { readonly text: string } }[];
      };
    };
    readonly results: readonly {
      readonly ruleId: string;
      readonly ruleIndex: number;
      readonly level: string;
      readonly message: { readonly text: string };
      readonly locations: readonly {
        readonly physicalLocation: {
          readonly artifactLocation: { readonly uri: string };
          readonly region: { readonly startLine: number };
        };
      }[];
      readonly partialFingerprints: Readonly<Record<string, string>>;
    }[];
  }[];
}

const sarif = (result: GateResult): Sarif => {
  const read = JSON.parse(gateReport('sarif', result, context)) as Sarif;
  assert.ok(judgeSarif(read), JSON.stringify(judgeSarif.errors));
  return read;
};

test('the SARIF report is valid by the schema of OASIS, with rules, places and stable fingerprints', () => {
  const [run] = sarif(mixed).runs;
  assert.ok(run);
  assert.deepEqual(
    run.results.map(({ level, ruleId }) => [level, ruleId]),
    [
      ['error', 'TRUST_REQUIREMENT_UNMET'],
      ['warning', 'TRUST_REQUIREMENT_UNMET'],
      ['note', 'TRUST_REQUIREMENT_UNMET'],
      ['warning', 'DISTRIBUTION_NOT_FOUND'],
    ],
  );
  for (const { ruleId, ruleIndex, message } of run.results) {
    assert.equal(run.tool.driver.rules[ruleIndex]?.id, ruleId);
    assert.ok((run.tool.driver.rules[ruleIndex]?.help.text.length ?? 0) > 20);
    assert.doesNotMatch(message.text, /(?<!\\)\[|(?<!\{)\{(?!\{)/, 'no link and no placeholder');
  }
  const [named, unnamed] = run.results.map(({ locations }) => locations[0]?.physicalLocation);
  assert.deepEqual(named?.artifactLocation, { uri: 'deploy/app%20one.yaml', uriBaseId: '%SRCROOT%' });
  assert.equal(named?.region.startLine, 12);
  assert.deepEqual(unnamed?.artifactLocation, { uri: 'policies/policy.yaml', uriBaseId: '%SRCROOT%' });
  assert.equal(unnamed?.region.startLine, 7);
  const moved = resultOf(
    mixed.images.map((image) => ({
      ...image,
      digest: 'sha256:other',
      places: image.places.map((at) => ({ ...at, line: 99 })),
    })),
  );
  assert.deepEqual(
    sarif(moved).runs[0]?.results.map(({ partialFingerprints }) => partialFingerprints),
    run.results.map(({ partialFingerprints }) => partialFingerprints),
  );
  assert.deepEqual(sarif(resultOf([])).runs[0]?.results, []);
});

const viewer = findTool('sarif');

test(
  'a viewer shows each result of the SARIF report with its place and its reason',
  { skip: viewer.skip },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'gate-sarif-'));
    try {
      const view = (...words: readonly string[]): string => {
        const out = join(folder, 'out');
        const ended = spawnSync(viewer.path, [...words, '--output', out, join(folder, 'gate.sarif')]);
        assert.equal(ended.status, 0, String(ended.stderr));
        return readFileSync(out, 'utf8');
      };
      writeFileSync(join(folder, 'gate.sarif'), gateReport('sarif', mixed, context));
      const [, ...rows] = view('csv')
        .trim()
        .split(/\r?\n(?=portcullis)/iu);
      assert.equal(rows.length, 4);
      const page = view('html');
      for (const part of ['deploy/app%20one.yaml:12', 'policies/policy.yaml:7', 'TRUST_REQUIREMENT_UNMET'])
        assert.ok(page.includes(part), part);
      assert.doesNotMatch(page, /<script>alert/u);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

/** Judges by a parser of the system: Python's expat reads XML 1.0 and refuses what is not well-formed. */
const python =
  spawnSync('python3', ['-c', 'import xml.etree.ElementTree']).status === 0 ? false : 'no python3';

interface Junit {
  readonly tests: number;
  readonly tags: readonly string[];
  readonly cases: readonly { readonly children: readonly string[]; readonly text: string }[];
}

function parsedJunit(results: readonly GateResult[]): readonly Junit[] {
  const script = `import sys, json, xml.etree.ElementTree as e
def read(text):
  root = e.fromstring(text)
  return {'tests': int(root.get('tests')), 'tags': sorted({i.tag for i in root.iter()}),
    'cases': [{'children': [i.tag for i in c], 'text': ''.join(c.itertext())} for s in root for c in s.findall('testcase')]}
print(json.dumps([read(text) for text in json.load(sys.stdin)]))`;
  const { stdout, stderr, status } = spawnSync('python3', ['-c', script], {
    input: JSON.stringify(results.map((result) => gateReport('junit', result, context))),
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  assert.equal(status, 0, stderr);
  const read = JSON.parse(stdout) as readonly Junit[];
  const known = [
    'error',
    'failure',
    'properties',
    'property',
    'skipped',
    'testcase',
    'testsuite',
    'testsuites',
  ];
  for (const { tags } of read)
    assert.deepEqual(
      tags.filter((tag) => !known.includes(tag)),
      [],
    );
  return read;
}

test('the JUnit report is well-formed, and texts of registries add no element', { skip: python }, () => {
  const [{ tests, cases } = { tests: 0, cases: [] }] = parsedJunit([mixed]);
  assert.equal(tests, 5);
  assert.equal(cases.filter(({ children }) => String(children) === 'skipped').length, 1);
  assert.equal(cases.filter(({ children }) => String(children) === 'failure').length, 1);
  assert.equal(cases.filter(({ children }) => String(children) === 'error').length, 2);
  assert.ok(
    cases.some(({ text }) => String(text).includes('<script>')),
    'as text',
  );
});

test('any text of a registry leaves each report well-formed', { skip: python }, () => {
  const results = fc.sample(fc.string({ unit: 'binary', maxLength: 60 }), 200).map((text) =>
    resultOf([
      imageOf(withText(decided([], policy), text), {
        namespace: text,
        code: text,
        advice: text,
        places: [{ ...place, file: text, object: text }],
      }),
    ]),
  );
  for (const result of results) sarif(result);
  for (const { cases } of parsedJunit(results)) assert.equal(cases.length, 1);
});

test('the Markdown summary shows texts of registries as text, and has at most 1 MiB', () => {
  const text = gateReport('markdown', mixed, context);
  assert.match(text, /^## Portcullis: not every image passes/);
  assert.match(text, /5 images: 1 admitted, 1 waived, 1 denied, 1 undecided, 1 failed/);
  const outside = text.replace(/<pre>\n[^]*?<\/pre>/g, '').replace(/`[^`\n]*`/g, '');
  assert.doesNotMatch(outside, /script|evil\.example|## title|@team/);
  for (const [, inside = ''] of text.matchAll(/<pre>\n([^]*?)<\/pre>/g))
    assert.doesNotMatch(inside, /[<>`@]/);
  for (const row of text.split('\n').filter((line) => line.startsWith('| ')))
    assert.equal(row.split(/(?<!\\)\|/).length, 7, row);
  const many = resultOf(Array.from({ length: 20_000 }, () => mixed.images[1] as GateImage));
  const large = gateReport('markdown', many, context);
  assert.ok(Buffer.byteLength(large) <= 1024 * 1024);
  assert.match(
    large,
    /images are left out of the table, and the reasons of \d+ images are left out: this summary has at most 1 MiB\.\n$/,
  );
});

test('each format is complete text that ends with a newline', () => {
  for (const format of reportFormats) assert.match(gateReport(format, mixed, context), /\n$/, format);
  assert.match(gateText(mixed), /5 images: 1 admitted, 1 waived, 1 denied, 1 undecided, 1 failed\n$/);
});

test('a part that was not read is in each report: an error, and a warning if the caller lets it pass', () => {
  const part = { place: { ...place, object: hostile }, why: 'it is not checked', fix: 'name it' };
  const resultWith = (allowed: boolean): GateResult => ({
    ...resultOf([imageOf(decided([bundle(ours)], policy))]),
    unread: { allowed, parts: [part] },
  });
  const [strict, allowed] = [resultWith(false), resultWith(true)];
  assert.match(gateText(strict), /^not read: .*\(deploy\/app one\.yaml:12\): it is not checked: name it$/mu);
  assert.match(gateText(allowed), /^warning: not read: /mu);
  assert.match(gateReport('markdown', strict, context), /parts of manifests were not read/u);
  assert.match(gateReport('markdown', allowed, context), /every image passes/u);
  assert.match(gateReport('junit', strict, context), /tests="2" failures="0" errors="1" skipped="0"/u);
  assert.match(gateReport('junit', allowed, context), /tests="2" failures="0" errors="0" skipped="1"/u);
  for (const [result, says] of [
    [strict, /"executionSuccessful": false/u],
    [allowed, /"executionSuccessful": true/u],
  ] as const) {
    const text = gateReport('sarif', result, context);
    assert.ok(judgeSarif(JSON.parse(text)), JSON.stringify(judgeSarif.errors));
    assert.match(text, says);
  }
  for (const [result, format] of reportFormats.flatMap((format) => [
    [strict, format] as const,
    [allowed, format] as const,
  ]))
    assert.match(gateReport(format, result, context), /it is not checked/u, format);
});
