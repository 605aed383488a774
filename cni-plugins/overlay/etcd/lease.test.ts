import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EtcdClient } from './client.ts';
import { holdLease } from './lease.ts';

/** A client of an etcd that grants every lease and answers every keepalive. */
function answering(): Pick<EtcdClient, 'grant' | 'keepAlive'> {
  return {
    grant: async () => 7,
    keepAlive: () => {
      let asked = Promise.withResolvers<undefined>();
      return {
        write: () => asked.resolve(undefined),
        answers: (async function* () {
          for (;;) {
            await asked.promise;
            asked = Promise.withResolvers();
            yield { id: 7, ttl: 2 };
          }
        })(),
        close: () => undefined,
        abandon: () => undefined,
      };
    },
  };
}

test('values that changed are registered again until etcd takes them, and the lease counts as held only then', async () => {
  const events: string[] = [];
  let refuses = 0;
  const lease = holdLease({
    client: answering() as EtcdClient,
    seconds: 1,
    register: async () => {
      if (refuses-- > 0) throw new Error('no leader');
      events.push('registered');
    },
    onHeld: () => events.push('held'),
    onTrouble: (thrown) => events.push((thrown as Error).message),
  });
  after(() => lease.close());
  await sleep(100);
  assert.deepEqual(events, ['registered', 'held']);
  refuses = 2;
  lease.renew();
  await sleep(1000);
  assert.deepEqual(events, ['registered', 'held', 'no leader', 'no leader', 'registered', 'held']);
});

test('a member that does not keep the lease is left, and the time is named in tenths of a second', async () => {
  const abandoned = Promise.withResolvers<string>();
  const silent: Pick<EtcdClient, 'grant' | 'keepAlive'> = {
    grant: async () => 7,
    keepAlive: () => ({
      write: () => undefined,
      answers: (async function* () {
        throw new Error(await abandoned.promise);
      })(),
      close: () => undefined,
      abandon: (why) => abandoned.resolve(why),
    }),
  };
  const lease = holdLease({
    client: silent as EtcdClient,
    seconds: 10,
    register: async () => undefined,
    onHeld: () => undefined,
    onTrouble: () => undefined,
  });
  after(() => lease.close());
  assert.equal(await abandoned.promise, 'it did not keep the lease within 1.7 s');
});
