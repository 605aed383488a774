import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { serveHttp } from '../../test/fixtures/registry.ts';
import { createRegistryClient } from './client.ts';
import type { Descriptor } from './descriptor.ts';
import { digestOf } from './digest.ts';
import { distributionError } from './failure.ts';
import { mediaTypes } from './manifest.ts';
import { parseReference } from './reference.ts';
import { addToSharedTag } from './shared-tag.ts';
import type { TagAccess } from './shared-tag.ts';
import type { FetchedManifest, SharedList } from './types.ts';

const list: SharedList = {
  mediaType: 'application/json',
  added: ['ours'],
  entriesOf: ({ bytes }) => JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown[],
  keyOf: String,
  build: (entries) => Promise.resolve(Buffer.from(JSON.stringify(entries))),
};
const fetched = (bytes: Uint8Array): FetchedManifest =>
  ({ bytes, digest: digestOf(bytes) }) as FetchedManifest;

test('an entry that was dropped and written again must stay unchanged for the whole time again', async () => {
  const settle = 100;
  const first = Buffer.from('["first"]');
  let content: Uint8Array = first;
  const writes: number[] = [];
  let reads = 0;
  const access: TagAccess = {
    read: () => {
      // Another writer restores the content that it read, once, while ours is being watched.
      if (++reads === 3) content = first;
      return Promise.resolve(fetched(content));
    },
    write: (bytes) => {
      content = bytes;
      writes.push(performance.now());
      return Promise.resolve();
    },
  };
  await addToSharedTag(access, list, settle, { attempted: 'add to the list', on: 'app:tag' });
  const stood = performance.now() - (writes[1] ?? Infinity);
  assert.equal(writes.length, 2);
  assert.ok(stood >= settle - 1, `it counted as added after ${stood} ms`);
});

const settle = 100;
const task = { attempted: 'add to the list', on: 'app:tag' };
const first = Buffer.from('["first"]');
const textOf = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString('utf8'));

test('the time in which an answer is in transit does not count', async () => {
  let content: Uint8Array = first;
  let wrote = false;
  let isSlow = false;
  const access: TagAccess = {
    read: async () => {
      const answer = fetched(content);
      if (wrote && !isSlow) {
        isSlow = true;
        await sleep(settle * 1.5);
        // Another writer restores the content that it read a moment ago.
        setImmediate(() => (content = first));
      }
      return answer;
    },
    write: (bytes) => {
      content = bytes;
      wrote = true;
      return Promise.resolve();
    },
  };
  await addToSharedTag(access, list, settle, task);
  await sleep(1);
  assert.deepEqual(textOf(content), ['first', 'ours']);
});

test('a list that was watched while the process was stopped is watched again', async () => {
  let content: Uint8Array = first;
  let isStopped = false;
  let isDropped = false;
  const access: TagAccess = {
    read: () => {
      if (isStopped && !isDropped) {
        isDropped = true;
        // The other writer was stopped, too, between its read and its write.
        setImmediate(() => (content = first));
      }
      return Promise.resolve(fetched(content));
    },
    write: (bytes) => {
      content = bytes;
      if (!isStopped)
        setTimeout(() => {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, settle * 3);
          isStopped = true;
        }, settle / 10);
      return Promise.resolve();
    },
  };
  await addToSharedTag(access, list, settle, task);
  assert.ok(isDropped);
  await sleep(1);
  assert.deepEqual(textOf(content), ['first', 'ours']);
});

for (const [status, isWritten] of [
  [500, false],
  [500, true],
  [503, false],
] as const)
  test(`after a write that failed with ${status}, and ${isWritten ? 'was' : 'was not'} done, the list is read again before the next write`, async () => {
    let content: Uint8Array = first;
    let writes = 0;
    const access: TagAccess = {
      read: () => Promise.resolve(fetched(content)),
      write: (bytes) => {
        writes += 1;
        if (writes > 1) content = bytes;
        else {
          if (isWritten) content = bytes;
          content = Buffer.from(JSON.stringify([...(textOf(content) as string[]), 'theirs']));
          throw distributionError('DISTRIBUTION_UNREACHABLE', task, `the registry answers ${status}`, {
            details: { status },
          });
        }
        return Promise.resolve();
      },
    };
    await addToSharedTag(access, list, settle, task);
    assert.deepEqual((textOf(content) as string[]).sort(), ['first', 'ours', 'theirs']);
    assert.equal(writes, isWritten ? 1 : 2);
  });

