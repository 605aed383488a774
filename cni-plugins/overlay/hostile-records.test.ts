import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { readHost, readSubnet } from './records/records.ts';

const key = Buffer.alloc(32, 1).toString('base64');
const nextKey = Buffer.alloc(32, 2).toString('base64');
const vxlan = { mac: '02:00:00:00:00:01', port: 4789 };
const wireguard = { publicKey: key, nextKey, port: 51_820 };
const host = { id: 'a', underlay: '192.0.2.1', mtu: 1450, vxlan };
const record = (value: unknown) => readHost(Buffer.from(JSON.stringify(value)));

/**
 * One host's records in etcd are untrusted input to all others (CVE-2026-32241: flannel put such a record
 * into a shell command).
 */
describe('records of etcd', () => {
  it('are read as a host writes them', () => {
    assert.deepEqual(record(host), host);
    assert.deepEqual(record({ ...host, vxlan: undefined, wireguard }), {
      id: 'a',
      underlay: '192.0.2.1',
      mtu: 1450,
      wireguard,
    });
  });

  const texts: readonly (readonly [what: string, text: string])[] = [
    ['a command', '$(touch /tmp/x)'],
    ['a command after the value', '192.0.2.1; touch /tmp/x'],
    ['a second line', '192.0.2.1\nadd rule inet x y accept'],
    ['an option', '--help'],
    ['a path', '/etc/passwd'],
    ['a zone', 'fe80::1%$(id)'],
    ['an empty text', ''],
  ];
  for (const [what, text] of texts)
    it(`do not reach the kernel or a program as text: ${what}`, () => {
      assert.equal(record({ ...host, underlay: text }), undefined);
      assert.equal(record({ ...host, vxlan: { ...vxlan, mac: text } }), undefined);
      assert.equal(record({ ...host, vxlan: { ...vxlan, port: text } }), undefined);
      assert.equal(record({ ...host, mtu: text }), undefined);
      for (const field of ['publicKey', 'nextKey', 'port'])
        assert.equal(
          record({ ...host, vxlan: undefined, wireguard: { ...wireguard, [field]: text } }),
          undefined,
          field,
        );
      assert.equal(readSubnet(text), undefined);
    });

  it('have no MAC address or MTU that the kernel refuses or stores differently', () => {
    for (const mac of ['00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01', '33:33:00:00:00:01'])
      assert.equal(record({ ...host, vxlan: { ...vxlan, mac } }), undefined, mac);
    for (const mtu of [575, 1450.5, 65_536]) assert.equal(record({ ...host, mtu }), undefined, `${mtu}`);
  });

  it('start no program: the overlay uses only netlink to change the kernel', () => {
    const sources = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' }).filter((file) =>
      /(?<!\.test)\.ts$/.test(file),
    );
    assert.ok(sources.length > 20);
    const starts = sources.filter((file) =>
      readFileSync(join(import.meta.dirname, file), 'utf8').includes('node:child_process'),
    );
    assert.deepEqual(starts, []);
  });
});
