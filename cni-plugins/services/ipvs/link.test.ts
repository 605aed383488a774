import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { openServiceLink } from './link.ts';

if (inPrivateNetns(import.meta.filename)) {
  // A kernel without the link type dummy gets the link from this test. The link type does not matter.
  shell('ip link set lo up; ip address add 10.2.0.1/24 dev lo; ip link add portcullis-ipvs type bridge');
  const local = (): string[] =>
    shell('ip -4 route show table local dev portcullis-ipvs')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/ proto kernel scope host/u, '').trim());

  test('the route of an address is removed with the address, whatever the source of the route', () => {
    const link = openServiceLink();
    const [one, two] = [Buffer.of(10, 96, 0, 1), Buffer.of(10, 96, 0, 2)];
    try {
      link.make();
      link.add([one, two]);
      assert.deepEqual(local(), ['local 10.96.0.1 src 10.96.0.1', 'local 10.96.0.2 src 10.96.0.2']);
      link.sourcesFor([[one, Buffer.of(10, 2, 0, 1)]]);
      assert.deepEqual(local(), ['local 10.96.0.1 src 10.2.0.1', 'local 10.96.0.2 src 10.96.0.2']);
      link.remove([one]);
      assert.deepEqual(local(), ['local 10.96.0.2 src 10.96.0.2']);
      link.sourcesFor([[two, Buffer.of(10, 2, 0, 1)]]);
      link.sourcesFor([[two, two]]);
      assert.deepEqual(local(), ['local 10.96.0.2 src 10.96.0.2']);
      link.remove([two, one]);
      assert.deepEqual([link.addresses(), local()], [[], []]);
    } finally {
      link.delete();
      link.close();
    }
    assert.equal(shell('ip -brief link').includes('portcullis-ipvs'), false);
  });
}
