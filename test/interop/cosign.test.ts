import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { generateKeyPair, loadSigningKey } from '../../trust/index.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const cosign = findTool('cosign');
const portcullis = join(import.meta.dirname, '../../packaging/bin/portcullis');
const run = promisify(execFile);

/** Without a transparency log and without public services, to which this network namespace has no route. */
const offlineSign = [
  '--tlog-upload=false',
  '--use-signing-config=false',
  '--allow-insecure-registry',
  '--yes',
];
const offlineVerify = [
  '--insecure-ignore-tlog=true',
  '--private-infrastructure',
  '--allow-insecure-registry',
];

describe('cosign', { skip: cosign.skip }, () => {
  let stage: Stage;
  let folder = '';
  let environment: NodeJS.ProcessEnv = {};
  before(async () => {
    stage = await openStage();
    folder = join(stage.folders.folder, 'cosign');
    mkdirSync(folder);
    environment = {
      ...process.env,
      HOME: folder,
      TUF_ROOT: join(folder, 'tuf'),
      COSIGN_PASSWORD: 'secret',
      PORTCULLIS_PASSPHRASE: 'secret',
    };
    await run(cosign.path, ['generate-key-pair', '--output-key-prefix', join(folder, 'theirs')], {
      env: environment,
    });
    await generateKeyPair(join(folder, 'ours'), { environment: { PORTCULLIS_PASSPHRASE: 'secret' } });
    for (const name of ['theirs', 'ours'])
      copyFileSync(join(folder, `${name}.pub`), join(stage.folders.policy, `${name}.pub`));
    stage.writePolicy(
      policyOf(
        ['theirs', 'ours']
          .map(
            (name) =>
              `  - images: ["${registryName}/${name}/**"]\n    require: { cosign: { key: ${name}.pub } }\n`,
          )
          .join(''),
      ),
    );
    await stage.daemon.reload();
  });
  after(() => stage.close());

  const key = (name: string): string => join(folder, name);
  const atRegistry = (name: string, digest: string): string => `${stage.registry.host}/${name}@${digest}`;
  const exitCode = (program: string, args: readonly string[]): Promise<{ code: number; output: string }> =>
    new Promise((resolve) => {
      execFile(program, args, { env: environment }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      );
    });

  for (const bundle of [true, false]) {
    const form = bundle ? 'bundle' : 'legacy';
    it(`verify and PullImage accept a signature of cosign in the form ${form}`, async () => {
      const name = `theirs/${form}`;
      const { reference, image } = await stage.publish(`${name}:1`, {}, { sign: false });
      const target = atRegistry(name, image.manifestDigest);
      assert.equal((await failureOf(stage.pull(reference))).code, 'IMAGES_DENIED');
      const before = await exitCode(portcullis, ['verify', target, '--key', key('theirs.pub')]);
      assert.equal(before.code, 1, before.output);
      await run(
        cosign.path,
        ['sign', '--key', key('theirs.key'), `--new-bundle-format=${bundle}`, ...offlineSign, target],
        {
          env: environment,
        },
      );
      const verified = await exitCode(portcullis, ['verify', target, '--key', key('theirs.pub')]);
      assert.equal(verified.code, 0, verified.output);
      const byOther = await exitCode(portcullis, ['verify', target, '--key', key('ours.pub')]);
      assert.equal(byOther.code, 1, byOther.output);
      assert.equal(await stage.pull(reference), image.configDigest);
    });

    it(`cosign verify accepts our signature in the form ${form}`, async () => {
      const name = `ours/${form}`;
      const { reference, image } = await stage.publish(`${name}:1`, {}, { sign: false });
      const target = atRegistry(name, image.manifestDigest);
      const verify = (by: string) =>
        exitCode(cosign.path, ['verify', '--key', key(by), ...offlineVerify, target]);
      assert.notEqual((await verify('ours.pub')).code, 0, 'unsigned');
      const signed = await exitCode(portcullis, ['sign', target, '--key', key('ours.key'), '--format', form]);
      assert.equal(signed.code, 0, signed.output);
      const accepted = await verify('ours.pub');
      assert.equal(accepted.code, 0, accepted.output);
      assert.match(accepted.output, new RegExp(image.manifestDigest));
      assert.notEqual((await verify('theirs.pub')).code, 0, 'another key');
      assert.equal(await stage.pull(reference), image.configDigest);
    });
  }

  it('signatures of cosign and of Portcullis coexist', async () => {
    const { reference, image } = await stage.publish('theirs/both:1', {}, { sign: false });
    const target = atRegistry('theirs/both', image.manifestDigest);
    assert.equal((await exitCode(portcullis, ['sign', target, '--key', key('ours.key')])).code, 0);
    await run(cosign.path, ['sign', '--key', key('theirs.key'), ...offlineSign, target], {
      env: environment,
    });
    for (const name of ['ours.pub', 'theirs.pub']) {
      assert.equal(
        (await exitCode(cosign.path, ['verify', '--key', key(name), ...offlineVerify, target])).code,
        0,
        name,
      );
      assert.equal((await exitCode(portcullis, ['verify', target, '--key', key(name)])).code, 0, name);
    }
    assert.equal(await stage.pull(reference), image.configDigest);
  });

  it('cosign and Portcullis read encrypted key files of each other', async () => {
    const { reference, image } = await stage.publish('theirs/keys:1', {}, { sign: false });
    const target = atRegistry('theirs/keys', image.manifestDigest);
    const signed = await exitCode(portcullis, ['sign', target, '--key', key('theirs.key')]);
    assert.equal(signed.code, 0, signed.output);
    assert.equal(await stage.pull(reference), image.configDigest);
    const other = await stage.publish('ours/keys:1', {}, { sign: false });
    await run(
      cosign.path,
      ['sign', '--key', key('ours.key'), ...offlineSign, atRegistry('ours/keys', other.image.manifestDigest)],
      {
        env: environment,
      },
    );
    assert.equal(await stage.pull(other.reference), other.image.configDigest);
    const wrong = await loadSigningKey(key('theirs.key'), {
      environment: { PORTCULLIS_PASSPHRASE: 'wrong' },
    }).catch((thrown: unknown) => thrown as { code: string });
    assert.match((wrong as { code: string }).code, /^TRUST_/);
  });
});
