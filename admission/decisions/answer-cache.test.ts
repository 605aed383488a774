import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { sealDossier } from '../../trust/evidence/index.ts';
import type { DecideInput, Dossier } from '../../trust/index.ts';
import { createAnswerCache, usualLimits } from './answer-cache.ts';

const digest = `sha256:${'a'.repeat(64)}`;

function dossierWith(annotation: string): Dossier {
  return sealDossier({
    reference: 'registry.example.com/app:1',
    digest,
    manifestDigest: digest,
    items: [
      {
        kind: 'cosign-simple-signing',
        attachedTo: digest,
        foundBy: 'tag',
        servedBy: 'registry.example.com',
        manifestDigest: digest,
        blobDigest: digest,
        mediaType: '',
        annotations: { 'dev.cosignproject.cosign/signature': annotation },
        bytes: '',
      },
    ],
    unreachable: [],
    gatheredAt: new Date(0).toISOString(),
  });
}

test('annotations count towards the bytes of evidence that are kept', async () => {
  const nothing = (): Promise<never> => Promise.reject(new Error('nothing is decided here'));
  const decider = { decide: nothing, satisfied: nothing };
  const cache = createAnswerCache(decider, {
    ...usualLimits,
    ...{ evidenceBytes: 20_000, evidenceMs: 60_000 },
  });
  let asked = 0;
  const ask = (name: string, annotation: string): Promise<Dossier> =>
    cache.of(['user ada']).evidence(name, 'registry.example.com', () => {
      asked += 1;
      return Promise.resolve(dossierWith(annotation));
    });
  await ask('small', 'x');
  await ask('small', 'x');
  assert.equal(asked, 1);
  await ask('large', 'x'.repeat(19_000));
  await ask('large', 'x'.repeat(19_000));
  assert.equal(asked, 3, 'evidence that is larger than the cache is not kept');
});

test('an error says whether the registry was asked', { timeout: 10_000 }, async () => {
  const nothing = (): Promise<never> => Promise.reject(new Error('nothing is decided here'));
  const decider = { decide: nothing, satisfied: nothing };
  const cache = createAnswerCache(decider, { ...usualLimits, askMs: 50, atOnceOfHost: 1 }).of(['user ada']);
  // A request of node:http, too, ends only some time after its signal. The time limit of the waiting question
  // begins with the next turn of the event loop, which may be late: the first one ends well after both.
  const never = (signal?: AbortSignal): Promise<Dossier> =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => setTimeout(() => reject(new Error('it was aborted')), 300));
    });
  const [asked, waiting] = ['a', 'b'].map((key) => cache.evidence(key, 'registry.example.com', never));
  await assert.rejects(Promise.resolve(asked), /the registry did not answer within 0\.\d s/u);
  await assert.rejects(Promise.resolve(waiting), /it was not asked, because earlier questions to/u);
});

/** Returns a cache whose decisions never end, and the references of those that began. */
function undecided(): {
  readonly decide: (parties: readonly string[], reference: string, items: Dossier['items']) => void;
  readonly begun: readonly string[];
} {
  const begun: string[] = [];
  const cache = createAnswerCache({
    decide({ reference }) {
      begun.push(reference);
      return new Promise(() => undefined);
    },
    satisfied: () => Promise.reject(new Error('no evidence is judged here')),
  });
  return {
    decide(parties, reference, items) {
      const input = { reference, dossier: { ...dossierWith(''), items } } as unknown as DecideInput;
      cache
        .of(parties)
        .decide(input)
        .catch(() => undefined);
    },
    begun,
  };
}

const manyItems = Array.from({ length: 60 }, () => dossierWith('').items).flat();

test('the decisions of one party do not delay the decision of another party until all are made', async () => {
  const { decide, begun } = undecided();
  for (let count = 0; count < 100; count += 1) decide(['user greedy'], 'greedy', manyItems);
  decide(['user ada'], 'ada', manyItems);
  await nextTurn();
  assert.deepEqual(begun, ['greedy', 'greedy', 'greedy', 'ada']);
});

test('a decision that needs no thread does not wait for those that do', async () => {
  const { decide, begun } = undecided();
  const controller = 'user replicaset-controller';
  for (let count = 0; count < 100; count += 1) decide(['namespace greedy', controller], 'greedy', manyItems);
  decide(['namespace ada', controller], 'ada', dossierWith('').items);
  await nextTurn();
  assert.ok(begun.includes('ada'), begun.join());
});

test('a review that shares a question without an answer in time gets the same error', async () => {
  const decider = {
    decide: () => Promise.reject(new Error('nothing is decided here')),
    satisfied: () => Promise.reject(new Error('no evidence is judged here')),
  };
  const cache = createAnswerCache(decider, { ...usualLimits, askMs: 50 });
  const never = (signal?: AbortSignal): Promise<Dossier> =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error));
    });
  const answers = await Promise.allSettled(
    ['user ada', 'user bob'].map((party) => cache.of([party]).evidence('a', 'registry.example.com', never)),
  );
  for (const answer of answers)
    assert.match(
      String(answer.status === 'rejected' && answer.reason),
      /the registry did not answer within 0\.\d s.*ADMISSION_REGISTRY_LATE/u,
    );
});
