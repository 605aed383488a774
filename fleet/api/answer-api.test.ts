import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { createIntake } from '../intake/intake.ts';
import { goodState, temporaryFolder } from '../fleet.fixture.ts';
import { eventNames } from '../records/record-names.ts';
import { openFleetStore } from '../store/store.ts';
import { answerApi } from './answer-api.ts';

test('a time that is not valid is refused, and does not return an empty list', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const ask = (time: string): Promise<object | undefined> =>
    answerApi(store.database, '/v1/verdicts', new URLSearchParams({ since: time, until: time }), 0);
  for (const time of ['2026-01-31', '2026-12-01T23:59Z', '2026-12-01T23:59:59.123Z'])
    assert.deepEqual(await ask(time), { verdicts: [] });
  for (const time of ['2026-13-01', '2026-00-10', '2026-01-32', '2026-01-01T24:30Z', '2026-01-01T10:60Z'])
    await assert.rejects(
      ask(time),
      (thrown) => isPortcullisError(thrown) && thrown.code === 'FLEET_BAD_REQUEST',
      time,
    );
});

test('the next page of a list of images omits no image with the same name', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const intake = createIntake(store, { now: () => 0, pinnedKey: () => undefined });
  const running = ['1', '2', '3', '4', '5'].map((id) => ({
    ...{ id, namespace: 'shop', pod: 'web', name: 'main', verdict: '' },
    ...{ reference: id === '5' ? 'r.test/b:1' : 'r.test/a:latest', imageId: `sha256:${id}` },
  }));
  const body = JSON.stringify({ ...goodState, running });
  await intake.receive('a', [
    { attributes: new Map(), records: [{ event: eventNames.state, time: 0, attributes: new Map(), body }] },
  ]);
  const ids: string[] = [];
  for (let query: Record<string, string> | undefined = { most: '2' }; query !== undefined;) {
    const page = (await answerApi(store.database, '/v1/images', new URLSearchParams(query), 0)) as {
      images: readonly { imageId: string }[];
      next?: Record<string, string>;
    };
    ids.push(...page.images.map(({ imageId }) => imageId));
    query = page.next === undefined ? undefined : { most: '2', ...page.next };
  }
  assert.deepEqual(ids, ['sha256:1', 'sha256:2', 'sha256:3', 'sha256:4', 'sha256:5']);
});

test('the next page omits no image, also if a name contains half of a surrogate pair', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const intake = createIntake(store, { now: () => 0, pinnedKey: () => undefined });
  const running = ['r.test/\ud800', 'r.test/\uf900', 'r.test/\uffff'].map((reference, index) => ({
    ...{ id: String(index), namespace: 'shop', pod: 'web', name: 'main', verdict: '' },
    ...{ reference, imageId: `sha256:${index}` },
  }));
  const body = JSON.stringify({ ...goodState, running });
  await intake.receive('a', [
    { attributes: new Map(), records: [{ event: eventNames.state, time: 0, attributes: new Map(), body }] },
  ]);
  const ids = new Set<string>();
  for (let query: Record<string, string> | undefined = { most: '1' }; query !== undefined;) {
    const page = (await answerApi(store.database, '/v1/images', new URLSearchParams(query), 0)) as {
      images: readonly { imageId: string }[];
      next?: Record<string, string>;
    };
    for (const { imageId } of page.images) ids.add(imageId);
    query = page.next === undefined ? undefined : { most: '1', ...page.next };
  }
  assert.deepEqual([...ids].sort(), ['sha256:0', 'sha256:1', 'sha256:2']);
});

test('a list of refused workloads that is cut says that there are more, also if the node has cut it', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const intake = createIntake(store, { now: () => 0, pinnedKey: () => undefined });
  const denials = ['a', 'b', 'c'].map((reference) => ({
    ...{ namespace: 'shop', reference, outcome: 'deny', rule: '' },
  }));
  for (const [release, count] of [
    ['stable/7', 3],
    ['stable/8', 4],
  ] as const) {
    const body = JSON.stringify({ ...goodState, upcoming: { release, denials, count } });
    await intake.receive(release.replace('/', '-'), [
      { attributes: new Map(), records: [{ event: eventNames.state, time: 0, attributes: new Map(), body }] },
    ]);
  }
  const ask = async (release: string, most: string) => {
    const query = new URLSearchParams({ release, most });
    const answer = await answerApi(store.database, '/v1/upcoming/denials', query, 0);
    const { denials: found, more } = answer as { denials: readonly object[]; more?: boolean };
    return [found.length, more];
  };
  assert.deepEqual(await ask('stable/7', '2'), [2, true]);
  assert.deepEqual(await ask('stable/7', '3'), [3, undefined]);
  assert.deepEqual(await ask('stable/8', '3'), [3, true]);
});

test('the containers of an image are listed with their nodes, page by page', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const intake = createIntake(store, { now: () => 0, pinnedKey: () => undefined });
  const one = { reference: 'r.test/a:1', imageId: 'sha256:1' };
  const container = (id: string, image: object) => ({
    ...{ id, namespace: 'shop', pod: `web-${id}`, name: 'main', verdict: 'sha256:v' },
    ...image,
  });
  for (const [node, running] of [
    ['b', [container('c4', one)]],
    ['a', [container('c2', one), container('c1', one), container('c3', { ...one, imageId: 'sha256:2' })]],
  ] as const) {
    const body = JSON.stringify({ ...goodState, running });
    await intake.receive(node, [
      { attributes: new Map(), records: [{ event: eventNames.state, time: 0, attributes: new Map(), body }] },
    ]);
  }
  const list = async (query: Readonly<Record<string, string>>): Promise<readonly string[]> => {
    const found: string[] = [];
    let more: Readonly<Record<string, string>> | undefined = {};
    while (more !== undefined) {
      const page = (await answerApi(
        store.database,
        '/v1/images/containers',
        new URLSearchParams({ ...query, ...more }),
        0,
      )) as {
        containers: readonly Readonly<Record<'node' | 'id' | 'namespace' | 'pod' | 'name', string>>[];
        next?: Record<string, string>;
      };
      for (const { node, id, namespace, pod, name } of page.containers)
        found.push(`${node} ${id} ${namespace}/${pod}/${name}`);
      more = page.next;
    }
    return found;
  };
  const expected = ['a c1 shop/web-c1/main', 'a c2 shop/web-c2/main', 'b c4 shop/web-c4/main'];
  for (const most of ['1', '2', '3', '100'])
    assert.deepEqual(await list({ reference: 'r.test/a:1', imageId: 'sha256:1', most }), expected, most);
  assert.equal((await list({ reference: 'r.test/a:1' })).length, 4);
  assert.deepEqual(await list({ reference: 'r.test/a' }), []);
});
