import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Of } from './plugin-engine.fixture.ts';

/** A fixed address that a pod and its successor have at the same time, as in a rolling update. */

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());
  const chain = [
    bridgeConf({ ipam: { type: 'portcullis-static', addresses: [{ address: '10.97.0.2/24' }] } }),
    { type: 'portcullis-firewall' },
  ];

  test('the end of a pod does not take the rules of its address from a pod with the same fixed address', async () => {
    const [former, next] = ['former', 'next'].map((id): Of => ({ id, netns: fixture.pin(id) })) as [Of, Of];
    await fixture.add(chain, former);
    const result = await fixture.add(chain, next);
    await fixture.del(chain, former);
    assert.match(shell('nft list table ip portcullis_plugins'), /10\.97\.0\.2 : jump leaving/u);
    assert.match(shell('nft list map inet portcullis_firewall from4'), /10\.97\.0\.2 : goto/u);
    await fixture.check(chain, next, result);
    await fixture.del(chain, next);
    assert.doesNotMatch(shell('nft list ruleset'), /10\.97\.0\.2/u);
  });

  test('the end of a pod with an address of a range does not take the rules from a pod that chose the address', async () => {
    const pod = (id: string): Of => ({ id, netns: fixture.pin(id), network: id });
    const [leased, chosen] = [pod('leased'), pod('chosen')];
    const ranges = [[{ subnet: '10.99.0.0/24', rangeStart: '10.99.0.9' }]];
    const firewall = { type: 'portcullis-firewall' };
    const first = [bridgeConf({ bridge: 'br3', ipam: { type: 'portcullis-ipam', ranges } }), firewall];
    const ipam = { type: 'portcullis-static', addresses: [{ address: '10.99.0.9/24' }] };
    const second = [bridgeConf({ bridge: 'br4', isDefaultGateway: false, ipam }), firewall];
    await fixture.add(first, leased);
    const result = await fixture.add(second, chosen);
    await fixture.del(first, leased);
    assert.match(shell('nft list table ip portcullis_plugins'), /10\.99\.0\.9 : jump leaving/u);
    assert.match(shell('nft list map inet portcullis_firewall from4'), /10\.99\.0\.9 : goto/u);
    await fixture.check(second, chosen, result);
    await fixture.del(second, chosen);
  });

  test('a pod cannot choose an address by which another pod is masqueraded differently', async () => {
    const pod = (id: string): Of => ({ id, netns: fixture.pin(id), network: id });
    const [victim, thief] = [pod('victim'), pod('thief')];
    const ranges = [[{ subnet: '10.98.0.0/24', rangeStart: '10.98.0.9' }]];
    const own = [bridgeConf({ bridge: 'br1', ipam: { type: 'portcullis-ipam', ranges } })];
    const chosen = bridgeConf({
      bridge: 'br2',
      isDefaultGateway: false,
      ipam: { type: 'portcullis-static' },
      runtimeConfig: { ips: ['10.98.0.9/8'] },
    });
    const result = await fixture.add(own, victim);
    await assert.rejects(fixture.add([chosen], thief), { code: 'NETWORK_ADDRESS_TAKEN' });
    await fixture.check(own, victim, result);
    assert.match(shell('nft list table ip portcullis_plugins'), /10\.98\.0\.9 : jump leaving_\w+_24/u);
    await fixture.del([chosen], thief);
    await fixture.del(own, victim);
  });
}
