import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { RefusedService, Service, PortionControl } from '../model/model.ts';
import type { Collection } from '../../../base/kubernetes/index.ts';
import { createDelivery } from './deliver.ts';
import { createServiceTable } from './table.ts';
import type { ServiceTable } from './table.ts';

const service = (name: string, spec: object = {}): object => ({
  metadata: { namespace: 'shop', name },
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80, targetPort: 8080 }], ...spec },
});
const slice = (name: string, owner: string, addresses: readonly string[]): object => ({
  metadata: { namespace: 'shop', name, labels: { 'kubernetes.io/service-name': owner } },
  addressType: 'IPv4',
  ports: [{ port: 8080 }],
  endpoints: addresses.map((address) => ({ addresses: [address] })),
});
const list = (collection: Collection, objects: readonly object[]): void => {
  collection.begin();
  objects.forEach(collection.listed);
  collection.complete();
};
const filled = (services: readonly object[], slices: readonly object[]): ServiceTable => {
  const table = createServiceTable({ nodeName: 'here' });
  list(table.services, services);
  list(table.slices, slices);
  return table;
};

test('for any events in any order, the delivered state is the one that a new table would deliver', () => {
  const names = ['a', 'b', 'c'];
  const anyService = fc
    .tuple(fc.constantFrom(...names), fc.boolean())
    .map(([name, outside]) => service(name, outside ? { externalIPs: ['192.0.2.1'] } : {}));
  const anySlice = fc
    .tuple(
      fc.constantFrom('s1', 's2', 's3', 's4'),
      fc.constantFrom(...names),
      fc.subarray(['10.0.0.1', '10.0.0.2', '10.0.0.3']),
    )
    .map(([name, owner, addresses]) => slice(name, owner, addresses));
  const keyOf = (object: object): string => (object as { metadata: { name: string } }).metadata.name;
  const lists = <T extends object>(any: fc.Arbitrary<T>) =>
    fc.uniqueArray(any, { selector: keyOf, maxLength: 4 });
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('services' as const),
      act: fc.constantFrom('changed', 'removed'),
      object: anyService,
    }),
    fc.record({
      kind: fc.constant('slices' as const),
      act: fc.constantFrom('changed', 'removed'),
      object: anySlice,
    }),
    fc.record({
      kind: fc.constant('services' as const),
      act: fc.constant('list'),
      objects: lists(anyService),
    }),
    fc.record({ kind: fc.constant('slices' as const), act: fc.constant('list'), objects: lists(anySlice) }),
    // A list that was interrupted.
    fc.record({ kind: fc.constant('slices' as const), act: fc.constant('half'), objects: lists(anySlice) }),
    fc.record({ act: fc.constant('report') }),
  );
  fc.assert(
    fc.property(
      lists(anyService),
      lists(anySlice),
      fc.array(step, { maxLength: 30 }),
      (services, slices, steps) => {
        const table = filled(services, slices);
        const truth = {
          services: new Map(services.map((one) => [keyOf(one), one])),
          slices: new Map(slices.map((one) => [keyOf(one), one])),
        };
        const existing = new Map(table.changes().put.map((one) => [one.name, one]));
        const report = (): void => {
          const { put, remove } = table.changes();
          for (const name of remove) assert.ok(existing.delete(name), `${name} stood`);
          for (const one of put) {
            assert.notDeepEqual(existing.get(one.name), one, 'only differences are reported');
            existing.set(one.name, one);
          }
        };
        for (const each of steps) {
          if (!('kind' in each)) report();
          else if ('object' in each) {
            table[each.kind][each.act](each.object);
            if (each.act === 'changed') truth[each.kind].set(keyOf(each.object), each.object);
            else truth[each.kind].delete(keyOf(each.object));
          } else if (each.act === 'half') {
            table[each.kind].begin();
            each.objects.forEach(table[each.kind].listed);
            for (const one of each.objects) truth[each.kind].set(keyOf(one), one);
          } else {
            list(table[each.kind], each.objects);
            truth[each.kind] = new Map(each.objects.map((one) => [keyOf(one), one]));
          }
        }
        report();
        const fresh = filled([...truth.services.values()], [...truth.slices.values()]).changes().put;
        const byName = (a: Service, b: Service): number => (a.name < b.name ? -1 : 1);
        assert.deepEqual([...existing.values()].sort(byName), fresh.toSorted(byName));
      },
    ),
    { numRuns: 300 },
  );
});

