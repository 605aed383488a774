import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { defaultPolicy } from './default-policy.ts';
import { allSyscallNames, argumentWidth, isSyscallName, syscallNumbers } from './syscalls.ts';

const RESOLVER = 'scmp_sys_resolver';
const withoutResolver =
  spawnSync(RESOLVER, ['read']).status === 0 ? false : 'scmp_sys_resolver is not installed';

describe('the system call tables', () => {
  for (const architecture of ['x86_64', 'aarch64'] as const) {
    it(
      `agree with libseccomp on ${architecture}, for every number it knows`,
      { skip: withoutResolver },
      () => {
        let compared = 0;
        for (const [name, number] of syscallNumbers(architecture)) {
          const known = spawnSync(RESOLVER, ['-a', architecture, String(number)])
            .stdout.toString()
            .trim();
          if (known === 'UNKNOWN' || known === '') continue;
          assert.equal(known, name);
          compared += 1;
        }
        assert.ok(compared > 280, `${compared} numbers compared`);
      },
    );
  }

  it('give each number once', () => {
    for (const architecture of ['x86_64', 'aarch64'] as const) {
      const numbers = [...syscallNumbers(architecture).values()];
      assert.equal(new Set(numbers).size, numbers.length);
    }
  });

  it('know how many bits the kernel reads of an argument', () => {
    assert.deepEqual(
      [
        argumentWidth('socket', 0),
        argumentWidth('personality', 0),
        argumentWidth('chmod', 1),
        argumentWidth('mmap', 0),
        argumentWidth('clone', 0),
        argumentWidth('unknown', 0),
      ],
      [32, 32, 16, 64, 32, 64],
    );
  });

  it('have every name of the default policy', () => {
    const policy = defaultPolicy([
      'SYS_ADMIN',
      'SYS_PTRACE',
      'SYS_TIME',
      'SYS_NICE',
      'SYS_RAWIO',
      'SYS_MODULE',
      'SYS_BOOT',
      'BPF',
      'PERFMON',
      'DAC_READ_SEARCH',
    ]);
    assert.ok(policy.filtered);
    assert.deepEqual(
      [...policy.rules.keys()].filter((name) => !isSyscallName(name)),
      [],
    );
    assert.ok(allSyscallNames().length > policy.rules.size);
  });
});
