import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTeardown } from './teardown.ts';
import type { AttachmentRecord, AttachmentSpec } from '../../database/record.ts';

const whole = (spec: Partial<AttachmentSpec>): AttachmentSpec =>
  ({
    interface: 'eth0',
    hostInterface: 'pc1',
    addresses: [],
    portMappings: [],
    ...spec,
  }) as unknown as AttachmentSpec;

/**
 * Other tests show with packets that nothing passes any more. These tests show that no attachment is removed
 * without isolation, however the rules respond.
 */
function released(
  record: Pick<AttachmentRecord, 'state'>,
  spec: Partial<AttachmentSpec>,
  forget: () => boolean,
): string[] {
  const acts: string[] = [];
  const none = (): never => assert.fail('not asked for');
  const teardown = createTeardown({
    store: { setState: () => undefined, forgetNames: none, freeHostPorts: none, record: none, remove: none },
    kernel: {
      isolate: (link) => void acts.push(`isolate ${link}`),
      deleteMarked: none,
      deleteLink: none,
      deleteLater: none,
      deleteEnd: none,
      forget: none,
      forgetAddresses: none,
      link: none,
    },
    rules: { forget },
  });
  try {
    teardown.release(
      { id: 'one', class: 'user', rules: {}, spec: whole(spec), ...record },
      () => void acts.push('plugins'),
    );
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
    'created by a chain, and in the rules',
  );
  for (const [words, record, spec, forget] of [
    ['there are no tables', { state: 'ready' }, {}, () => false],
    ['the rules never contained the link', { state: 'ready' }, { chains }, () => true],
    ['its removal had already begun', { state: 'detaching' }, {}, () => assert.fail('forgotten twice')],
  ] as const)
    assert.deepEqual(released(record, spec, forget), ['isolate pc1', 'plugins'], words);
  const failing = (): never => {
    throw new Error('refused');
  };
  assert.deepEqual(
    released({ state: 'ready' }, {}, failing),
    ['isolate pc1', 'Error: refused'],
    'the rules could not be changed',
  );
});

/** Returns what the work after a detach did, and its error. */
function finished(linkFails: boolean, namesFail: boolean): string[] {
  const acts: string[] = [];
  const act = (fails: boolean, name: string): boolean => {
    if (fails) throw new Error(`${name}: EIO`);
    return acts.push(name) > 0;
  };
  const teardown = createTeardown({
    store: {
      setState: () => undefined,
      forgetNames: () => void act(namesFail, 'names'),
      freeHostPorts: () => undefined,
      record: () => undefined,
      remove: () => undefined,
    },
    kernel: {
      isolate: () => undefined,
      deleteMarked: () => undefined,
      deleteLink: () => undefined,
      deleteLater: (link) => act(linkFails, link),
      deleteEnd: () => undefined,
      forget: () => undefined,
      forgetAddresses: () => undefined,
      link: () => undefined,
    },
    rules: { forget: () => true },
  });
  teardown.release({ id: 'one', class: 'user', rules: {}, state: 'ready', spec: whole({}) }, () => undefined);
  try {
    teardown.finish();
  } catch (thrown) {
    acts.push(String(thrown));
  }
  return acts;
}

test('a link is taken down also if the disk refuses the next write', () => {
  assert.deepEqual(finished(false, true), ['pc1', 'Error: names: EIO']);
});

test('names are removed also if the kernel refuses to take the link down', () => {
  assert.deepEqual(finished(true, false), ['names', 'Error: pc1: EIO']);
});

test('elements that could not be removed from the rules at once are removed before the address is free', () => {
  const record = { id: 'one', class: 'user', rules: {}, state: 'ready', spec: whole({}) } as const;
  const acts: string[] = [];
  let isRefused = true;
  const teardown = createTeardown({
    store: {
      setState: () => undefined,
      forgetNames: () => undefined,
      freeHostPorts: () => undefined,
      record: () => ({ ...record, state: 'detaching' }),
      remove: (id) => void acts.push(`free ${id}`),
    },
    kernel: {
      isolate: (link) => void acts.push(`isolate ${link}`),
      deleteMarked: () => undefined,
      deleteLink: () => undefined,
      deleteLater: () => true,
      deleteEnd: () => undefined,
      forget: () => undefined,
      forgetAddresses: () => void acts.push('connections end'),
      link: () => undefined,
    },
    rules: {
      forget() {
        if (isRefused) throw new Error('refused');
        return acts.push('forgotten') > 0;
      },
    },
  });
  const leavePlugins = (): void => undefined;
  assert.throws(() => teardown.release(record, leavePlugins), /refused/);
  assert.throws(
    () => teardown.release({ ...record, state: 'detaching' }, leavePlugins),
    /refused/,
    'it is asked again',
  );
  assert.throws(() => teardown.reap(false), /refused/);
  assert.deepEqual(acts, ['isolate pc1', 'isolate pc1'], 'its address is not released earlier');
  isRefused = false;
  assert.equal(teardown.reap(false), 1, 'its connections are not forgotten at once');
  assert.deepEqual(acts.slice(2), ['forgotten']);
  assert.equal(teardown.reap(true), 0);
  assert.deepEqual(acts.slice(2), ['forgotten', 'connections end', 'free one']);
});

test('a pod that is attached again after its removal was written, but reported as failed, keeps its new link', () => {
  const record = { id: 'one', class: 'user', rules: {}, state: 'ready', spec: whole({}) } as const;
  const links = new Set<string>();
  let stored: AttachmentRecord | undefined = record;
  let hasFailed = false;
  const teardown = createTeardown({
    store: {
      setState: (_, state) => void (stored = { ...record, state }),
      forgetNames: () => undefined,
      freeHostPorts: () => undefined,
      record: () => stored,
      remove() {
        stored = undefined;
        if (hasFailed) return;
        hasFailed = true;
        throw new Error('EIO');
      },
    },
    kernel: {
      isolate: () => undefined,
      deleteMarked: () => undefined,
      deleteLink: (name) => void links.delete(name),
      deleteLater: () => true,
      deleteEnd: () => undefined,
      forget: () => undefined,
      forgetAddresses: () => undefined,
      link: (name) => (links.has(name) ? ({ name } as never) : undefined),
    },
    rules: { forget: () => true },
  });
  teardown.release(record, () => undefined);
  assert.throws(() => teardown.reap(true), /EIO/);
  stored = record;
  links.add('pc1');
  assert.equal(teardown.reap(true), 0);
  assert.deepEqual([...links], ['pc1']);
  assert.equal(stored, record);
});