const portsOf = (count: number): readonly object[] =>
  Array.from({ length: count }, (_, at) => ({ name: `p${at}`, port: at + 1 }));
const addressesOf = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, at) => `10.0.${at >> 8}.${at & 255}`);
/** A service and its slice. */
const sized = (name: string, ports: number, endpoints: number) => ({
  service: service(name, { ports: portsOf(ports) }),
  slice: { ...slice(`${name}-1`, name, addressesOf(endpoints)), ports: portsOf(ports) },
});
const filledWith = (
  all: readonly ReturnType<typeof sized>[],
  limits?: Parameters<typeof createServiceTable>[1],
) => {
  const table = createServiceTable({ nodeName: 'here' }, limits);
  list(
    table.services,
    all.map((one) => one.service),
  );
  list(
    table.slices,
    all.map((one) => one.slice),
  );
  return table;
};
const namesIn = (services: readonly Service[]): readonly string[] =>
  services.map(({ name }) => name.replace('shop/', ''));

test('large services come after all others, and one at a time', () => {
  const table = filledWith([
    sized('large', 400, 200),
    sized('a', 1, 3),
    sized('larger', 500, 200),
    sized('b', 2, 3),
  ]);
  const portions = Array.from({ length: 4 }, () => {
    const { put, taken, hasLarge } = table.changes(200);
    return [namesIn(put), taken, hasLarge];
  });
  assert.deepEqual(portions, [
    [['a', 'b'], 2, false],
    [['large'], 1, true],
    [['larger'], 1, true],
    [[], 0, false],
  ]);
});

test('services of a middle size fill a portion together', () => {
  const all = Array.from({ length: 30 }, (_, at) => sized(`s${at}`, 40, 100));
  const table = filledWith(all);
  const taken: number[] = [];
  while (table.pending() > 0) taken.push(table.changes(200).taken);
  assert.ok(taken.length > 1 && taken.every((count) => count > 0 && count < 30), taken.join());
  assert.equal(
    taken.reduce((sum, count) => sum + count, 0),
    30,
  );
});

test('the largest services of a namespace beyond its limit are not served until they are written again', () => {
  const limits = { ofNamespace: 1000, ofAll: 10_000 };
  const [one, two, three] = [sized('one', 40, 10), sized('two', 50, 10), sized('three', 60, 10)];
  const table = filledWith([one, two, three], limits);
  const first = table.changes();
  assert.deepEqual(namesIn(first.put), ['one', 'two']);
  // It may be in force from before a restart.
  assert.deepEqual(first.remove, ['shop/three', 'shop/three.external']);
  assert.match(
    first.notes.get('shop/three')?.join() ?? '',
    /is not served: the services of the namespace shop/u,
  );
  table.services.removed(one.service);
  assert.deepEqual(table.changes().remove, ['shop/one']);
  table.services.changed({ ...three.service });
  assert.deepEqual(namesIn(table.changes().put), []);
  table.services.removed(two.service);
  table.changes();
  table.services.changed({ ...three.service });
  const last = table.changes();
  assert.deepEqual([namesIn(last.put), last.notes.get('shop/three')], [['three'], []]);
});

test('a service that no longer fits because a smaller one came is removed', () => {
  const table = filledWith([sized('large', 90, 10)], { ofNamespace: 1000, ofAll: 10_000 });
  assert.deepEqual(namesIn(table.changes().put), ['large']);
  const small = sized('small', 20, 10);
  table.services.changed(small.service);
  table.slices.changed(small.slice);
  assert.deepEqual(namesIn(table.changes().put), ['small']);
  assert.equal(table.pending(), 1);
  assert.deepEqual(table.changes().remove, ['shop/large', 'shop/large.external']);
});

test('a service that is removed while nothing can be delivered leaves its room to others', () => {
  const [one, two] = [sized('one', 90, 10), sized('two', 90, 10)];
  const table = filledWith([one], { ofNamespace: 1000, ofAll: 10_000 });
  table.changes();
  table.services.removed(one.service);
  table.markAllUndelivered();
  table.services.changed(two.service);
  table.slices.changed(two.slice);
  assert.deepEqual(namesIn(table.changes().put), ['two']);
});

