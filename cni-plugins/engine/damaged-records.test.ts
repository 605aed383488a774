import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import type { Attachment, NetworkEngine } from '../types.ts';
import { conflist, createFixture, inPrivateNetns } from './engine.fixture.ts';
import type { Fixture, Pod } from './engine.fixture.ts';

/** Records of pods in the network database whose text was damaged. */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let fillers = 0;
  before(async () => {
    fixture = createFixture(conflist({ ipam: { type: 'host-local', subnet: '10.88.0.0/29' } }));
    engine = await fixture.engine();
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const attach = (pod: Pod): Promise<Attachment> => engine.attach(pod.request);
  const addressOf = ({ ips }: Attachment): string => String(ips[0]?.address);
  /** Opens the database again after its record of the pod was damaged. */
  const damage = async ({ request }: Pod): Promise<void> => {
    await engine.close({ removeAll: false });
    const database = new DatabaseSync(fixture.databasePath);
    const sql = 'UPDATE attachment SET spec = substr(spec, 1, 50) WHERE container_id = ?';
    assert.equal(database.prepare(sql).run(request.id).changes, 1);
    database.close();
    engine = await fixture.engine();
  };
  /** Attaches pods until no address is left, and detaches them. @returns their addresses */
  const freeAddresses = async (): Promise<readonly string[]> => {
    const attached: Attachment[] = [];
    for (;;)
      try {
        attached.push(await attach(fixture.pod(`filler${(fillers += 1)}`)));
      } catch (thrown) {
        assert.equal((thrown as { code?: string }).code, 'NETWORK_ADDRESSES_EXHAUSTED');
        break;
      }
    for (const { id } of attached) await engine.detach(id);
    await engine.gc(new Set(engine.list().map(({ id }) => id)));
    return attached.map(addressOf);
  };

  test('the address of a pod whose record is damaged is not leased to others before the pod is detached', async () => {
    const [whole, damaged] = [fixture.pod('whole'), fixture.pod('damaged')];
    const others = [addressOf(await attach(whole)), addressOf(await attach(damaged))];
    await damage(damaged);
    assert.deepEqual(
      engine.list().map(({ id }) => id),
      [whole.request.id],
    );
    const free = await freeAddresses();
    assert.deepEqual([...others, ...free].toSorted(), [...new Set([...others, ...free])].toSorted());
    await engine.detach(damaged.request.id);
    assert.ok((await freeAddresses()).includes(String(others[1])), 'the address can be leased again');
    await engine.detach(whole.request.id);
  });

  test('a pod whose record is damaged, and that no longer exists, keeps no address', async () => {
    const pod = fixture.pod('forgotten');
    const address = addressOf(await attach(pod));
    await damage(pod);
    await engine.gc(new Set());
    assert.ok((await freeAddresses()).includes(address));
    assert.deepEqual(fixture.rows('SELECT * FROM lease'), []);
  });
}
