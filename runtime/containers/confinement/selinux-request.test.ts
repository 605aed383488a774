import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SELinuxOption } from '../../cri/contract/contract.types.ts';
import { parseContext, seLinuxLabels, seLinuxRequest } from './selinux-request.ts';
import type { ContainerContexts } from './selinux-request.ts';

const options = (part: Partial<SELinuxOption>): SELinuxOption => ({
  user: '',
  role: '',
  type: '',
  level: '',
  ...part,
});
const contexts = {
  process: parseContext('system_u:system_r:container_t:s0'),
  file: parseContext('system_u:object_r:container_file_t:s0'),
} as ContainerContexts;

test('SELinux: the options of the container apply, otherwise those of its pod; empty options request nothing', () => {
  assert.equal(seLinuxRequest(undefined, undefined), undefined);
  assert.equal(seLinuxRequest(options({}), options({})), undefined);
  assert.deepEqual(seLinuxRequest(options({}), options({ level: 's0:c1,c2' })), { level: 's0:c1,c2' });
  assert.deepEqual(seLinuxRequest(options({ type: 'spc_t' }), options({ level: 's0:c1,c2' })), {
    type: 'spc_t',
  });
});

for (const part of [
  { type: 'a:b' },
  { user: 'x\n' },
  { role: '../r' },
  { level: 's0:c1,c2,' },
  { level: 'top' },
  { level: 's0-s1-s2' },
]) {
  test(`SELinux: ${JSON.stringify(part)} is refused`, () =>
    assert.throws(() => seLinuxRequest(options(part), undefined), { code: 'RUNTIME_BAD_SELINUX' }));
}

test('SELinux: the contexts of the policy apply, with the requested parts replaced', () => {
  const asked = { type: 'container_init_t', level: 's0:c7,c9' };
  assert.deepEqual(seLinuxLabels({ contexts, asked, privileged: false, sandboxId: 'a' }), {
    process: 'system_u:system_r:container_init_t:s0:c7,c9',
    mount: 'system_u:object_r:container_file_t:s0:c7,c9',
  });
  assert.equal(
    seLinuxLabels({ contexts, asked: undefined, privileged: true, sandboxId: 'a' }).process,
    'system_u:system_r:spc_t:s0',
    'privileged containers are not separated',
  );
});

test('SELinux: pods without options are separated from each other; containers of one pod are not', () => {
  const level = (sandboxId: string): string =>
    seLinuxLabels({ contexts, asked: undefined, privileged: false, sandboxId }).process;
  assert.equal(level('a'), level('a'));
  const levels = new Set(Array.from({ length: 100 }, (_, index) => level(`pod ${index}`)));
  assert.ok(levels.size > 97);
  for (const one of levels) {
    const [, low, high] = /:s0:c(\d+),c(\d+)$/.exec(one) ?? [];
    assert.ok(Number(low) < Number(high) && Number(high) < 1024, one);
  }
});
