/** Runs in the namespaces of a peer, which run.ts started: critest through the proxy, then the attacks. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isPortcullisError } from '../../base/errors/index.ts';
import { createCriClient } from '../../runtime/client.ts';
import { peers } from '../conformance/endpoint.ts';
import { formatSummary, summarise } from '../conformance/report.ts';
import { policyOf } from '../fixtures/stage.ts';
import { proxyBefore } from './before-peer.ts';

/** How many specs must pass: others may need what the kernel of a test machine lacks. */
const atLeast = 105;
const [backend = '', focus] = process.argv.slice(2);
const failures: string[] = [];
const say = (line: string): void => console.log(line.replaceAll(/^/gm, '::  '));
const check = (holds: boolean, what: string): void => {
  say(`${holds ? '✔' : '✖'} ${what}`);
  if (!holds) failures.push(what);
};

const { folder, proxy, policyFile, images, close } = await proxyBefore(backend);
const behind = createCriClient(backend);
try {
  await suite();
  await removeAll();
  await attacks();
} catch (thrown) {
  check(false, String(thrown));
}
behind.close();
await close();
say(failures.length === 0 ? 'all as expected' : `failed: ${failures.join('; ')}`);
process.exit(failures.length === 0 ? 0 : 1);

async function suite(): Promise<void> {
  const report = join(folder, 'report.json');
  const log = openSync(join(folder, 'critest.log'), 'w');
  const endpoint = `unix://${proxy.socket}`;
  const words = [
    ...['-runtime-endpoint', endpoint, '-image-endpoint', endpoint, '-ginkgo.no-color'],
    // The digest in that spec belongs to an image that cannot be built again.
    ...['-ginkgo.skip', 'public image with digest', '-ginkgo.json-report', report],
    ...(focus === undefined ? [] : ['-ginkgo.focus', focus]),
  ];
  const env = { ...process.env, PATH: `${join(peers, 'bin')}:${process.env['PATH'] ?? ''}` };
  const critest = spawn(join(peers, 'bin/critest'), words, { stdio: ['ignore', log, log], env });
  await once(critest, 'exit');
  const summary = summarise(
    JSON.parse(readFileSync(report, 'utf8')),
    (spec) =>
      !spec.includes('public image with digest') &&
      (focus === undefined || new RegExp(focus).test(spec.replaceAll(' › ', ' '))),
  );
  say(formatSummary(summary));
  const enough = focus === undefined ? summary.passed >= atLeast : summary.failed === 0;
  check(enough, `critest: ${summary.passed} passed, ${summary.failed} failed, ${summary.skipped} skipped`);
}

async function removeAll(): Promise<void> {
  for (const { id } of (await proxy.cri.runtime.listPodSandbox({})).items)
    await proxy.cri.runtime.removePodSandbox({ podSandboxId: id });
  for (const { id, pinned } of (await proxy.cri.image.listImages({})).images)
    if (!pinned) await proxy.cri.image.removeImage({ image: { image: id } });
}

/** Denies everything, and tries each way to get an image admitted. */
async function attacks(): Promise<void> {
  const [first] = images.filter(({ name }) => name.startsWith('k8s-staging'));
  const name = `gcr.io/${first?.name ?? ''}`;
  await proxy.cri.image.pullImage({ image: { image: name } });
  writeFileSync(policyFile, policyOf('  - images: ["**"]\n    deny: everything\n'));
  await proxy.reload();
  const pulled = (await behind.image.listImages({})).images.length;
  let admitted = 0;
  for (const { name: image, digest } of images)
    for (const reference of [`gcr.io/${image}`, `gcr.io/${image.split(':')[0] ?? ''}@${digest}`])
      if ((await codeOf(proxy.cri.image.pullImage({ image: { image: reference } }))) !== 'IMAGES_DENIED')
        admitted += 1;
  check(admitted === 0, `${2 * images.length} pulls, by tag and by digest, are denied`);
  check(
    (await behind.image.listImages({})).images.length === pulled,
    'the backend has no image that it did not have before',
  );
  const config = { metadata: { name: 'p', uid: 'u', namespace: 'default', attempt: 0 }, linux: {} };
  const { podSandboxId } = await proxy.cri.runtime.runPodSandbox({ config });
  const create = (image: string): Promise<unknown> =>
    proxy.cri.runtime.createContainer({
      ...{ podSandboxId, sandboxConfig: config },
      config: { metadata: { name: 'c', attempt: 0 }, image: { image } },
    });
  check((await codeOf(create(name))) === 'IMAGES_DENIED', 'an image that was admitted before is denied');
  await behind.image.pullImage({ image: { image: `gcr.io/${images.at(-1)?.name ?? ''}` } });
  const code = await codeOf(create(`gcr.io/${images.at(-1)?.name ?? ''}`));
  check(code === 'IMAGES_DENIED', "an image that root pulled through the backend's CRI is denied");
  await throughCtr(create);
  await proxy.cri.runtime.removePodSandbox({ podSandboxId });
  const before = spawnSync('stat', ['-c', '%a %U', backend], { encoding: 'utf8' }).stdout.trim();
  check(before === '600 root', `only root can connect to the backend: ${before}`);
}

/** containerd's own interfaces, which root reaches at the backend and no client reaches through the proxy. */
async function throughCtr(create: (image: string) => Promise<unknown>): Promise<void> {
  const image = `127.0.0.1:5000/${images[0]?.name ?? ''}`;
  const ctr = (socket: string, ...words: string[]) =>
    spawnSync(join(peers, 'bin/ctr'), ['-a', socket, '-n', 'k8s.io', ...words], { encoding: 'utf8' });
  const direct = ctr(backend, 'images', 'pull', '--plain-http', image);
  check(direct.status === 0, 'ctr run by root pulls through the backend, which the proxy cannot prevent');
  // containerd's CRI may not have noticed the image yet.
  const code = await codeOf(create(image));
  const refused = ['IMAGES_DENIED', 'RUNTIME_IMAGE_NOT_FOUND'].includes(code);
  check(refused, `a container from that image is refused: ${code}`);
  const through = ctr(proxy.socket, 'images', 'ls');
  check(
    through.status !== 0 && through.stderr.includes('PROXY_OTHER_SERVICE'),
    "containerd's own interfaces are not served by the proxy",
  );
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return '';
  } catch (thrown) {
    return isPortcullisError(thrown) ? thrown.code : String(thrown);
  }
}
