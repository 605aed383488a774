import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { layerOf } from '../fixtures/image.ts';
import type { Entry, ImageSource } from '../fixtures/image.ts';
import {
  createContainer,
  execute,
  exitOf,
  expectServing,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const handlers = ['crun', 'runc'];

/** Signed images with hostile content: a signature proves who built an image, not that it is harmless. */
describe('hostile images', () => {
  let stage: Stage;
  /** A folder of the host that no image may write to. */
  let prey = '';
  let serial = 0;
  before(async () => {
    stage = await openStage();
    prey = join(stage.folders.folder, 'prey');
    mkdirSync(prey);
  });
  after(() => stage.close());

  const pull = async (source: ImageSource): Promise<string> => {
    serial += 1;
    return stage.pull((await stage.publish(`evil/a${serial}:1`, source)).reference);
  };
  const withEntries = async (...entries: Entry[]): Promise<ImageSource> => ({
    layers: [await layerOf(entries)],
  });
  const untouched = (): void =>
    assert.deepEqual(readdirSync(prey), [], 'the folder of the host is as it was');

  for (const handler of handlers) {
    for (const name of ['dev', 'proc', 'sys']) {
      it(`/${name} is a symlink to a folder of the host (CVE-2026-41579, CVE-2026-47766), under ${handler}`, async () => {
        const image = await pull(await withEntries({ name, type: 'symlink', linkname: prey }));
        const pod = await runPod(stage, `link-${name}-${handler}`, {}, handler);
        const failure = await failureOf(createContainer(stage, pod, { image }));
        assert.equal(failure.code, 'IMAGES_UNSAFE_ROOTFS');
        assert.match(failure.message, new RegExp(`/${name} of the image is a symlink`));
        untouched();
        await removePod(stage, pod);
      });
    }

    it(`the working directory is a descriptor of the runtime, by name and by symlink (CVE-2024-21626), under ${handler}`, async () => {
      writeFileSync(join(stage.folders.folder, 'marker'), 'secret of the host');
      const climb = `${'../'.repeat(12)}${stage.folders.folder.slice(1)}/marker`;
      const pod = await runPod(stage, `cwd-${handler}`, {}, handler);
      const plain = await pull({ config: { WorkingDir: '/proc/self/fd/7' } });
      assert.equal(
        (await failureOf(createContainer(stage, pod, { image: plain }))).code,
        'RUNTIME_BAD_WORKING_DIR',
      );
      const source = await withEntries({ name: 'w', type: 'symlink', linkname: '/proc/self/fd' });
      const linked = await pull({ ...source, config: { Cmd: ['cat', climb] } });
      for (let descriptor = 3; descriptor <= 9; descriptor += 1) {
        const name = `fd-${descriptor}`;
        const attempt = async (): Promise<string> => {
          const id = await runContainer(stage, pod, {
            name,
            image: linked,
            more: { workingDir: `/w/${descriptor}` },
          });
          const { exitCode } = await exitOf(stage, id);
          return `exit ${exitCode}: ${readFileSync(join(stage.logs, `cwd-${handler}/${name}/0.log`), 'utf8')}`;
        };
        const outcome = await attempt().catch((thrown: unknown) => String(thrown));
        assert.doesNotMatch(outcome, /secret of the host|exit 0/, name);
      }
      await removePod(stage, pod);
    });

    it(`the program is the runtime itself (CVE-2019-5736), under ${handler}`, async () => {
      const sum = (): string =>
        createHash('sha256')
          .update(readFileSync(`/usr/bin/${handler}`))
          .digest('hex');
      const intact = sum();
      const image = await pull({ config: { Entrypoint: ['/proc/self/exe'], Cmd: ['init'] } });
      const pod = await runPod(stage, `exe-${handler}`, {}, handler);
      await runContainer(stage, pod, { image })
        .then((id) => exitOf(stage, id))
        .catch(() => undefined);
      const good = await runContainer(stage, pod, {
        name: 'overwrites',
        image: await pull({}),
        command: ['sleep', '600'],
      });
      await execute(stage, good, 'sh', '-c', 'for f in /proc/[0-9]*/exe; do echo x > $f; done').catch(
        () => undefined,
      );
      assert.equal(sum(), intact);
      await removePod(stage, pod);
    });

    it(`/etc and the destination of a volume are symlinks to the host, under ${handler}`, async () => {
      const image = await pull(
        await withEntries(
          { name: 'etc', type: 'symlink', linkname: prey },
          { name: 'data', type: 'symlink', linkname: prey },
        ),
      );
      const pod = await runPod(stage, `etc-${handler}`, {}, handler);
      const volume = join(stage.folders.folder, 'volume');
      const mounts = [{ containerPath: '/data/inner', hostPath: volume }];
      await runContainer(stage, pod, { image, command: ['sleep', '600'], more: { mounts } }).catch(
        () => undefined,
      );
      untouched();
      await removePod(stage, pod);
      untouched();
    });
  }

  for (const user of [
    '4294967296:0',
    '0:4294967296',
    '-1',
    '2147483648',
    'nobody-here',
    '65536000000000000',
  ]) {
    it(`USER ${user} is refused and never becomes root (CVE-2024-40635)`, async () => {
      const image = await pull({ config: { User: user } });
      const pod = await runPod(stage, 'user');
      const failure = await failureOf(createContainer(stage, pod, { image }));
      assert.equal(failure.code, 'RUNTIME_BAD_USER');
      await removePod(stage, pod);
    });
  }

  it('passwd leads out of the image, and group is too large (CVE-2026-47262)', async () => {
    const pod = await runPod(stage, 'passwd');
    const escape = await pull({
      ...(await withEntries({
        name: 'etc/passwd',
        type: 'symlink',
        linkname: '../../../../../../etc/passwd',
      })),
      config: { User: 'daemon' },
    });
    assert.equal(
      (await failureOf(createContainer(stage, pod, { image: escape, name: 'a' }))).code,
      'RUNTIME_BAD_USER',
    );
    const large = await pull(
      await withEntries({ name: 'etc/group', body: `root:x:0:${'a,'.repeat(600_000)}\n` }),
    );
    const failure = await failureOf(createContainer(stage, pod, { image: large, name: 'b' }));
    assert.equal(failure.code, 'RUNTIME_BAD_USER');
    assert.match(failure.message, /larger than/);
    await removePod(stage, pod);
  });

  it('VOLUME leads out of the image (CVE-2022-23648)', async () => {
    writeFileSync(join(stage.folders.folder, 'marker'), 'secret of the host');
    const image = await pull({
      config: { Volumes: { '/../../../../../..': {}, [`/../../..${stage.folders.folder}`]: {} } },
    });
    const pod = await runPod(stage, 'volume');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    const { exitCode } = await execute(stage, id, 'cat', join(stage.folders.folder, 'marker'));
    assert.notEqual(exitCode, 0);
    untouched();
    await removePod(stage, pod);
  });

  const layers: { what: string; entries: () => Entry[]; code: RegExp }[] = [
    {
      what: 'a name that begins with ".."',
      entries: () => [{ name: '../../../prey/file', body: 'x' }],
      code: /^IMAGES_LAYER_BAD_NAME$/,
    },
    {
      what: 'a file through a symlink to the host',
      entries: () => [
        { name: 'way', type: 'symlink', linkname: prey },
        { name: 'way/file', body: 'x' },
      ],
      code: /^(IMAGES_LAYER_\w+)?$/,
    },
    {
      what: 'a hard link to a file of the host',
      entries: () => [{ name: 'link', type: 'link', linkname: '../../../../../../etc/hostname' }],
      code: /^IMAGES_LAYER_BAD_(LINK|NAME)$/,
    },
    {
      what: 'a whiteout of ".."',
      entries: () => [{ name: '.wh...', body: '' }],
      code: /^IMAGES_LAYER_BAD_NAME$/,
    },
  ];
  for (const { what, entries, code } of layers) {
    it(`a layer holds ${what}`, async () => {
      const source = await withEntries(...entries());
      const outcome = await pull(source).then(
        () => '',
        (thrown: unknown) => (thrown as { code: string }).code,
      );
      assert.match(outcome, code);
      untouched();
    });
  }

  it('and the daemon still serves', async () => {
    await expectServing(stage, await pull({}));
    assert.doesNotMatch(stage.daemon.log(), /uncaught|unhandled/i);
  });
});
