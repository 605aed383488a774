import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseReference } from '../../base/distribution/index.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { bundle, by, dossierOf, ours, second } from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import type { TrustRule } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { mayAdmit } from './matching.ts';

const now = new Date();

function outcomeOf(
  reference: string,
  rules: readonly Partial<TrustRule>[],
  items: readonly EvidenceItem[] = [bundle(ours)],
): Verdict {
  const policy = policyOf(...rules);
  return decide({ dossier: dossierOf(items), reference, namespace: '', platform: amd64, policy, now });
}

const everything: Partial<TrustRule> = { images: ['**'], require: by(ours) };
const strict: Partial<TrustRule> = { images: ['registry.example.com/pay/**'], require: by(second) };
const denying: Partial<TrustRule> = { images: ['registry.example.com/pay/app:1'], deny: 'withdrawn' };

for (const name of [
  'registry.example.com/pay/app:1',
  'registry.example.com:443/pay/app:1',
  'registry.example.com:0443/pay/app:1',
  'registry.example.com:80/pay/app:1',
  'REGISTRY.example.com:443/pay/app:1',
])
  test(`${name} evades no rule for its registry`, () => {
    assert.equal(outcomeOf(name, [everything, strict]).outcome, 'deny');
    assert.equal(outcomeOf(name, [everything, strict], [bundle(ours), bundle(second)]).outcome, 'admit');
    assert.match(explainVerdict(outcomeOf(name, [everything, denying])), /denies: withdrawn/);
    const open: Partial<TrustRule> = { images: ['**'], allowUnverified: true };
    assert.equal(outcomeOf(name, [open, strict]).outcome, 'deny');
    assert.equal(mayAdmit(policyOf(open, denying), name, '', now)?.code, 'TRUST_NEVER_ADMITS');
  });

test('a rule for the name with a port also applies to the name without it', () => {
  const rule = { ...strict, images: ['registry.example.com:443/pay/**'] };
  assert.equal(outcomeOf('registry.example.com/pay/app:1', [everything, rule]).outcome, 'deny');
  assert.equal(outcomeOf('registry.example.com:5000/pay/app:1', [everything, rule]).outcome, 'admit');
});

test('no other host of Docker Hub evades a rule for docker.io', () => {
  const rule = { ...strict, images: ['docker.io/library/*'] };
  for (const host of [
    'registry-1.docker.io',
    'registry-1.docker.io:443',
    'index.docker.io:443',
    'docker.io:443',
    'registry.hub.docker.com',
    'registry.hub.docker.com:443',
    'registry.docker.io',
  ])
    assert.equal(outcomeOf(`${host}/library/busybox:1`, [everything, rule]).outcome, 'deny', host);
});

test('a rule for another name of the registry alone admits nothing', () => {
  const verdict = outcomeOf('registry.example.com:443/pay/app:1', [strict], [bundle(second)]);
  assert.equal(verdict.outcome, 'deny');
  assert.match(explainVerdict(verdict), /matches another name of the registry/);
  const open: Partial<TrustRule> = { images: ['registry.example.com/**'], allowUnverified: true };
  assert.equal(outcomeOf('registry.example.com:443/pay/app:1', [open]).outcome, 'deny');
  assert.equal(outcomeOf('registry.example.com/pay/app:1', [open]).outcome, 'admit');
});

test('an image that a rule excepts is excepted under each of its names', () => {
  const rest = { ...strict, images: ['**'], except: ['registry.example.com/**'] };
  const own: Partial<TrustRule> = { images: ['registry.example.com/**'], require: by(ours) };
  assert.equal(outcomeOf('registry.example.com/pay/app:1', [rest, own]).outcome, 'admit');
  const withPort = outcomeOf(
    'registry.example.com:443/pay/app:1',
    [rest, own],
    [bundle(ours), bundle(second)],
  );
  assert.equal(withPort.outcome, 'admit');
});

test('the ceiling of an allowing rule stays when a rule for another name narrows it', () => {
  const open: Partial<TrustRule> = {
    images: ['**'],
    allowUnverified: true,
    ceiling: { rule: 'open', ceiling: 'restricted' },
  };
  const verdict = outcomeOf('registry.example.com:443/pay/app:1', [open, strict], [bundle(second)]);
  assert.equal(verdict.outcome, 'admit');
  assert.ok(verdict.ceilings.some(({ ceiling }) => ceiling === 'restricted'));
});

test('one text leads to one registry', () => {
  for (const host of ['10.1:05000', '[::ffff:a00:1]:5000', '[::ffff:a00:1]:05000']) {
    const { registry } = parseReference(`${host}/app`);
    assert.equal(registry, '10.0.0.1:5000', host);
  }
});