test('a service beyond the limit has no endpoints for the health checks of load balancers', () => {
  const large = {
    service: service('large', {
      ...{ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 32_000 },
      ports: portsOf(90),
    }),
    slice: {
      ...slice('large-1', 'large', []),
      ports: portsOf(90),
      endpoints: addressesOf(10).map((address) => ({ addresses: [address], nodeName: 'here' })),
    },
  };
  const table = filledWith([large], { ofNamespace: 1000, ofAll: 10_000 });
  const counts = (): readonly (readonly number[])[] =>
    table.healthChecks().map(({ localEndpoints }) => [...localEndpoints.values()]);
  table.changes();
  assert.deepEqual(counts(), [[10]]);
  const small = sized('small', 20, 10);
  table.services.changed(small.service);
  table.slices.changed(small.slice);
  while (table.pending() > 0) table.changes();
  assert.deepEqual(counts(), [[]]);
  table.services.removed(small.service);
  table.services.changed(large.service);
  table.changes();
  assert.deepEqual(counts(), [[10]]);
});

/** Records the calls of a control, and answers as the test sets. */
function recorder() {
  const reported: string[] = [];
  let answer: (
    names: readonly string[],
  ) => readonly RefusedService[] | Promise<readonly RefusedService[]> = () => [];
  const take = async (what: string, services: readonly Service[]): Promise<readonly RefusedService[]> => {
    const names = services.map(({ name }) => name.replace('shop/', ''));
    reported.push(`${what} ${names.join()}`);
    return answer(services.map(({ name }) => name));
  };
  const control: PortionControl = {
    retain: async (_source, names) =>
      void reported.push(`retain ${names.map((name) => name.replace('shop/', '')).join()}`),
    put: (_source, services) => take('put', services),
    remove: async (_source, names) =>
      void reported.push(`remove ${names.map((name) => name.replace('shop/', '')).join()}`),
  };
  return { reported, control, answerWith: (next: typeof answer) => void (answer = next) };
}

/** Waits until the condition is true. The test's own timeout ends it. */
async function until(is: () => boolean): Promise<void> {
  while (!is()) await sleep(2);
}

const quiet = { info: () => undefined, warn: () => undefined };
const timing = { gather: 5, retryRefused: 40, retryFailed: 10 };

test(
  'each portion but the last says that another one follows, and an empty one ends them if need be',
  { timeout: 60_000 },
  async () => {
    const reported: string[] = [];
    const control: PortionControl = {
      retain: async () => undefined,
      put: async (_source, { length }, isContinued) => (
        reported.push(`${length} ${isContinued === true ? 'continued' : 'last'}`),
        []
      ),
      remove: async () => undefined,
    };
    const table = createServiceTable({ nodeName: 'here' });
    let deliveries = 0;
    const delivery = createDelivery(table, control, quiet, () => (deliveries += 1), timing);
    const all = Array.from({ length: 450 }, (_, at) => service(`s${at}`));
    list(table.services, all);
    list(table.slices, []);
    delivery.poke();
    await until(() => deliveries === 1);
    assert.deepEqual(reported.splice(0), ['200 continued', '200 continued', '50 last']);
    // The last services are as they were.
    all.forEach((one, at) => {
      if (at < 400) table.slices.changed(slice(`s${at}-1`, `s${at}`, ['10.0.0.1']));
      else table.services.changed(one);
    });
    delivery.poke();
    await until(() => deliveries === 2);
    assert.deepEqual(reported, ['200 continued', '200 continued', '0 last']);
    delivery.close();
  },
);

test(
  'nothing is delivered before both lists have arrived; then everything at once, then each change',
  { timeout: 60_000 },
  async () => {
    const { reported, control } = recorder();
    const table = createServiceTable({ nodeName: 'here' });
    const delivery = createDelivery(table, control, quiet, () => undefined, timing);
    list(table.services, [service('a'), service('b')]);
    delivery.poke();
    await sleep(30);
    assert.deepEqual(reported, []);
    list(table.slices, []);
    delivery.poke();
    await until(() => reported.length === 2);
    table.slices.changed(slice('a-1', 'a', ['10.0.0.1']));
    table.slices.changed(slice('a-1', 'a', ['10.0.0.1', '10.0.0.2']));
    delivery.poke();
    await until(() => reported.length === 3);
    // The same state again is not a change.
    table.slices.changed(slice('a-1', 'a', ['10.0.0.2', '10.0.0.1']));
    table.services.removed(service('b'));
    delivery.poke();
    await until(() => reported.length === 4);
    assert.deepEqual(reported, ['retain a,b', 'put a,b', 'put a', 'remove b']);
    delivery.close();
  },
);

