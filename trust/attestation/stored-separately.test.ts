import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import { serveFixtures } from '../evidence/fixtures/fixture-registry.ts';
import { amd64, gatherFixture, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { ours } from '../evidence/fixtures/sample-evidence.ts';
import { contentToSign } from '../evidence/fixtures/signed-content.ts';
import { lackingParts, withoutParts } from '../evidence/evidence-parts.ts';
import { dossierId } from '../evidence/dossier.ts';
import { simulatePolicy } from '../policy/testing/simulate.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { verdictLogStatements } from '../verdict-log/append.ts';
import { openDatabaseLog } from '../verdict-log/database-source.ts';
import { exportLog, readExport } from '../verdict-log/export-file.ts';
import { findVerdictRow } from '../verdict-log/find.ts';
import { migrations } from '../verdict-log/log.fixture.ts';
import { replayLogged } from '../verdict-log/replay.ts';
import { verifyLog } from '../verdict-log/verify.ts';
import { signImage } from '../signing/sign-image.ts';
import { attestImage } from '../signing/attest-image.ts';
import { entitlementsPredicateType } from './predicate-types.ts';

test('a large attestation is stored separately: replays and simulations find it, and one changed byte is detected', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'apart-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { content, repository, digest } = contentToSign();
  const now = new Date();
  const predicate = {
    packages: Array.from({ length: 4000 }, (_, index) => ({
      name: `package-${index}`,
      note: 'x'.repeat(60),
    })),
  };
  await attestImage({ repository, digest, key: ours, type: 'spdxjson', predicate, format: 'bundle', now });
  const registry = await serveFixtures(new Map([['app', content]]), { referrers: true });
  t.after(() => registry.close());
  const by = { kind: 'cosign-key', key: ours.public } as const;
  const policy = policyOf({
    require: { kind: 'attestation', predicateType: 'https://spdx.dev/Document', by, cel: [] },
  });
  const dossier = await gatherFixture(registry.host, 'app', policy);
  assert.equal(lackingParts(dossier).length, 0);
  const light = withoutParts(dossier);
  assert.equal(lackingParts(light).length, 1);
  assert.ok(JSON.stringify(light).length < 5000, 'the rest is small');
  assert.equal(dossierId(light), dossier.id);
  const verdict = decide({
    dossier,
    reference: dossier.reference,
    namespace: '',
    platform: amd64,
    policy,
    now,
  });
  assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
  assert.equal(
    decide({ dossier: light, reference: dossier.reference, namespace: '', platform: amd64, policy, now })
      .outcome,
    'deny',
  );

  const path = join(folder, 'state.db');
  const database = await openDatabase({ path, migrations });
  await database.write([...verdictLogStatements(verdict, { dossier, policy, time: now })]);
  await database.close();
  const log = openDatabaseLog(path);
  t.after(() => log.close());
  assert.deepEqual(verifyLog(log).problems, []);
  assert.ok((await replayLogged(log, findVerdictRow(log, verdict.id))).equal);
  const text = [...exportLog(log, 1)].join('');
  const elsewhere = readExport('x', text);
  assert.ok((await replayLogged(elsewhere, findVerdictRow(elsewhere, verdict.id))).equal);
  const simulated = await simulatePolicy({ paths: [path], candidate: policy, now });
  assert.deepEqual([simulated.decided, simulated.changes.length, simulated.skipped], [1, 0, []]);

  const other = new DatabaseSync(path);
  other.exec(
    "UPDATE evidence_part SET bytes = substr(bytes, 1, 400) || CASE substr(bytes, 401, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(bytes, 402)",
  );
  const changed = openDatabaseLog(path);
  assert.deepEqual(
    verifyLog(changed).problems.map(({ code }) => code),
    ['TRUST_LOG_TEXT_ALTERED'],
  );
  changed.close();
  other.exec('DELETE FROM evidence_part');
  other.close();
  const gone = openDatabaseLog(path);
  assert.deepEqual(
    verifyLog(gone).problems.map(({ code }) => code),
    ['TRUST_LOG_TEXT_MISSING'],
  );
  gone.close();
});

test('while a separately stored attestation is not available, the bounds of the container are unknown', async (t) => {
  const { content, repository, digest } = contentToSign();
  const now = new Date();
  await signImage({ repository, digest, key: ours, format: 'bundle', now });
  const predicate = {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'EntitlementProfile',
    metadata: { name: 'web' },
    note: 'x'.repeat(60_000),
  };
  await attestImage({
    repository,
    digest,
    key: ours,
    type: entitlementsPredicateType,
    predicate,
    format: 'bundle',
    now,
  });
  const registry = await serveFixtures(new Map([['app', content]]), { referrers: true });
  t.after(() => registry.close());
  const policy = policyOf({ require: { kind: 'cosign-key', key: ours.public } });
  const dossier = await gatherFixture(registry.host, 'app', policy);
  const question = { reference: dossier.reference, namespace: '', platform: amd64, policy, now };
  const verdict = decide({ ...question, dossier });
  assert.deepEqual(
    [verdict.outcome, verdict.requestedEntitlements?.length],
    ['admit', 1],
    explainVerdict(verdict),
  );
  const light = withoutParts(dossier);
  assert.equal(lackingParts(light).length, 1);
  const without = decide({ ...question, dossier: light });
  assert.equal(without.outcome, 'undecided');
  assert.match(
    explainVerdict(without),
    /is not available, and it may state which entitlements the image needs/u,
  );
});
