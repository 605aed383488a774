import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { startKernelWorker } from '../index.ts';
import type { Kernel } from '../index.ts';
import { temporaryFolder } from '../temporary.fixture.ts';

let kernel: Kernel;
before(async () => {
  kernel = await startKernelWorker();
});
after(() => kernel.close());

test('reads /proc/net of each pinned namespace, and returns undefined for a missing pin', async (t) => {
  const folder = temporaryFolder(t);
  const dirs = ['one', 'two'].map((name) => `${folder}/${name}`);
  for (const dir of dirs) await kernel.pinNamespaces({ dir, types: ['net', 'ipc', 'uts'], sysctls: {} });
  const commands =
    'ip link add seen type veth peer name other && ip link set lo mtu 1400 && echo some >/dev/udp/127.0.0.1/9';
  execFileSync('nsenter', [`--net=${folder}/two/net`, 'bash', '-c', commands], { stdio: 'ignore' });

  const [one = '', two = '', none] = await kernel.readNetFiles(
    [`${folder}/one/net`, `${folder}/two/net`, `${folder}/three/net`],
    'dev',
  );
  assert.match(one, /^Inter-\|.*\n face .*\n {4}lo: +0 /);
  assert.doesNotMatch(one, /seen|eth0/);
  assert.match(two, /^ +seen: /m);
  assert.ok(Number(/lo: +(\d+)/.exec(two)?.[1]) > 0, 'the counters are those of the namespace');
  assert.equal(none, undefined);
  assert.deepEqual(await kernel.readNetFiles([`${folder}/one/net`], 'no-such-file'), [undefined]);
  assert.deepEqual(
    await kernel.readNetFiles([`${folder}/one/ipc`], 'dev'),
    [undefined],
    'another type of namespace is refused',
  );

  // The thread is back in its own namespaces: what it creates next does not show the pods' view.
  await kernel.pinNamespaces({ dir: `${folder}/four`, types: ['net'], sysctls: {} });
  assert.doesNotMatch((await kernel.readNetFiles([`${folder}/four/net`], 'dev'))[0] ?? '', /seen/);
  for (const dir of [...dirs, `${folder}/four`]) await kernel.unpinNamespaces(dir);
});

test('reads many namespaces at once', async (t) => {
  const dir = `${temporaryFolder(t)}/pod`;
  await kernel.pinNamespaces({ dir, types: ['net'], sysctls: {} });
  const texts = await kernel.readNetFiles(Array<string>(200).fill(`${dir}/net`), 'dev');
  assert.equal(new Set(texts).size, 1);
  await kernel.unpinNamespaces(dir);
});
