import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDepartures } from './departures.ts';
import type { AttachmentRecord, AttachmentSpec } from './record.ts';

/** That nothing passes any more is shown by packets elsewhere; here: that no attachment goes without it, whatever the rules answer. */
function released(record: Pick<AttachmentRecord, 'state'>, spec: Partial<AttachmentSpec>, forget: () => boolean): string[] {
  const acts: string[] = [];
  const none = (): never => assert.fail('not asked for');
  const departures = createDepartures({
    store: { setState: () => undefined, forgetNames: none, freeHostPorts: none, record: none, remove: none },
    kernel: {
      isolate: (link) => void acts.push(`isolate ${link}`),
      deleteDoomed: none,
      deleteLink: none,
      doom: none,
      forget: none,
      link: none,
    },
    rules: { forget },
  });
  const whole = { interface: 'eth0', hostInterface: 'pc1', ...spec } as AttachmentSpec;
  try {
    departures.release({ id: 'one', class: 'user', rules: {}, spec: whole, ...record }, () => void acts.push('plugins'));
  } catch (thrown) {
    acts.push(String(thrown));
  }
  return acts;
}

test('a link is taken down before the answer unless the rules deny it', () => {
  const chains = [{ interface: 'eth0' }] as unknown as NonNullable<AttachmentSpec['chains']>;
  assert.deepEqual(
    released({ state: 'ready' }, {}, () => true),
    ['plugins'],
    'denied by the rules',
  );
  assert.deepEqual(
    released({ state: 'ready' }, { chains, held: true }, () => true),
    ['plugins'],
    'made by a chain, and known to the rules',
  );
  for (const [words, record, spec, forget] of [
    ['there are no tables', { state: 'ready' }, {}, () => false],
    ['the rules never knew the link', { state: 'ready' }, { chains }, () => true],
    ['it was on its way already', { state: 'detaching' }, {}, () => assert.fail('forgotten twice')],
  ] as const)
    assert.deepEqual(released(record, spec, forget), ['isolate pc1', 'plugins'], words);
  const failing = (): never => {
    throw new Error('refused');
  };
  assert.deepEqual(released({ state: 'ready' }, {}, failing), ['isolate pc1', 'Error: refused'], 'the rules could not be changed');
});
