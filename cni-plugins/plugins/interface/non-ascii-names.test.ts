import { strict as assert } from 'node:assert';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { json, openPods, shell } from '../pod.fixture.ts';

/** Names of links that are not ASCII are UTF-8 in the kernel, as in iproute2 and in the upstream plugins. */
if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());

  const ipam = { type: 'static', addresses: [{ address: '10.20.0.2/24', gateway: '10.20.0.1' }] };
  const configs = [
    { type: 'ptp', ipam },
    { type: 'tap', ipam },
    { type: 'bridge', bridge: 'brü', isGateway: true, macspoofchk: true, ipam },
  ];
  for (const config of configs)
    test(`${config.type} creates, compares and removes interfaces with such names`, async () => {
      const pod = pods.pod(config.type);
      // The last bytes of their code points are the same.
      for (const name of ['aéb', '€', '¬']) {
        const prevResult = await pod.add(config, { interface: name });
        assert.deepEqual(
          json(pod.run(`ip -j link show dev ${name}`)).map(({ ifname }) => ifname),
          [name],
        );
        assert.deepEqual(await pod.check(config, { interface: name, prevResult }), []);
        await pod.del(config, { interface: name });
        assert.throws(() => pod.run(`ip link show dev ${name}`));
      }
    });

  test('the bridge has its name too', () => {
    assert.match(shell('ip -o link show brü'), /brü/u);
    assert.match(shell('ip -o addr show dev brü'), /10\.20\.0\.1/u);
  });
}
