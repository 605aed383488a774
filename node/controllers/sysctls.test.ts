import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { Change, NodeState } from '../model/types.ts';
import { sysctlController } from './sysctls.ts';

const ttl = 'net.ipv4.ip_default_ttl';
const controller = sysctlController();
const limits = { signal: new AbortController().signal };
const state = {} as NodeState;
const change = (more: Partial<Change>): Change => ({
  action: 'update',
  section: 'sysctls',
  name: ttl,
  drift: false,
  ...more,
});
const now = (): string => readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8').trim();

describe('kernel settings of this network namespace', () => {
  it('are set, read, and restored', async () => {
    const before = now();
    await controller.apply(change({ to: '77' }), state, limits);
    assert.equal(now(), '77');
    assert.equal((await controller.observe(new Set([ttl]), limits)).get(ttl)?.visible, '77');
    await controller.apply(change({ action: 'delete', before }), state, limits);
    assert.equal(now(), before);
  });

  it('are compared without regard to spacing', async () => {
    const name = 'net.ipv4.ip_local_port_range';
    const item = controller.items({ ...state, sysctls: { [name]: '20000   40000' } }).get(name);
    await controller.apply(change({ name, to: '20000   40000' }), state, limits);
    assert.equal((await controller.observe(new Set([name]), limits)).get(name)?.visible, item?.visible);
  });

  it('are refused with the reason if the kernel refuses or lacks them, or a state may not set them', async () => {
    const code = { code: 'NODE_STATE_CHANGE_REFUSED' };
    const apply = (more: Partial<Change>): Promise<void> => controller.apply(change(more), state, limits);
    await assert.rejects(apply({ to: 'many' }), code);
    await assert.rejects(apply({ name: 'net.ipv4.none', to: '1' }), code);
    await assert.rejects(apply({ name: 'kernel.hostname', to: 'x' }), code);
    assert.deepEqual(
      [...(await controller.observe(new Set(['net.ipv4.none', 'kernel.hostname']), limits))],
      [],
    );
  });
});
