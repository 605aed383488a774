import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { PluginFixture } from './plugin-engine.fixture.ts';

/**
 * Another namespace gets the path of an attachment whose pod ended without DEL: a process number in
 * `/proc/PID/ns/net` is reused, or a pin is created again.
 */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  before(() => {
    fixture = createPluginFixture();
  });
  after(() => fixture.end());

  const tuning = {
    type: 'portcullis-tuning',
    mac: '02:00:00:00:00:77',
    mtu: 1300,
    sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' },
  };
  const chain = [bridgeConf(), tuning];
  const tap = (address: string): { type: string; ipam: object } => ({
    type: 'portcullis-tap',
    ipam: { type: 'portcullis-static', addresses: [{ address }] },
  });
  const stranger = (): void => void shell('ip link add eth0 mtu 1400 type veth peer name other');
  const stateOf = (show: (command: string) => string | undefined): string =>
    `${show('ip -o link show eth0') ?? ''}${show('sysctl -n net.ipv4.conf.eth0.arp_filter') ?? ''}`;

  test('a namespace that got the path of an ended pod is neither repaired nor emptied', async () => {
    const pod = { id: 'ended', netns: fixture.pin('ended') };
    await fixture.add(chain, pod);
    shell(`umount ${pod.netns} && unshare --net=${pod.netns} ip link add eth0 type veth peer name other`);
    const show = (command: string): string | undefined => fixture.inside(pod.netns, command);
    const state = stateOf(show);
    assert.match(state, /eth0@other[^]*\n0\n$/u);
    await fixture.call('status', bridgeConf(), { ...pod, id: '' });
    assert.equal(stateOf(show), state);
    await fixture.del(chain, pod);
    assert.equal(stateOf(show), state);
  });

  test('the host is neither repaired nor emptied if the path leads to its own namespace', async () => {
    const pod = { id: 'host', netns: fixture.pin('host') };
    await fixture.add(chain, pod);
    shell(`umount ${pod.netns} && mount --bind /proc/self/ns/net ${pod.netns}`);
    stranger();
    const state = stateOf(shell);
    await fixture.call('status', bridgeConf(), { ...pod, id: '' });
    assert.equal(stateOf(shell), state);
    await fixture.del(chain, pod);
    assert.equal(stateOf(shell), state);
    shell('ip link delete eth0');
  });

  test('a DEL with the namespace of another pod removes the interface of its own pod', async () => {
    const [mine, theirs] = ['mine', 'theirs'].map((id) => ({ id, netns: fixture.pin(id) }));
    assert.ok(mine !== undefined && theirs !== undefined);
    await fixture.add([tap('10.5.0.2/24')], mine);
    await fixture.add([tap('10.5.0.3/24')], theirs);
    await fixture.del([tap('10.5.0.2/24')], { ...mine, netns: theirs.netns });
    assert.match(fixture.inside(theirs.netns, 'ip -o addr show eth0') ?? '', /10\.5\.0\.3/u);
    assert.equal(fixture.inside(mine.netns, 'ip link show eth0'), undefined);
    await fixture.del([tap('10.5.0.3/24')], theirs);
  });

  test('an interface in the namespace of the host itself is removed with its attachment', async () => {
    const own = { id: 'own', netns: '/proc/self/ns/net' };
    await fixture.call('add', tap('10.5.0.4/24'), own, { netnsOverride: true });
    assert.match(shell('ip -o addr show eth0'), /10\.5\.0\.4/u);
    await fixture.call('del', tap('10.5.0.4/24'), own, { netnsOverride: true });
    assert.doesNotMatch(shell('ip -o link'), /eth0/u);
  });
}
