import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { attestImage, openRegistries } from '../../trust/index.ts';
import { startTrustService } from '../../trust/notary/index.ts';
import type { TrustService } from '../../trust/notary/index.ts';
import { archiveReference, copyReference } from '../../trust/transfer/index.ts';
import { openAirGap } from '../fixtures/air-gap.ts';
import type { AirGap } from '../fixtures/air-gap.ts';
import { beginCollection } from '../fixtures/collection.ts';
import { commandFile, portcullis, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { createContainer, removePod, runPod } from '../fixtures/pod.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { failureOf, openStage, plainPolicy, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');

/**
 * Origin and trust service are in one network namespace, the node and its registry in another one without
 * links. Only the registry's storage, filled by `images copy` while both were reachable, and an archive file
 * cross over.
 */
describe('an image behind an air gap', () => {
  let gap: AirGap;
  let stage: Stage;
  let service: TrustService;
  let inside: TestRegistry;
  let storage: string;
  let archive: string;

  const copy = async (name: string, mirror: TestRegistry, ...words: string[]): Promise<Ended> => {
    const ended = await portcullis([
      ...['images', 'copy', `${registryName}/${name}:1`, `${mirror.host}/${name}:1`],
      ...['--registry-mirror', `${registryName}=${stage.registry.url}`, ...words],
    ]);
    assert.equal(ended.code, 0, ended.output);
    return ended;
  };
  /** Runs a program on the node's side. */
  const run = (...words: string[]): Promise<Ended> => {
    const [program = '', ...rest] = [...gap.within, ...words];
    return runProgram(program, rest, process.env);
  };
  const beyond = (...words: string[]): Promise<Ended> => run(process.execPath, commandFile, ...words);
  /** Publishes, signs and attests an image, and signs the digest of its tag in metadata. */
  const publish = async (
    name: string,
    destination: string,
    expiry: Readonly<Record<string, number>> = {},
  ): Promise<void> => {
    const { image } = await stage.publish(`${name}:1`);
    const predicate = { builder: 'example' };
    const type = 'https://example.com/built/v1';
    const repository = stage.repository(name);
    await attestImage({
      repository,
      digest: image.manifestDigest,
      key: stage.key,
      type,
      predicate,
      format: 'bundle',
      now: new Date(),
    });
    const mirrors = [`${registryName}=${stage.registry.url}`];
    const reference = `${registryName}/${name}`;
    const folder = join(stage.folders.folder, 'owner');
    const collection = await beginCollection({ folder, name: reference, destination, mirrors, expiry });
    await collection.publish({ 1: `${reference}:1` });
    copyFileSync(collection.rootFile, join(stage.folders.policy, `.${name.replace('/', '-')}-root.json`));
  };
  const rule = (name: string, root: string): string =>
    `  - images: ["${registryName}/${name}"]\n    require:\n      all:\n        - tuf: { service: "oci://${registryName}", root: .${root.replace('/', '-')}-root.json }\n        - cosign: { key: k.pub }\n        - attestation: { type: "https://example.com/built/v1", by: cosign, cel: "predicate.builder == 'example'" }\n    entitlements: { ceiling: privileged }\n`;

  before(async () => {
    gap = await openAirGap();
    stage = await openStage({ policy: plainPolicy, program: [...gap.within, launcher] });
    storage = join(stage.folders.folder, 'storage');
    archive = join(stage.folders.folder, 'app.tar');
    mkdirSync(storage);
    const beside = `oci://${registryName}`;
    service = await startTrustService({ listen: '127.0.0.1:0', data: join(stage.folders.folder, 'service') });
    await publish('pay/app', `${beside}/pay/app`);
    await publish('pay/served', service.url);
    // Valid only for a moment, so that the transferred metadata has expired.
    await publish('pay/late', `${beside}/pay/late`, { timestamp: 1 });
    const mirror = await startRegistry({ storage });
    try {
      assert.match((await copy('pay/app', mirror)).stdout, /pieces of evidence: 2, signed metadata/u);
      await copy('pay/served', mirror, '--metadata', `${service.url}/tuf/${registryName}/pay/served`);
      const mirrored = [`${registryName}=${stage.registry.url}`];
      const made = await portcullis([
        'trust',
        'archive',
        'create',
        `${registryName}/pay/app:1`,
        archive,
        '--registry-mirror',
        ...mirrored,
      ]);
      assert.equal(made.code, 0, made.output);
      const registry = await openRegistries({ mirrors: mirrored, insecureHosts: [] });
      await copyReference({ from: `${registryName}/pay/late:1`, to: `${mirror.host}/pay/late:1`, registry });
      const brief = {
        reference: `${registryName}/pay/app:1`,
        file: `${archive}.brief`,
        freshFor: 1,
        passphrase: { environment: {} },
      };
      await archiveReference({ ...brief, registry, now: new Date() });
      await registry.close();
    } finally {
      await mirror.close();
    }
    inside = await startRegistry({ storage, within: gap.within });
    const names = [['pay/app'], ['pay/served'], ['pay/late'], ['pay/archived', 'pay/app']] as const;
    stage.writePolicy(policyOf(names.map(([name, root = name]) => rule(name, root)).join('')));
    await stage.restart({ flags: ['--registry-mirror', `${registryName}=${inside.url}`] });
  });
  after(async () => {
    await inside.close();
    await service.close();
    await stage.close();
    await gap.close();
  });

  it('has no way to the origin', async () => {
    const links = await run('ip', '-json', 'link');
    assert.deepEqual(
      (JSON.parse(links.stdout) as { ifname: string }[]).map(({ ifname }) => ifname),
      ['lo'],
    );
    const asked = await run(
      process.execPath,
      '--eval',
      `fetch('${stage.registry.url}/v2/').then(() => 0, () => process.exit(7))`,
    );
    assert.equal(asked.code, 7, asked.output);
  });

  for (const [how, name] of [
    ['its metadata from beside it in the registry', 'pay/app'],
    ['its metadata from a trust service', 'pay/served'],
  ] as const)
    it(`is pulled, verified and run after images copy transferred it, ${how}`, async () => {
      const reference = `${registryName}/${name}:1`;
      const image = await stage.pull(reference);
      const pod = await runPod(stage, name.replace('/', '-'));
      await createContainer(stage, pod, { image, reference });
      await removePod(stage, pod);
    });

  it('is pulled and verified after it was loaded from an archive', async () => {
    const loaded = await beyond('trust', 'archive', 'load', archive, `${inside.host}/pay/archived:1`);
    assert.equal(loaded.code, 0, loaded.output);
    await stage.pull(`${registryName}/pay/archived:1`);
  });

  it('is refused once the transferred metadata has expired', async () => {
    const failure = await failureOf(stage.pull(`${registryName}/pay/late:1`));
    assert.match(failure.message, /timestamp: version \d+ expired at/u);
    const archived = await beyond(
      'trust',
      'archive',
      'load',
      `${archive}.brief`,
      `${inside.host}/pay/brief:1`,
    );
    assert.equal(archived.code, 1, archived.output);
    assert.match(archived.output, /TRUST_ARCHIVE_STALE/u);
  });
});
