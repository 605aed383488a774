import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createPublicKey } from 'node:crypto';
import { amd64 } from '../evidence/fixtures/fixture-image.ts';
import { bundle, dossierOf, ours, reference } from '../evidence/fixtures/sample-evidence.ts';
import { loadPolicy } from '../policy/load.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { attested, statementText } from './fixtures/sample-attestations.ts';
import { predicateTypeOf } from './predicate-types.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/attestations.md'), 'utf8');
const blocks = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map((block) => block[1] as string);
const now = new Date('2026-11-20T12:00:00Z');

function predicate(type: string): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, `fixtures/predicates/${type}.json`), 'utf8'));
}

/** Changes that make each example deny instead of admit. */
const spoiled: Readonly<Record<string, (predicate: string) => string>> = {
  slsaprovenance1: (text) => text.replaceAll('example/pay', 'example/fork'),
  slsaprovenance02: (text) => text.replace('slsa-github-generator/.github', 'evil/.github'),
  spdxjson: (text) => text.replace('WTFPL', 'SSPL-1.0'),
  cyclonedx: (text) => text.replace('"MIT"', '"AGPL-3.0-only"'),
  vuln: (text) => text.replace('MEDIUM', 'CRITICAL'),
  vsa: (text) => text.replace('PASSED', 'FAILED'),
  openvex: (text) => text.replace('not_affected', 'affected'),
};

describe('the examples of docs/attestations.md', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-documented-'));
    const pem = createPublicKey(ours.private).export({ type: 'spki', format: 'pem' });
    writeFileSync(join(folder, 'build.pub'), pem);
  });
  after(() => rmSync(folder, { recursive: true }));

  async function verdictOf(policyText: string, items: readonly EvidenceItem[], at = now): Promise<Verdict> {
    const file = join(folder, 'policy.yaml');
    writeFileSync(file, policyText);
    const { policy } = await loadPolicy({ paths: [file] });
    return decide({ dossier: dossierOf(items), reference, namespace: '', platform: amd64, policy, now: at });
  }

  const asPolicy = (block: string): string =>
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n${block.replace(/^/gm, '      ')}`;

  const examples = blocks.filter((block) => block.startsWith('attestation:'));

  it('cover every predicate type that has a fixture', () => {
    const types = examples.map((block) => /type: (\S+)/.exec(block)?.[1] ?? '');
    assert.deepEqual(types.toSorted(), Object.keys(spoiled).toSorted());
  });

  for (const block of examples) {
    const type = /type: (\S+)/.exec(block)?.[1] ?? '';
    it(`the example for ${type} admits valid attestations, and refuses others`, async () => {
      const predicateType = predicateTypeOf(type);
      const state = (value: unknown): EvidenceItem[] => [attested(statementText(value, { predicateType }))];
      const yes = await verdictOf(asPolicy(block), state(predicate(type)));
      assert.equal(yes.outcome, 'admit', explainVerdict(yes));
      const text = JSON.stringify(predicate(type));
      const changed = spoiled[type]?.(text) ?? text;
      assert.notEqual(changed, text);
      const no = await verdictOf(asPolicy(block), state(JSON.parse(changed)));
      assert.equal(no.outcome, 'deny', explainVerdict(no));
    });
  }

  it('a scan becomes too old', async () => {
    const block = examples.find((one) => one.includes('type: vuln')) ?? '';
    const items = [attested(statementText(predicate('vuln'), { predicateType: predicateTypeOf('vuln') }))];
    assert.equal((await verdictOf(asPolicy(block), items)).outcome, 'admit');
    assert.equal((await verdictOf(asPolicy(block), items, new Date('2026-11-23T12:00:00Z'))).outcome, 'deny');
  });

  it('the whole policy admits only images that are signed and attested', async () => {
    const [policy = ''] = blocks;
    const provenance = attested(statementText(predicate('slsaprovenance1')));
    const yes = await verdictOf(policy, [bundle(ours), provenance]);
    assert.equal(yes.outcome, 'admit', explainVerdict(yes));
    assert.equal((await verdictOf(policy, [bundle(ours)])).outcome, 'deny');
    assert.equal((await verdictOf(policy, [provenance])).outcome, 'deny');
    const branch: unknown = JSON.parse(
      JSON.stringify(predicate('slsaprovenance1')).replaceAll('refs/tags/', 'refs/heads/'),
    );
    assert.equal((await verdictOf(policy, [bundle(ours), attested(statementText(branch))])).outcome, 'deny');
  });
});
