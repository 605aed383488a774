import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkSysctls, sysctlNamespace, sysctlPath } from './sysctl.ts';

for (const [name, type, path] of [
  ['net.ipv4.ip_forward', 'net', 'net/ipv4/ip_forward'],
  ['net/ipv4/ip_forward', 'net', 'net/ipv4/ip_forward'],
  ['net/ipv4/conf/eth0.7/forwarding', 'net', 'net/ipv4/conf/eth0.7/forwarding'],
  ['net.ipv4.conf.eth0/7.forwarding', 'net', 'net/ipv4/conf/eth0.7/forwarding'],
  ['kernel.shm_rmid_forced', 'ipc', 'kernel/shm_rmid_forced'],
  ['kernel/msgmax', 'ipc', 'kernel/msgmax'],
  ['kernel.sem', 'ipc', 'kernel/sem'],
  ['fs.mqueue.msg_max', 'ipc', 'fs/mqueue/msg_max'],
  ['kernel.hostname', 'uts', 'kernel/hostname'],
  ['kernel.panic', undefined, 'kernel/panic'],
  ['kernel.core_pattern', undefined, 'kernel/core_pattern'],
  ['vm.swappiness', undefined, 'vm/swappiness'],
  ['network.x', undefined, 'network/x'],
] as const) {
  test(`${name} belongs to ${type ?? 'the host'}`, () => {
    assert.equal(sysctlNamespace(name), type);
    assert.equal(sysctlPath(name), `/proc/sys/${path}`);
  });
}

for (const name of [
  '',
  'net',
  'net..ip',
  'net/../kernel/panic',
  'net./../kernel',
  'net.ipv4.a b',
  '/net/ipv4/x',
  'net.\0',
  'net/./x',
]) {
  test(`${JSON.stringify(name)} is not a sysctl name`, () =>
    assert.throws(() => sysctlPath(name), { code: 'KERNEL_EINVAL' }));
}

test('a sysctl that does not belong to the given namespaces is refused', () => {
  checkSysctls({ 'net.ipv4.ip_forward': '1' }, ['net']);
  assert.throws(() => checkSysctls({ 'net.ipv4.ip_forward': '1' }, ['ipc', 'uts']), { code: 'KERNEL_EPERM' });
  assert.throws(() => checkSysctls({ 'kernel.panic': '1' }, ['net', 'ipc', 'uts']), { code: 'KERNEL_EPERM' });
});

test('no name leads out of the part of /proc/sys that it claims', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('net', 'kernel', '.', '/', '..', 'ipv4', 'x')), (parts) => {
      const name = parts.join('');
      let path: string;
      try {
        path = sysctlPath(name);
      } catch {
        return;
      }
      assert.equal(new URL(path, 'file:///').pathname, path);
      if (sysctlNamespace(name) === 'net') assert.ok(path.startsWith('/proc/sys/net/'));
    }),
  );
});