test(
  'a change after a quiet time is delivered at once; the next one waits to be gathered',
  { timeout: 60_000 },
  async () => {
    const { reported, control } = recorder();
    const hour = 3_600_000;
    const table = filled([service('a')], []);
    const delivery = createDelivery(table, control, quiet, () => undefined, { ...timing, gather: hour });
    delivery.poke();
    await until(() => reported.length === 2);
    table.slices.changed(slice('a-1', 'a', ['10.0.0.1']));
    delivery.poke();
    await sleep(30);
    assert.deepEqual(reported, ['retain a', 'put a']);
    delivery.close();
  },
);

test(
  'a refused service is reported once, and retried until it is in force',
  { timeout: 60_000 },
  async () => {
    const { reported, control, answerWith } = recorder();
    const warned: string[] = [];
    const log = { info: () => undefined, warn: (fields: object) => void warned.push(JSON.stringify(fields)) };
    const refusal = (name: string): RefusedService => ({
      name,
      code: 'NETWORK_SERVICE_ADDRESS_TAKEN',
      field: 'addresses',
      why: 'it is taken',
    });
    answerWith((names) => names.filter((name) => name === 'shop/a').map(refusal));
    const table = filled([service('a'), service('b')], []);
    const delivery = createDelivery(table, control, log, () => undefined, timing);
    delivery.poke();
    await until(() => reported.length >= 4);
    assert.deepEqual(delivery.refused(), ['shop/a']);
    assert.equal(warned.length, 1);
    answerWith(() => []);
    await until(() => delivery.refused().length === 0);
    assert.deepEqual(reported.slice(0, 4), ['retain a,b', 'put a,b', 'put a', 'put a']);
    delivery.close();
  },
);

test('after a failed call everything is delivered again', { timeout: 60_000 }, async () => {
  const { reported, control, answerWith } = recorder();
  const table = filled([service('a'), service('b')], []);
  const delivery = createDelivery(table, control, quiet, () => undefined, timing);
  delivery.poke();
  await until(() => reported.length === 2);
  answerWith(() => Promise.reject(new Error('the thread ended')));
  table.slices.changed(slice('a-1', 'a', ['10.0.0.1']));
  delivery.poke();
  await until(() => reported.length === 3);
  answerWith(() => []);
  await until(() => reported.length >= 5 && reported.at(-1) === 'put a,b');
  assert.deepEqual(reported.slice(2, 4), ['put a', 'retain a,b']);
  delivery.close();
});

test(
  'thousands of services are delivered in portions, and a portion can use an address that an earlier portion releases',
  { timeout: 60_000 },
  async () => {
    const { reported, control, answerWith } = recorder();
    const warned: object[] = [];
    const log = {
      info: (fields: object) => void warned.push(fields),
      warn: (fields: object) => void warned.push(fields),
    };
    const names = Array.from({ length: 480 }, (_, index) => `s${index}`);
    // The first service has an address that the last service of the previous state still has to release.
    let isFree = false;
    answerWith((put) => {
      isFree ||= put.includes('shop/s479');
      return put.includes('shop/s0') && !isFree
        ? [{ name: 'shop/s0', code: 'NETWORK_SERVICE_ADDRESS_TAKEN', field: 'addresses', why: 'it is taken' }]
        : [];
    });
    const table = filled(
      names.map((name) => service(name)),
      [],
    );
    let delivered = 0;
    const delivery = createDelivery(table, control, log, () => (delivered += 1), timing);
    delivery.poke();
    await until(() => delivered === 1);
    const put = reported
      .filter((line) => line.startsWith('put'))
      .map((line) => line.split(' ')[1]!.split(','));
    assert.ok(put.length > 3 && put.every((each) => each.length <= 200));
    assert.deepEqual(put.flat(), [...names, 's0']);
    assert.deepEqual([delivery.refused(), warned], [[], []]);
    delivery.close();
  },
);
