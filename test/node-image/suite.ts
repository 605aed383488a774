/**
 * `npm run test:node-image`: builds node images, and boots them in an emulated machine. Runs in its own
 * network namespace, so the machine reaches only the servers of this file.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readSync,
  readdirSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildArtifacts } from '../../packaging/artifacts/artifacts.ts';
import { buildNodeImage, diskName } from '../../packaging/node-image/build.ts';
import { portcullis } from '../fixtures/command.ts';
import { runElsewhere } from '../fixtures/other-checkout.ts';
import { makeKey, openPublisher } from '../fixtures/publisher.ts';
import type { Publisher } from '../fixtures/publisher.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { changeByte, partitionsOf } from './disk.ts';
import { startMachine, whyNoMachine } from './machine.ts';
import type { Machine } from './machine.ts';
import { page, removePods, runWeb } from './pods.ts';
import { hostAddress, testRecipe } from './recipes.ts';
import { serveFolder } from './serve-folder.ts';
import type { ServedFolder } from './serve-folder.ts';

const root = join(import.meta.dirname, '../..');
const name = 'portcullis-node';
/** Prints the process id of the daemon. */
const daemonPid = `ps -o pid,args | awk '/(portcullis|whole)[.]js daemon/ && !/awk/ { print $1; exit }'`;
/** The time of the other checkout (`runElsewhere`). */
process.env['SOURCE_DATE_EPOCH'] = '1700000000';

