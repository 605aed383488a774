import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { constantName, constantsOf, constantValue } from './constants.ts';
import { argumentKinds } from './syscalls.ts';

describe('the names of constants', () => {
  it('belong to one argument of one call', () => {
    const table: readonly (readonly [
      call: string,
      index: number,
      name: string,
      value: bigint | undefined,
    ])[] = [
      ['socket', 0, 'AF_ALG', 38n],
      ['socket', 0, 'AF_VSOCK', 40n],
      ['socket', 1, 'AF_ALG', undefined],
      ['socket', 1, 'SOCK_STREAM|SOCK_CLOEXEC', 0x80001n],
      ['clone', 0, 'CLONE_NEWUSER | CLONE_NEWNET', 0x50000000n],
      ['ioctl', 1, 'TIOCSTI', 0x5412n],
      ['ioctl', 1, 'TIOCGWINSZ', 0x5413n],
      ['prctl', 0, 'PR_SET_NO_NEW_PRIVS', 38n],
      ['personality', 0, 'ADDR_NO_RANDOMIZE', 0x40000n],
      ['bpf', 0, 'BPF_PROG_LOAD', 5n],
      ['keyctl', 0, 'KEYCTL_JOIN_SESSION_KEYRING', 1n],
      ['setns', 1, 'CLONE_NEWTIME', 0x80n],
      ['write', 0, 'AF_INET', undefined],
      ['socket', 0, '', undefined],
    ];
    for (const [call, index, name, value] of table)
      assert.equal(constantValue(call, index, name), value, `${call} ${index} ${name}`);
  });

  it('are found by value, in the bits that the kernel reads', () => {
    const table: readonly (readonly [
      call: string,
      index: number,
      value: bigint,
      name: string | undefined,
    ])[] = [
      ['socket', 0, 1n, 'AF_UNIX'],
      ['socket', 0, 16n, 'AF_NETLINK'],
      ['socket', 0, 0x100000026n, 'AF_ALG'],
      ['socket', 0, 99n, undefined],
      ['clone', 0, 0x50000000n, 'CLONE_NEWUSER|CLONE_NEWNET'],
      ['mmap', 2, 7n, 'PROT_READ|PROT_WRITE|PROT_EXEC'],
      ['mmap', 3, 0x22n, 'MAP_PRIVATE|MAP_ANONYMOUS'],
      ['socket', 1, 0x80001n, 'SOCK_STREAM|SOCK_CLOEXEC'],
      ['write', 2, 1n, undefined],
    ];
    for (const [call, index, value, name] of table)
      assert.equal(constantName(call, index, value), name, `${call} ${index} ${value}`);
  });

  it('lead back to their values', () => {
    for (const [call, index] of [
      ['socket', 0],
      ['ioctl', 1],
      ['prctl', 0],
      ['bpf', 0],
      ['keyctl', 0],
      ['ptrace', 0],
    ] as const) {
      for (const value of constantsOf(call, index).values()) {
        assert.equal(constantValue(call, index, constantName(call, index, value) ?? ''), value);
      }
    }
  });

  it('are of numbers, never of pointers', () => {
    assert.deepEqual(argumentKinds('openat'), [32, 'pointer', 32, 16]);
    assert.deepEqual(argumentKinds('getpid'), []);
    assert.equal(argumentKinds('vserver'), undefined);
  });
});
