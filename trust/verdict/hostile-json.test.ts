import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { loadCel } from '../attestation/cel-loaded.ts';
import { attested, demand, envelope, statementText } from '../attestation/fixtures/sample-attestations.ts';
import { policyOf } from '../evidence/fixtures/fixture-image.ts';
import { hostileCopies, hostileVariants } from '../evidence/fixtures/hostile-json.ts';
import {
  bundle,
  by,
  decided,
  digest,
  hex,
  messageBundle,
  ours,
  simple,
  simpleFor,
  statement,
} from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { Requirement } from '../requirements/types.ts';
import { imageStatement } from '../signing/dsse-bundle.ts';

/**
 * Anyone who may push to a repository can put evidence beside an image. Whatever it contains, it must not
 * prevent that the valid signatures beside it count.
 */

/** Asserts that the valid evidence counts beside each of the others. @returns how many there are */
function assertHarmless(require: Requirement, valid: EvidenceItem, others: Iterable<EvidenceItem>): number {
  const policy = policyOf({ require });
  let count = 0;
  for (const other of others) {
    const { outcome } = decided([other, valid], policy);
    assert.equal(outcome, 'admit', Buffer.from(other.bytes ?? '', 'base64').toString());
    count += 1;
  }
  return count;
}

const signed = imageStatement(digest).toString();

test('signatures by a key count beside hostile signatures', () => {
  const others: readonly EvidenceItem[] = [
    bundle(ours),
    messageBundle(Buffer.from('x')),
    simple(simpleFor(digest)),
  ];
  assert.ok(
    assertHarmless(
      by(ours),
      bundle(ours),
      others.flatMap((one) => [...hostileCopies(one)]),
    ) > 100,
  );
});

test('signatures by a key count beside hostile statements that the same key has signed', () => {
  const statements = [...hostileVariants(JSON.parse(signed))].map((one) => statement(JSON.stringify(one)));
  const payloads = [...hostileVariants(JSON.parse(simpleFor(digest).toString()))].map((one) =>
    simple(Buffer.from(JSON.stringify(one))),
  );
  assert.ok(assertHarmless(by(ours), bundle(ours), [...statements, ...payloads]) > 50);
});

before(() => loadCel());

test('attestations count beside hostile attestations', () => {
  const valid = attested(statementText({ a: 1 }));
  const hostileStatements = [...hostileVariants(JSON.parse(statementText({ a: { b: [hex] } })))].map((one) =>
    JSON.stringify(one),
  );
  const others = [
    ...[valid, envelope(statementText({ a: 1 }))].flatMap((one) => [...hostileCopies(one)]),
    ...hostileStatements.flatMap((one) => [attested(one), envelope(one)]),
  ];
  assert.ok(assertHarmless(demand(['predicate.a != 0']), valid, others) > 100);
});