describe('a node image', { timeout: 5_400_000, skip: whyNoMachine }, () => {
  let folder = '';
  let registry: TestRegistry;
  let publisher: Publisher;
  let served: ServedFolder;
  let machine: Machine | undefined;
  const at = (path: string): string => join(folder, path);
  const running = (): Machine => machine ?? assert.fail('no machine runs');
  const source = (): string => `http://${hostAddress}:${served.port}`;
  const update = (): string => `portcullis node image update ${source()}`;
  const start = async (disk: string, options: { readonly reboots?: boolean } = {}): Promise<Machine> =>
    (machine = await startMachine(at(disk), folder, options));
  const stop = async (): Promise<void> => {
    await machine?.kill();
    machine = undefined;
  };
  const build = (version: number, options: { readonly isBroken?: boolean; readonly source?: string } = {}) =>
    buildNodeImage(at(String(version)), {
      recipe: testRecipe(at(`recipe-${version}`), at('k.pub'), {
        ...{ version, ...options },
        registryPort: Number(registry.url.split(':').at(-1)),
      }),
      package: at('package/portcullis.deb'),
    });
  const sign = async (version: number, key = 'k.key'): Promise<void> => {
    const { code, output } = await portcullis([
      'node',
      'image',
      'sign',
      at(String(version)),
      '--key',
      at(key),
    ]);
    assert.equal(code, 0, output);
  };
  /** The connection may end before the answer. */
  const reboot = (): Promise<unknown> =>
    running()
      .run('reboot')
      .catch(() => undefined);

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-node-image-'));
    fetchOutside();
    const key = await makeKey(at('k.key'), at('k.pub'));
    registry = await startRegistry();
    publisher = openPublisher(registry, key);
    served = await serveFolder();
    const [deb = ''] = await buildArtifacts(at('package'), { types: false, architectures: ['amd64'] });
    copyFileSync(at(`package/${deb}`), at('package/portcullis.deb'));
    await build(1);
    await sign(1);
    copyFileSync(at(`1/${diskName}`), at('disk'));
  });
  after(async () => {
    await stop();
    served.close();
    await publisher.close();
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('has the same bytes from another checkout, path, umask, time zone, locale and host', () => {
    const copy = at('a/longer path/to the/copy');
    const program = `
      const { buildNodeImage } = await import(process.argv[1]);
      const { readRecipe } = await import(process.argv[2]);
      await buildNodeImage(process.argv[3], { recipe: readRecipe(process.argv[4]) });`;
    const modules = ['build.ts', 'recipe.ts'].map((file) => join(copy, 'packaging/node-image', file));
    runElsewhere(copy, program, [...modules, at('again'), at('recipe-1/node.yaml')]);
    assert.deepEqual(
      sumsOf(at('again')),
      sumsOf(at('1')).filter((line) => !line.endsWith('.bundle')),
    );
    rmSync(at('again'), { recursive: true });
    rmSync(at('a'), { recursive: true });
  });

  it('boots, serves the CRI, and confirms its slot', async (test) => {
    await start('disk');
    const seconds = await running().until(confirmed(1, 'a'));
    test.diagnostic(`confirmed ${seconds.toFixed(1)} s after the machine was started`);
    const version = await running().cri.runtime.version({}, { timeoutMs: 60_000 });
    assert.equal(version.runtimeName, 'portcullis');
    assert.match(
      await running().run('portcullis node image status'),
      /portcullis-node 1 runs from slot a\nslot a: can start, with 3 tries/u,
    );
  });

  it('has a root that nothing can change, and the daemon as the only service beside the agent of this test', async () => {
    await assert.rejects(running().run('touch /etc/portcullis/x'), /Read-only file system/u);
    const tree = await running().run('cat /etc/inittab');
    assert.deepEqual(
      tree.split('\n').flatMap((line) => /\/serve (\S+)/u.exec(line)?.[1] ?? []),
      ['portcullisd', 'agent'],
    );
  });

  it('runs a pod from a signed image, which answers a request, and refuses an image without a signature', async () => {
    const { reference } = await publisher.publish('app/web:1');
    await runWeb(running(), reference);
    assert.equal(await page(running()), '200 a page\n');
    const other = await publisher.publish('app/other:1', {}, { sign: false });
    await assert.rejects(
      running().cri.image.pullImage({ image: { image: other.reference } }, { timeoutMs: 300_000 }),
      /SignatureValidationFailed/u,
    );
  });

  it('starts a killed daemon again, and its pods stay', async () => {
    const pid = async (): Promise<string> => (await running().run(daemonPid)).trim();
    const before = await pid();
    assert.match(before, /^\d+$/u);
    await running().run(`kill -9 ${before}`);
    await running().until(/node: portcullisd ended with status 137, and starts again/u);
    await running().run('until portcullis ps >/dev/null 2>&1; do sleep 1; done');
    assert.equal(await page(running()), '200 a page\n');
    const after = await pid();
    assert.match(after, /^\d+$/u);
    assert.notEqual(after, before);
  });

  it('repairs a file of a container image that changed in the state while the machine was off', async () => {
    const file =
      (await running().run('find /var/lib/portcullis/images/layers -name index.html')).split('\n')[0] ?? '';
    assert.match(file, /index\.html$/u);
    await running().run('sync');
    await stop();
    changeFile(at('disk'), file.replace('/var/', '/'));
    await start('disk');
    await running().until(confirmed(1, 'a'));
    await removePods(running());
    await runWeb(running(), 'good.test/app/web:1');
    assert.equal(await page(running()), '200 a page\n');
    assert.match(await running().run('logread'), /a layer was damaged by an unclean stop/u);
  });

  it('stops with the reason when a block of the root was changed', async () => {
    copyFileSync(at(`1/${diskName}`), at('damaged'));
    const slot = partitionsOf(at('damaged')).get('portcullis-a') ?? assert.fail('no slot a');
    // The superblock of EROFS is in the first block.
    changeByte(at('damaged'), slot.at + 1024);
    const whole = machine;
    const damaged = await startMachine(at('damaged'), at('package'), { reboots: false });
    await damaged.ended();
    assert.match(damaged.console(), /verity: .*data block 0 is corrupted/u);
    assert.match(damaged.console(), /Kernel panic - not syncing: dm-verity device corrupted/u);
    assert.doesNotMatch(damaged.console(), /node: image 1 starts/u);
    machine = whole;
    rmSync(at('damaged'));
  });

  it('refuses an update that no trusted key signed, and one whose root was changed', async () => {
    await build(2);
    served.use(at('2'));
    await assert.rejects(running().run(update()), /NODE_IMAGE_UNREADABLE/u);
    await makeKey(at('other.key'), at('other.pub'));
    await sign(2, 'other.key');
    await assert.rejects(running().run(update()), /no trusted key signed it .*NODE_IMAGE_REFUSED/su);
    await sign(2);
    changeByte(at('2/root.img'), 100_000);
    await assert.rejects(running().run(update()), /NODE_IMAGE_DAMAGED/u);
    changeByte(at('2/root.img'), 100_000);
    const status = await running().run('portcullis node image status');
    assert.doesNotMatch(status, /slot b/u);
  });

  it('boots a signed update from the other slot, and keeps it', async () => {
    assert.match(await running().run(update()), /version 2 is in slot b, and starts at the next boot/u);
    assert.match(await running().run('portcullis node image status'), /slot b: can start, with 1 try/u);
    await reboot();
    await running().until(confirmed(2, 'b'));
    assert.match(await running().run('portcullis node image status'), /slot b: can start, with 3 tries/u);
    await assert.rejects(running().run(update()), /version 2 runs/u);
  });

  it('returns to the other slot when a block of its slot was changed, and an update repairs the slot', async () => {
    await running().run('sync');
    await stop();
    const slot = partitionsOf(at('disk')).get('portcullis-b') ?? assert.fail('no slot b');
    changeByte(at('disk'), slot.at + 1024);
    await start('disk');
    await running().until(confirmed(1, 'a'));
    assert.equal(
      running()
        .console()
        .match(/dm-verity device corrupted/gu)?.length,
      3,
    );
    assert.match(await running().run('portcullis node image status'), /slot b: has no tries left/u);
    assert.match(await running().run(update()), /version 2 is in slot b/u);
    await reboot();
    await running().until(confirmed(2, 'b'));
  });

  it('returns to the image before when an update does not become healthy, and does not install it again', async () => {
    await build(3, { isBroken: true });
    await sign(3);
    served.use(at('3'));
    assert.match(await running().run(update()), /version 3 is in slot a/u);
    await reboot();
    await running().until(/node: the boot fails: .*NODE_IMAGE_UNHEALTHY/su);
    const failed = running().console().length;
    await running().until(new RegExp(`[^]{${failed}}[^]*${confirmed(2, 'b').source}`, 'u'));
    await assert.rejects(running().run(update()), /version 3 was tried, and its boot was not confirmed/u);
    await removePods(running());
    await runWeb(running(), 'good.test/app/web:1');
    assert.equal(await page(running()), '200 a page\n');
  });

  it('finds a new image by itself, and restarts', async () => {
    await build(4, { source: source() });
    await sign(4);
    served.use(at('4'));
    assert.match(await running().run(update()), /version 4 is in slot a/u);
    await reboot();
    await running().until(confirmed(4, 'a'));
    await build(5);
    await sign(5);
    served.use(at('5'));
    await running().until(/node: version 5 is in slot b/u);
    await running().until(confirmed(5, 'b'));
  });
});