for (const [state, initial] of [
  ['replaced', first],
  ['created', undefined],
] as const)
  test(`a list that the registry does not let be ${state} is given up with its reason`, async () => {
    let writes = 0;
    const immutable = distributionError(
      'DISTRIBUTION_REFUSED',
      task,
      'the registry answers 412 (immutable)',
      {
        details: { status: 412 },
      },
    );
    const access: TagAccess = {
      read: () => Promise.resolve(initial === undefined ? undefined : fetched(initial)),
      write: () => {
        writes += 1;
        return Promise.reject(immutable);
      },
    };
    await assert.rejects(addToSharedTag(access, list, settle, task), immutable);
    assert.equal(writes, 5);
  });

test('a list that others keep changing is written in the end', async () => {
  let others = 0;
  let content: Uint8Array = first;
  const access: TagAccess = {
    read: () => Promise.resolve(fetched(content)),
    write: (bytes) => {
      if (others === 12) content = bytes;
      else {
        others += 1;
        content = Buffer.from(JSON.stringify([...(textOf(content) as string[]), others.toString()]));
        throw distributionError('DISTRIBUTION_REFUSED', task, 'the registry answers 412', {
          details: { status: 412 },
        });
      }
      return Promise.resolve();
    },
  };
  await addToSharedTag(access, list, 0, task);
  assert.equal((textOf(content) as string[]).length, 14);
});

test('a registry that stays busy is given up', async () => {
  let writes = 0;
  const access: TagAccess = {
    read: () => Promise.resolve(fetched(first)),
    write: () => {
      writes += 1;
      return Promise.reject(
        distributionError('DISTRIBUTION_UNREACHABLE', task, 'the registry answers 503', {
          details: { status: 503 },
        }),
      );
    },
  };
  await assert.rejects(addToSharedTag(access, list, settle, task), { code: 'DISTRIBUTION_UNREACHABLE' });
  assert.equal(writes, 3);
});

test('a list at a busy registry is read again before it is written again, with an entry that was added meanwhile', async () => {
  const indexOf = (entries: readonly unknown[]): Buffer =>
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: entries }));
  const entry = (name: string): Descriptor => ({
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(Buffer.from(name)),
    size: 2,
  });
  const entriesIn = (bytes: Uint8Array): Descriptor[] =>
    (textOf(bytes) as { manifests: Descriptor[] }).manifests;
  const digestsIn = (bytes: Uint8Array): string[] =>
    entriesIn(bytes)
      .map(({ digest }) => digest)
      .sort();
  let kept = indexOf([entry('first')]);
  let puts = 0;
  const server = await serveHttp((request, response) => {
    if (request.method !== 'PUT') {
      response
        .writeHead(200, { 'content-type': mediaTypes.ociIndex, 'content-length': kept.length })
        .end(kept);
      return;
    }
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      puts += 1;
      kept = puts > 1 ? Buffer.concat(parts) : indexOf([entry('first'), entry('theirs')]);
      response.writeHead(puts > 1 ? 201 : 503, { 'retry-after': '0' }).end();
    });
  });
  const client = createRegistryClient({ tagSettleMs: 0 });
  try {
    const [repository] = client.repositories(parseReference(`${server.host}/app`));
    await repository?.addUnderTag('list', {
      mediaType: mediaTypes.ociIndex,
      added: [entry('ours')],
      entriesOf: ({ bytes }) => entriesIn(bytes),
      keyOf: (one) => (one as Descriptor).digest,
      build: (entries) => Promise.resolve(indexOf(entries)),
    });
    assert.deepEqual(digestsIn(kept), digestsIn(indexOf([entry('first'), entry('ours'), entry('theirs')])));
  } finally {
    await client.close();
    await server.close();
  }
});
