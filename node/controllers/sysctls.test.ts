import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Change, NodeState } from '../model/types.ts';
import { isAllowedSysctl, sysctlController } from './sysctls.ts';

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

  it('are restored to an empty value', async () => {
    const name = 'net.ipv4.ip_local_reserved_ports';
    await controller.apply(change({ name, to: '30000-32767' }), state, limits);
    await controller.apply(change({ name, action: 'delete', before: '' }), state, limits);
    assert.equal((await controller.observe(new Set([name]), limits)).get(name)?.visible, '');
  });

  it('of two forms are restored in the form that was in force', async () => {
    // While the other form is in force, each reads as 0: the kernel refuses 0 for vm.dirty_bytes, and with 0
    // for vm.overcommit_ratio, programs would soon get no memory.
    for (const [name, other, to, before] of [
      ['dirty_bytes', 'dirty_ratio', '4194304', '20'],
      ['overcommit_ratio', 'overcommit_kbytes', '80', '4000000'],
    ] as const) {
      const root = mkdtempSync(join(tmpdir(), 'pc-node-sysctls-'));
      const file = (one: string): string => join(root, 'vm', one);
      try {
        mkdirSync(join(root, 'vm'));
        writeFileSync(file(name), '0\n');
        writeFileSync(file(other), `${before}\n`);
        const own = sysctlController(root);
        const ours = `vm.${name}`;
        const recorded = (await own.observe(new Set([ours]), limits)).get(ours)?.visible ?? '';
        await own.apply(change({ name: ours, to }), state, limits);
        // As the kernel does.
        writeFileSync(file(other), '0\n');
        assert.equal((await own.observe(new Set([ours]), limits)).get(ours)?.visible, to);
        await own.apply(change({ name: ours, action: 'delete', before: recorded }), state, limits);
        assert.equal(readFileSync(file(other), 'utf8').trim(), before);
        assert.equal(readFileSync(file(name), 'utf8').trim(), to);
      } finally {
        rmSync(root, { recursive: true });
      }
    }
  });

  it('that cannot be read fail alone, and some are refused before', async () => {
    for (const name of ['net.ipv4.route.flush', 'net.ipv6.route.flush', 'net.ipv6.conf.lo.stable_secret'])
      assert.equal(isAllowedSysctl(name), false, name);
    const root = mkdtempSync(join(tmpdir(), 'pc-node-sysctls-'));
    try {
      mkdirSync(join(root, 'net/unreadable'), { recursive: true });
      writeFileSync(join(root, 'net/readable'), '1\n');
      const [bad, good] = ['net.unreadable', 'net.readable'];
      const own = sysctlController(root);
      const found = await own.observe(new Set([bad, good]), limits);
      assert.equal(found.get(good)?.visible, '1');
      assert.match(found.get(bad)?.shown ?? '', /cannot be read: EISDIR/u);
      await assert.rejects(own.apply(change({ name: bad, to: '1' }), state, limits), {
        code: 'NODE_STATE_CHANGE_REFUSED',
        message: /cannot be read/u,
      });
    } finally {
      rmSync(root, { recursive: true });
    }
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
