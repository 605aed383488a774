import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
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

describe('background fetches', () => {
  const times = { startMs: 200, quietMs: 100, mostMs: 400 };
  const { signal } = new AbortController();

  it('begin neither while a container is being started nor while a process waits, nor directly afterwards', async () => {
    const slots = createFetchSlots({ demanded: 1, background: 1 }, times);
    const began = performance.now();
    slots.hold();
    const background = slots.run('background', () => Promise.resolve(performance.now() - began), signal, {});
    await pause(150);
    const demanded = await slots.run(
      'demanded',
      () => Promise.resolve(performance.now() - began),
      signal,
      {},
    );
    assert.ok(
      (await background) >= demanded + 99,
      `after ${await background} ms, and the read at ${demanded} ms`,
    );
  });

  it('begin one at a time when processes have waited for a long time without a break', async () => {
    const slots = createFetchSlots({ demanded: 1, background: 3 }, times);
    const first = Promise.withResolvers<void>();
    const began = performance.now();
    const demanded = slots.run('demanded', () => first.promise, signal, {});
    let [running, most] = [0, 0];
    const background = Array.from({ length: 3 }, () =>
      slots.run(
        'background',
        async () => {
          most = Math.max(most, (running += 1));
          await pause(5);
          running -= 1;
        },
        signal,
        {},
      ),
    );
    await Promise.all(background);
    assert.ok(performance.now() - began >= 399);
    assert.equal(most, 1);
    first.resolve();
    await demanded;
  });

  it('begin immediately when nobody waits', async () => {
    const slots = createFetchSlots(
      { demanded: 1, background: 1 },
      { startMs: 1e9, quietMs: 1e9, mostMs: 1e9 },
    );
    assert.equal(await slots.run('background', () => Promise.resolve(3), signal, {}), 3);
  });
});
