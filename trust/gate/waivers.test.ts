import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { loadCel } from '../attestation/cel-loaded.ts';
import { attested, demand, statementText } from '../attestation/fixtures/sample-attestations.ts';
import { now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  by,
  digest,
  dossierOf,
  foreign,
  ours,
  reference,
  second,
  unreachable,
} from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem } from '../findings/types.ts';
import { loadPolicy } from '../policy/load.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import type { Requirement, TrustRule } from '../requirements/types.ts';
import { hostPlatform } from '../registries/resolve-image.ts';
import { decide } from '../verdict/decide.ts';
import { waiversFor } from './apply-waivers.ts';
import type { Denied } from './apply-waivers.ts';
import { isInForce, loadWaivers } from './waivers.ts';
import type { Waiver } from './waivers.ts';
import { waiversSchema } from './waiver-schema.ts';

before(() => loadCel());
const folder = mkdtempSync(join(tmpdir(), 'waivers-'));
after(() => rmSync(folder, { recursive: true }));

const waiver = (more: Partial<Waiver> = {}): Waiver => ({
  ...{ id: 'SEC-1', images: ['registry.example.com/pay/**'], codes: ['TRUST_CEL_FALSE'], place: 'w.yaml:4' },
  ...{ owner: 'pay@example.com', reason: 'the scanner is wrong', created: '2026-11-01T00:00:00.000Z' },
  ...{ expires: '2026-12-01T00:00:00.000Z', ...more },
});

const scan = demand(['predicate.critical == 0']);
const bad = attested(statementText({ critical: 1 }));
const both: Requirement = { kind: 'all', of: [by(ours), scan] };

function waived(
  items: readonly EvidenceItem[],
  waivers: readonly Waiver[],
  {
    rule = {},
    parts = {},
    namespace = 'pay',
    name = reference,
  }: { rule?: Partial<TrustRule>; parts?: object; namespace?: string; name?: string } = {},
): readonly string[] {
  const denied = {
    ...{ reference: normaliseReference(name), namespace, dossier: dossierOf(items, parts) },
    ...{ policy: policyOf({ require: both, ...rule }), now },
  };
  return waiversFor(denied, waivers).map(({ id }) => id);
}

test('a waiver lets only those refusals pass that it names', () => {
  const signed = bundle(ours);
  assert.deepEqual(waived([signed, bad], [waiver()]), ['SEC-1']);
  assert.deepEqual(waived([bundle(foreign), bad], [waiver()]), [], 'the signature is not waived');
  assert.deepEqual(waived([bad], [waiver()]), [], 'nor is a missing signature');
  assert.deepEqual(waived([signed], [waiver()]), [], 'nor a missing scan');
  assert.deepEqual(waived([signed], [waiver({ codes: ['TRUST_REQUIREMENT_UNMET'] })]), ['SEC-1']);
  const other = attested(statementText({}, { predicateType: 'https://example.com/other' }));
  assert.deepEqual(
    waived([signed, other], [waiver({ codes: ['TRUST_REQUIREMENT_UNMET'] })]),
    ['SEC-1'],
    'an attestation of another type is not a scan',
  );
  const second2 = waiver({ id: 'SEC-2', codes: ['TRUST_REQUIREMENT_UNMET'] });
  assert.deepEqual(
    waived([bad], [waiver(), second2]).toSorted(),
    ['SEC-1', 'SEC-2'],
    'two refusals need two waivers',
  );
  assert.deepEqual(waived([signed, bad], [waiver({ requirement: 'cosign' })]), [], 'for another requirement');
  assert.deepEqual(waived([signed, bad], [waiver({ requirement: 'https://slsa.dev/provenance/v1' })]), [
    'SEC-1',
  ]);
  const threshold: Requirement = { kind: 'threshold', count: 2, of: [by(ours), by(second), scan] };
  assert.deepEqual(waived([signed, bad], [waiver()], { rule: { require: threshold } }), ['SEC-1']);
});

test('a waiver for one requirement does not make one signer count twice in a threshold', () => {
  const again: Requirement = { kind: 'cosign-key', key: { ...ours.public, name: 'renamed.pub' } };
  const two = (...of: Requirement[]): Requirement => ({ kind: 'threshold', count: 2, of });
  const rule = (signed: Requirement): { rule: Partial<TrustRule> } => ({
    rule: { require: { kind: 'all', of: [signed, scan] } },
  });
  const items = [bundle(ours), bundle(second), bad];
  assert.deepEqual(waived(items, [waiver()], rule(two(by(ours), again))), []);
  assert.deepEqual(waived(items, [waiver()], rule(two(by(ours), by(second)))), ['SEC-1']);
  const scanned: Requirement = { kind: 'all', of: [again, scan] };
  assert.deepEqual(waived(items, [waiver()], rule(two(by(ours), scanned))), []);
  assert.deepEqual(waived(items, [waiver()], rule(two(by(second), scanned))), ['SEC-1']);
});

test('a waiver for another image, digest or namespace does not apply', () => {
  const items = [bundle(ours), bad];
  assert.deepEqual(waived(items, [waiver({ images: ['registry.example.com/web/**'] })]), []);
  assert.deepEqual(waived(items, [waiver({ digest: `sha256:${'c'.repeat(64)}` })]), []);
  assert.deepEqual(waived(items, [waiver({ digest })]), ['SEC-1']);
  assert.deepEqual(waived(items, [waiver({ namespaces: ['web-*'] })]), []);
  assert.deepEqual(waived(items, [waiver({ namespaces: ['p*'] })]), ['SEC-1']);
  assert.deepEqual(waived(items, [waiver({ namespaces: ['p*'] })], { namespace: '' }), []);
  const pinned = `registry.example.com/pay/app@sha256:${'d'.repeat(64)}`;
  assert.deepEqual(waived(items, [waiver()], { name: pinned }), [], 'the reference asks for another digest');
});

