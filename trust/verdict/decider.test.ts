import assert from 'node:assert/strict';
import { threadCpuUsage } from 'node:process';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { attested, demand, statementText } from '../attestation/fixtures/sample-attestations.ts';
import { amd64, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { bundle, by, dossierOf, ours, reference, second } from '../evidence/fixtures/sample-evidence.ts';
import type { DecideInput, Dossier } from '../findings/types.ts';
import type { Requirement } from '../requirements/types.ts';
import { createDecider, isDear } from './decider.ts';
import type { Decider } from './decider.ts';
import { decide } from './decide.ts';
import { prepareDecision } from './prepare.ts';

let decider: Decider;
before(() => {
  decider = createDecider();
});
after(() => decider.close());

const input = (dossier: Dossier, require: Requirement, at: Date = now): DecideInput => ({
  dossier,
  reference,
  namespace: 'a',
  platform: amd64,
  policy: policyOf({ require }),
  now: at,
});

test('a verdict is the same, byte for byte, wherever it was made', async () => {
  const expression = 'predicate.builder.id == "https://builder.example"';
  const attestation = attested(statementText({ builder: { id: 'https://builder.example' } }));
  const inputs: readonly (readonly [input: DecideInput, dear: boolean])[] = [
    [input(dossierOf([bundle(ours)]), by(ours)), false],
    [input(dossierOf([1, 2, 3, 4].map(() => bundle(second))), by(ours)), true],
    [input(dossierOf([attestation]), demand([expression])), true],
    [input(dossierOf([attestation]), demand(['predicate.builder.id == "https://other.example"'])), true],
    [{ ...input(dossierOf([attestation]), demand([expression])), reference: 'not a reference' }, true],
  ];
  const outcomes: string[] = [];
  for (const [asked, dear] of inputs) {
    assert.equal(isDear(asked.dossier.items), dear);
    await prepareDecision(asked.policy);
    const verdict = await decider.decide(asked);
    assert.deepEqual(JSON.stringify(verdict), JSON.stringify(decide(asked)));
    outcomes.push(verdict.outcome);
  }
  assert.deepEqual(outcomes, ['admit', 'deny', 'admit', 'deny', 'deny']);
});

test('many simultaneous questions under several policies are each answered under their own policy', async () => {
  const attestation = dossierOf([attested(statementText({ number: 7 }))]);
  const asked = Array.from({ length: 12 }, (_, index) =>
    input(attestation, demand([`predicate.number == ${index}`])),
  );
  const verdicts = await Promise.all(asked.map((one) => decider.decide(one)));
  assert.deepEqual(
    verdicts.flatMap(({ outcome }, index) => (outcome === 'admit' ? [index] : [])),
    [7],
  );
});

test('a policy that the thread could not accept is sent again, and refused for the same reason', async () => {
  const asked = input(dossierOf([attested(statementText({}))]), demand(['true']));
  const broken = { ...asked, policy: { revision: 'r', default: 'deny' } } as unknown as DecideInput;
  const why = () => decider.decide(broken).then(JSON.stringify, (error: unknown) => String(error));
  const first = await why();
  assert.match(first, /TRUST_DECIDER_FAILED/);
  assert.equal(await why(), first);
});

test('a decision that takes hundreds of milliseconds does not block the calling thread', async () => {
  const objects = Array.from({ length: 30_000 }, (_, index) => ({ name: `p${index}`, version: '1' }));
  const heavy = input(
    dossierOf([attested(statementText({ objects }))]),
    demand(['predicate.objects.all(o, o.name.startsWith("p") && o.version != "2")']),
  );
  await prepareDecision(heavy.policy);
  const inPlace = cpuOf(() => decide(heavy));
  // The processor time of the thread between two turns of its loop: other load on the machine does not count.
  let longest = 0;
  let last = cpu();
  const turn = setInterval(() => {
    longest = Math.max(longest, cpu() - last);
    last = cpu();
  }, 0);
  const verdict = await decider.decide({ ...heavy, now: new Date(now.getTime() + 1000) });
  clearInterval(turn);
  longest = Math.max(longest, cpu() - last);
  assert.notEqual(verdict.outcome, 'undecided');
  assert.ok(longest < inPlace / 4, `${longest} ms in one turn; deciding in place takes ${inPlace} ms`);
});

test('a decision that exceeds its time limit is an error, never a verdict, and the next decision is made', async () => {
  const own = createDecider({ deadlineMs: 1 });
  const objects = Array.from({ length: 30_000 }, (_, index) => ({ name: `p${index}` }));
  const heavy = input(
    dossierOf([attested(statementText({ objects }))]),
    demand(['predicate.objects.all(o, o.name.startsWith("p"))']),
  );
  try {
    await assert.rejects(
      own.decide(heavy),
      (error) =>
        isPortcullisError(error) &&
        error.code === 'TRUST_DECIDER_FAILED' &&
        error.message.includes('no answer within 0.001 s'),
    );
  } finally {
    await own.close();
  }
  assert.equal((await decider.decide(heavy)).outcome, 'admit');
});

test('a lost Worker is an error, never a verdict, and the next question starts another Worker', async () => {
  const own = createDecider();
  const asked = input(dossierOf([attested(statementText({}))]), demand());
  const refused = assert.rejects(
    own.decide(asked),
    (error) => isPortcullisError(error) && error.code === 'TRUST_DECIDER_FAILED',
  );
  await own.close();
  await refused;
  assert.equal((await own.decide(asked)).outcome, 'admit');
  await own.close();
});

function cpu(): number {
  const { user, system } = threadCpuUsage();
  return (user + system) / 1000;
}

function cpuOf(act: () => unknown): number {
  const started = cpu();
  act();
  return cpu() - started;
}
