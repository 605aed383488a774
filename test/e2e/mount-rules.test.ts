import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { detectKernel } from '../../entitlements/index.ts';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const rule = (place: string, more = ''): string =>
  `  - images: ["${registryName}/${place}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged${more} }\n`;
const profile = (name: string, lines: string): string =>
  `---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: ${name} }\n${lines}\n`;
const policy =
  policyOf(rule('strict') + rule('lax', ', onDegraded: allow')) +
  profile(
    'some',
    'entitlements: [kernel.mounts]\nmounts: [{ target: /mnt/a, fstype: tmpfs }, { target: "/mnt/ro/**", readonly: true }, { target: /mnt/any }]',
  ) +
  profile('none', 'entitlements: [kernel.mounts]\nmounts: []') +
  profile('time', 'namespaces: { own: [time] }');

const hasAppArmor = detectKernel().apparmor;

const tries: readonly (readonly [command: string, works: boolean])[] = [
  ['mount -t tmpfs x /mnt/a', true],
  ['umount /mnt/a', true],
  ['mount -t tmpfs -o ro,nosuid,noexec x /mnt/a', true],
  ['mount -o remount,rw /mnt/a', false],
  ['mount -t tmpfs x /mnt/b', false],
  ['mount -t tmpfs x /mnt', false],
  ['mount -t proc x /mnt/a', false],
  ['mount --bind /bin /mnt/a', false],
  // If a mount is refused, mount(8) retries it read-only.
  ['mount -t tmpfs x /mnt/ro/x && touch /mnt/ro/x/file', false],
  ['mount -t tmpfs -o ro x /mnt/ro/x', true],
  ['mount -t tmpfs -o ro,nodev,noatime x /mnt/ro/y', true],
  ['mount -o remount,rw /mnt/ro/x', false],
  ['mount --bind /bin /mnt/ro/z', false],
  ['mount -o ro,bind /bin /mnt/ro/z', false],
  ['mount --bind /bin /mnt/any', true],
  ['mount --move /mnt/any /mnt/b', false],
  ['mount --make-shared /mnt/any', true],
  ['mount --make-rprivate /', false],
  ['umount /proc/kcore', false],
  ['umount /proc', false],
  ['pivot_root /mnt/a /mnt/a', false],
];
const script = tries
  .map(([command], at) => `${command} >/dev/null 2>&1 && echo ${at} works || echo ${at} fails`)
  .join('; ');
const expected = tries.map(([command, works], at) => `${at} ${works ? 'works' : 'fails'}: ${command}`);
const seen = (text: string): string[] =>
  [...text.matchAll(/(\d+) (works|fails)/g)].map(([line, at]) => `${line}: ${tries[Number(at)]?.[0] ?? ''}`);

/** test/vm/apparmor runs this file with AppArmor. */
describe('mount rules', () => {
  let stage: Stage;
  const image: Record<string, string> = {};
  before(async () => {
    stage = await openStage({ policy });
    const layer = await layerOf(
      ['mnt/', 'mnt/a/', 'mnt/b/', 'mnt/any/', 'mnt/ro/', 'mnt/ro/x/', 'mnt/ro/y/', 'mnt/ro/z/'].map(
        (name) => ({
          name,
          type: 'directory' as const,
          mode: 0o755,
        }),
      ),
    );
    for (const place of ['strict', 'lax'])
      image[place] = await stage.pull((await stage.publish(`${place}/a:1`, { layers: [layer] })).reference);
  });
  after(() => stage.close());
  const podOf = (name: string, handler?: string) =>
    runPod(
      stage,
      `${name}-${handler ?? 'default'}`,
      { annotations: { 'portcullis.dev/profile': name } },
      handler,
    );

  for (const handler of ['crun', 'runc']) {
    it(
      `are enforced by AppArmor for each mount (${handler})`,
      { skip: !hasAppArmor && 'this kernel has no AppArmor' },
      async () => {
        const pod = await podOf('some', handler);
        const container = await runContainer(stage, pod, {
          image: image['strict'] ?? '',
          command: ['sleep', '600'],
        });
        const { stdout } = await execute(stage, container, 'sh', '-c', script);
        assert.deepEqual(seen(stdout), expected);
        await removePod(stage, pod);
      },
    );

    it(`that allow no mounts are enforced on every kernel (${handler})`, async () => {
      const pod = await podOf('none', handler);
      const container = await runContainer(stage, pod, {
        image: image['strict'] ?? '',
        command: ['sleep', '600'],
      });
      const { stdout } = await execute(
        stage,
        container,
        'sh',
        '-c',
        `grep CapEff /proc/self/status; ${script}`,
      );
      assert.notEqual(
        BigInt(`0x${/CapEff:\s*(\w+)/.exec(stdout)?.[1] ?? '0'}`) & (1n << 21n),
        0n,
        'CAP_SYS_ADMIN',
      );
      assert.deepEqual(
        seen(stdout).filter((line) => line.includes('works: mount')),
        [],
      );
      await removePod(stage, pod);
    });
  }

  it(
    'are refused without AppArmor, and the error says how to fix this',
    { skip: hasAppArmor && 'this kernel has AppArmor' },
    async () => {
      const pod = await podOf('some');
      const refused = await failureOf(createContainer(stage, pod, { image: image['strict'] ?? '' }));
      assert.equal(refused.code, 'ENTITLEMENTS_UNENFORCEABLE');
      assert.match(refused.message, /no AppArmor.*`mounts: \[\]`.*onDegraded: allow/);
      const container = await runContainer(stage, pod, {
        image: image['lax'] ?? '',
        command: ['sleep', '600'],
      });
      const { stdout } = await execute(stage, container, 'sh', '-c', script);
      assert.deepEqual(
        seen(stdout).filter((line) => line.includes('works: mount')),
        [],
      );
      const { info } = await stage.daemon.cri.runtime.containerStatus({
        containerId: container,
        verbose: true,
      });
      assert.match(JSON.stringify(info), /nothing can be mounted/);
      await removePod(stage, pod);
    },
  );

  it('a private time namespace is refused if the runtime does not support it', async () => {
    const pod = await podOf('time', 'runc');
    const found = await createContainer(stage, pod, { image: image['strict'] ?? '' }).catch(
      (error: unknown) => String(error),
    );
    if (found.includes('OUTSIDE_PROFILE')) assert.match(found, /time namespace.*runc 1\.2/s);
    await removePod(stage, pod);
  });
});