test('no waiver passes a rule that denies, an image without a rule, or a source that did not answer', () => {
  const items = [bundle(ours), bad];
  assert.deepEqual(waived(items, [waiver()], { rule: { deny: 'never' } }), []);
  assert.deepEqual(waived(items, [waiver()], { rule: { images: ['registry.example.com/web/**'] } }), []);
  assert.deepEqual(
    waived([bundle(ours)], [waiver({ codes: ['TRUST_REQUIREMENT_UNMET'] })], { parts: { unreachable } }),
    [],
  );
  assert.deepEqual(
    waived(items, [waiver()], { rule: { ceiling: { rule: 'r', ceiling: 'baseline', require: 'signed' } } }),
    [],
  );
});

test('a waiver for a requirement of a namespace does not waive the signed entitlements of the rule below it', () => {
  const result = (ceiling: Partial<TrustRule>): readonly string[] => {
    const denied: Denied = {
      ...{
        reference: normaliseReference(reference),
        namespace: 'pay',
        dossier: dossierOf([bundle(ours), bad]),
      },
      ...{
        policy: policyOf({ allowUnverified: true, ...ceiling }, { require: both, narrows: ['pay'] }),
        now,
      },
    };
    assert.equal(decide({ ...denied, reference, platform: hostPlatform() }).outcome, 'deny');
    return waiversFor(denied, [waiver()]).map(({ id }) => id);
  };
  assert.deepEqual(result({}), ['SEC-1']);
  assert.deepEqual(result({ ceiling: { rule: 'r', ceiling: 'baseline', require: 'signed' } }), []);
});

const entry = (changes = ''): string =>
  `apiVersion: portcullis.dev/v1alpha1
kind: Waivers
waivers:
  - id: SEC-1
    images: ['registry.example.com/pay/**']
    codes: [TRUST_CEL_FALSE]
    owner: pay@example.com
    reason: the scanner is wrong
    created: 2026-11-01
    expires: 2026-12-01
${changes}`;

function load(text: string): ReturnType<typeof loadWaivers> {
  const file = join(folder, 'w.yaml');
  writeFileSync(file, text);
  return loadWaivers([file], now);
}

test('waivers are loaded with their positions, and mistakes are reported with positions', async () => {
  const [read] = await load(entry('    requirement: slsaprovenance1\n'));
  assert.deepEqual(
    { ...read, place: read?.place.replace(folder, '') },
    {
      ...{
        id: 'SEC-1',
        images: ['registry.example.com/pay/**'],
        codes: ['TRUST_CEL_FALSE'],
        place: '/w.yaml:4',
      },
      ...{ owner: 'pay@example.com', reason: 'the scanner is wrong', created: '2026-11-01T00:00:00.000Z' },
      ...{ expires: '2026-12-01T00:00:00.000Z', requirement: 'https://slsa.dev/provenance/v1' },
    },
  );
  assert.equal(isInForce({ expires: '2026-11-20T12:00:00.001Z' }, now), true);
  assert.equal(isInForce({ expires: now.toISOString() }, now), false);
  for (const [text, says] of [
    [entry().replace('    owner: pay@example.com\n', ''), /w\.yaml:4:5.*`owner` is missing/],
    [entry().replace('    expires: 2026-12-01\n', ''), /`expires` is missing/],
    [entry().replace('expires: 2026-12-01', 'expires: 2027-02-01'), /w\.yaml:10:14.*longer than 90 days/],
    [entry().replace('expires: 2026-12-01', 'expires: 2026-11-01'), /ends before it begins/],
    [entry().replace('expires: 2026-12-01', 'expires: 2026-02-31'), /not a valid date/],
    [entry().replace('created: 2026-11-01', 'created: 2026-11-25'), /in the future/],
    [entry().replace('TRUST_CEL_FALSE', 'TRUST_NO_RULE'), /w\.yaml:6:13/],
    [entry().replace('TRUST_CEL_FALSE', 'TRUST_SOURCE_UNREACHABLE'), /w\.yaml:6:13/],
    [entry('    requirement: nothing\n'), /"nothing" is not a requirement/],
    [entry().replace('pay/**', 'a//b'), /not an image pattern/],
    [entry(entry().slice(entry().indexOf('  - id'))), /another waiver has the id SEC-1/],
    [entry('    until: never\n'), /unknown field `until`/],
    ['kind: TrustPolicy\n', /no document of kind Waivers/],
  ] as const)
    await assert.rejects(
      load(text),
      (error) =>
        isPortcullisError(error) && error.code === 'TRUST_WAIVERS_INVALID' && says.test(error.message),
      String(says),
    );
});

test('a policy ignores waivers beside it: only the gate reads them', async () => {
  writeFileSync(
    join(folder, 'p.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules: []\n---\n${entry()}`,
  );
  const { policy, otherDocuments } = await loadPolicy({ paths: [join(folder, 'p.yaml')] });
  assert.deepEqual(policy.rules, []);
  assert.deepEqual(
    otherDocuments.map(({ kind }) => kind),
    ['Waivers'],
  );
});

test('the published schema is the one that waivers are checked with', () => {
  const published = readFileSync(join(import.meta.dirname, '../../docs/schemas/waivers.json'), 'utf8');
  assert.deepEqual(
    JSON.parse(published),
    JSON.parse(JSON.stringify(waiversSchema)),
    'run: sh packaging/node test/house/policy-reference.ts',
  );
});
