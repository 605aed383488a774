import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import {
  createFixture,
  eventually,
  inPrivateNetns,
  shell,
  tried,
} from '../../cni-plugins/engine/engine.fixture.ts';
import type { Fixture, Pod } from '../../cni-plugins/engine/engine.fixture.ts';
import type { NetworkEngine } from '../../cni-plugins/index.ts';
import { chosenSends } from './chosen-sends.ts';
import { createFaultControl } from './faults/orders.ts';
import type { FaultControl, FaultKind } from './faults/orders.ts';

/**
 * The network thread ends in the middle of its work, at each message to the kernel in turn: the next thread
 * finishes the work, and nothing is left.
 */
const folderOf = 'PORTCULLIS_TEST_ORDERS';
const folder = process.env[folderOf] ?? mkdtempSync(join(tmpdir(), 'portcullis-lost-thread-'));
const control: FaultControl = createFaultControl(folder);
if (process.env[folderOf] === undefined) after(() => rmSync(folder, { recursive: true }));
process.env[folderOf] = folder;
// The process in which the tests run loads the fault points first.
Object.assign(process.env, control.environment);

if (inPrivateNetns(import.meta.filename, 550_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  before(async () => {
    fixture = createFixture();
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });
  afterEach(() => control.give({ mode: 'off' }));

  const leases = (): string[] => fixture.rows('SELECT hex(address) FROM lease');
  /** Namespaces to which a link leads or led and that still exist: there are none outside of the pods'. */
  const namespaces = (): string => shell('ip netns list-id').trim();
  const unpin = (pod: Pod): string => shell(`umount ${pod.request.netns} && rm ${pod.request.netns}`);
  const endAt = (nth: number, kind: FaultKind): void =>
    control.give({
      mode: 'fault',
      fault: { thread: 'network.worker', point: 'netlink.send', nth, kind, error: '', delayMs: 0 },
    });

  test('a thread that ends in the middle of an attach keeps no network namespace of a pod', async () => {
    control.give({ mode: 'record' });
    const first = fixture.pod('first');
    await engine.attach(first.request);
    const sends = control
      .hits()
      .filter(({ thread, point }) => thread === 'network.worker' && point === 'netlink.send').length;
    control.give({ mode: 'off' });
    await engine.detach(first.request.id);
    unpin(first);
    await eventually(() => (namespaces() === '' ? true : undefined));
    assert.ok(sends >= 4, `${sends} sends of an attach`);
    for (const nth of chosenSends(sends)) {
      const pod = fixture.pod(`ended-${nth}`);
      endAt(nth, 'end-after');
      const isAttached = await engine.attach(pod.request).then(
        () => true,
        () => false,
      );
      // A tick of the thread during the count does not belong to the attach.
      assert.ok(!isAttached || nth > 4, `at ${nth}`);
      assert.ok(isAttached || control.hasFired(), `at ${nth}`);
      control.give({ mode: 'off' });
      await engine.detach(pod.request.id);
      unpin(pod);
      await eventually(() => (namespaces() === '' ? true : undefined)).catch(() =>
        assert.fail(`after the end at ${nth}: ${namespaces()}`),
      );
    }
    await eventually(() => (leases().length === 0 ? true : undefined));
    assert.equal(tried('ip -o link show type veth')?.trim(), '');
  });

  test('a thread that ends after the answer of a detach leaves no lease, even without further requests', async () => {
    control.give({ mode: 'record' });
    const first = fixture.pod('first');
    await engine.attach(first.request);
    control.give({ mode: 'record' });
    await engine.detach(first.request.id);
    await eventually(() => (leases().length === 0 ? true : undefined));
    const sends = control
      .hits()
      .filter(({ thread, point }) => thread === 'network.worker' && point === 'netlink.send').length;
    control.give({ mode: 'off' });
    unpin(first);
    let behind = 0;
    for (const nth of chosenSends(Math.min(sends, 8))) {
      const pod = fixture.pod(`detached-${nth}`);
      await engine.attach(pod.request);
      assert.equal(leases().length, 2);
      endAt(nth, 'end');
      const answered = await engine.detach(pod.request.id).then(
        () => true,
        () => false,
      );
      await eventually(() => (control.hasFired() ? true : undefined));
      control.give({ mode: 'off' });
      if (answered) behind += 1;
      else await engine.detach(pod.request.id);
      await eventually(() => (leases().length === 0 ? true : undefined)).catch(() =>
        assert.fail(`after the end at ${nth}: ${leases().join()}`),
      );
      unpin(pod);
      await eventually(() => (namespaces() === '' ? true : undefined));
    }
    assert.ok(behind > 0, 'the thread ended after an answer');
  });
}
