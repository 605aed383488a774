import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createFetchSlots } from './fetch-slots.ts';

it('waiting layers take turns: a layer with many reads does not delay another layer', async () => {
  const slots = createFetchSlots({ demanded: 1, background: 1 });
  const { signal } = new AbortController();
  const [busy, other] = [{}, {}];
  const begun: string[] = [];
  const run = (lane: object, name: string): Promise<void> =>
    slots.run('demanded', () => Promise.resolve(void begun.push(name)), signal, lane);
  const first = Promise.withResolvers<void>();
  const held = slots.run('demanded', () => first.promise, signal, busy);
  const all = [held, ...Array.from({ length: 50 }, () => run(busy, 'busy')), run(other, 'other')];
  first.resolve();
  await Promise.all(all);
  assert.ok(begun.indexOf('other') < 2, `it began after ${begun.indexOf('other')} other fetches`);
  assert.equal(begun.length, 51);
});
