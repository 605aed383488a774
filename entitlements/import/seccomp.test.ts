import assert from 'node:assert/strict';
import { it } from 'node:test';
import { importSeccomp } from './seccomp.ts';

it('an import of a seccomp file lists architectures and flags that do not exist', () => {
  const { notes } = importSeccomp(
    {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_RISCV64', 'SCMP_ARCH_AMD64', 7],
      flags: ['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_FAST'],
    },
    { architecture: 'x86_64', capabilities: [] },
  );
  assert.deepEqual(
    notes.map(({ part, why }) => `${part}: ${/no such \w+/.exec(why)?.[0] ?? 'known'}`),
    [
      'architectures: SCMP_ARCH_AMD64: no such architecture',
      'architectures: not a text: no such architecture',
      'flags: SECCOMP_FILTER_FLAG_LOG: known',
      'flags: SECCOMP_FILTER_FLAG_FAST: no such flag',
    ],
  );
});