const confirmed = (version: number, slot: string): RegExp =>
  new RegExp(`node: ${name} ${version} in slot ${slot} is confirmed`, 'u');

/** Changes the first byte of a file in the state of a machine that is off, from `a` to `b`. */
function changeFile(disk: string, path: string): void {
  const state = partitionsOf(disk).get('portcullis-state') ?? assert.fail('no state');
  const words = ['-R', `blocks ${path}`, `${disk}?offset=${state.at}`];
  const { stdout, stderr } = spawnSync('/usr/sbin/debugfs', words, { encoding: 'utf8' });
  const block = Number(stdout.trim());
  assert.ok(block > 0, `${stdout}${stderr}`);
  const offset = state.at + block * 4096;
  const file = openSync(disk, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  assert.equal(byte.toString(), 'a');
  writeSync(file, 'b', offset);
  closeSync(file);
}

/** Fetches recorded packages of Debian into the cache, in the network of this machine. */
function fetchOutside(): void {
  const program = `
    const { fetchPackages } = await import('./packaging/node-image/packages.ts');
    const { readRecipe } = await import('./packaging/node-image/recipe.ts');
    fetchPackages(readRecipe('packaging/node-image/node.yaml'));`;
  const outside = process.env['PORTCULLIS_TEST_NETWORK_OUTSIDE'] ?? '/proc/self/ns/net';
  const words = [`--net=${outside}`, '--', process.execPath, '--input-type=module', '-e', program];
  const { status, stderr } = spawnSync('nsenter', words, { cwd: root, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

/** Returns the digests and names of all files of a folder. A disk is larger than a buffer can be. */
function sumsOf(folder: string): readonly string[] {
  const names = readdirSync(folder).sort();
  return execFileSync('sha256sum', names, { cwd: folder, encoding: 'utf8' }).trim().split('\n');
}
