import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture, portmapConf } from './plugin-engine.fixture.ts';
import type { Conf, Of } from './plugin-engine.fixture.ts';

/** The configuration of a network loses plugins, or gets others, while pods are attached. */
if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());

  const portmap = portmapConf({ hostPort: 8080, containerPort: 80 });
  const bandwidth = { type: 'portcullis-bandwidth', egressRate: 1_000_000, egressBurst: 1_000_000 };
  const chain = [bridgeConf(), portmap, bandwidth];
  const attached = async (id: string): Promise<Of> => {
    const pod = { id, netns: fixture.pin(id) };
    await fixture.add(chain, pod);
    assert.match(shell('nft list map ip portcullis_plugins any_host_ports'), /8080/u);
    return pod;
  };
  const expectNothing = (): void => {
    assert.doesNotMatch(shell('nft list map ip portcullis_plugins any_host_ports'), /8080/u);
    assert.doesNotMatch(shell('ip -br link'), /pc[0-9a-f]{12}|bwp/u);
  };

  test('DEL of the interface also removes what plugins created that the chain no longer has', async () => {
    await fixture.del([bridgeConf()], await attached('fewer'));
    expectNothing();
    await fixture.del(chain, await attached('next'));
    expectNothing();
  });

  test('DEL removes an interface that another plugin of the earlier chain created', async () => {
    const ipam = { type: 'static', addresses: [{ address: '10.97.0.2/24' }] };
    await fixture.del([{ type: 'portcullis-tap', ipam }], await attached('other'));
    expectNothing();
  });

  test('GC also removes what plugins created that the chain no longer has', async () => {
    const pod = await attached('collected');
    const none = { id: '', netns: '', name: '' };
    const valid = [{ containerId: pod.id, interface: 'eth0' }];
    await fixture.call('gc', bridgeConf(), none, { valid });
    assert.match(shell('nft list map ip portcullis_plugins any_host_ports'), /8080/u);
    await fixture.call('gc', bridgeConf(), none, { valid: [] });
    expectNothing();
  });

  test('DEL of a later plugin of the chain removes nothing else', async () => {
    const pod = await attached('part');
    await fixture.del([portmap], pod);
    assert.doesNotMatch(shell('nft list map ip portcullis_plugins any_host_ports'), /8080/u);
    assert.match(shell('ip -br link'), /bwp/u);
    assert.match(fixture.inside(pod.netns, 'ip addr show eth0') ?? '', /10\.90\.0/u);
    await fixture.del(chain, pod);
    expectNothing();
  });

  test('a bridge gets its former gateway again when its configuration is taken back', async () => {
    const ranges = (subnet: string): object => ({ type: 'portcullis-ipam', ranges: [[{ subnet }]] });
    const [former, changed] = ['10.91.1.0/24', '10.91.2.0/24'].map((subnet) =>
      bridgeConf({ bridge: 'br1', forceAddress: true, ipam: ranges(subnet) }),
    ) as [Conf, Conf];
    const pod = (id: string): Of => ({ id, netns: fixture.pin(id) });
    await fixture.add([former], pod('before'));
    await fixture.add([changed], pod('between'));
    assert.match(shell('ip -4 -o address show br1'), /10\.91\.2\.1/u);
    await fixture.add([former], pod('after'));
    assert.match(shell('ip -4 -o address show br1'), /10\.91\.1\.1/u);
  });
}
