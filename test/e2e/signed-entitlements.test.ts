import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { attestImage } from '../../trust/index.ts';
import { pushImage } from '../fixtures/image.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { SecurityContext } from '../fixtures/pod.ts';
import { failureOf, makeKey, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const portcullis = join(import.meta.dirname, '../../packaging/bin/portcullis');

/** One rule requires signed entitlements, the other only applies them. */
const policy = policyOf(`  - images: ["${registryName}/must/**"]
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: privileged, require: signed }
  - images: ["${registryName}/may/**"]
    require: { cosign: { key: k.pub } }
    entitlements: { ceiling: privileged }
`);

const header = 'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: app }\n';
const modest = `${header}capabilities: { drop: [ALL] }\n`;
const chowner = {
  apiVersion: 'portcullis.dev/v1alpha1',
  kind: 'EntitlementProfile',
  metadata: { name: 'app' },
  capabilities: { drop: ['KILL'] },
};

const adds = (...addCapabilities: string[]) =>
  ({
    capabilities: { addCapabilities, dropCapabilities: [], addAmbientCapabilities: [] },
  }) as unknown as SecurityContext;

describe('signed entitlements', () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage({ policy });
    writeFileSync(join(stage.folders.folder, 'modest.yaml'), modest);
  });
  after(() => stage.close());

  const command = (...args: string[]): Promise<{ readonly code: number; readonly output: string }> =>
    new Promise((resolve) => {
      execFile(portcullis, args, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      );
    });
  const attest = (name: string, digest: string, predicate: unknown, key = stage.key) =>
    attestImage({
      repository: stage.repository(name),
      digest,
      key,
      type: 'entitlements',
      predicate,
      format: 'bundle',
      now: new Date(),
    });

  it('a rule that requires them admits no image without them, and missing permissions are refused with their names', async () => {
    const { reference, image } = await stage.publish('must/a:1');
    const refused = await failureOf(stage.pull(reference));
    assert.equal(refused.code, 'IMAGES_DENIED');
    assert.match(
      refused.message,
      /entitlements signed by the publisher \(entitlements\.require: signed\): no signer that the rule trusts has signed any/,
    );

    const foreign = await makeKey(
      join(stage.folders.folder, 'foreign.key'),
      join(stage.folders.folder, 'foreign.pub'),
    );
    await attest('must/a', image.manifestDigest, chowner, foreign);
    assert.equal(
      (await failureOf(stage.pull(reference))).code,
      'IMAGES_DENIED',
      'entitlements signed by an unknown key do not count',
    );

    const target = `${stage.registry.host}/must/a@${image.manifestDigest}`;
    const made = [
      '--type',
      'entitlements',
      '--predicate',
      join(stage.folders.folder, 'modest.yaml'),
      '--key',
      join(stage.folders.folder, 'k.key'),
    ];
    const attested = await command('attest', target, ...made);
    assert.equal(attested.code, 0, attested.output);
    const verify = [
      '--policy',
      stage.folders.policy,
      '--registry-mirror',
      `${registryName}=${stage.registry.url}`,
    ];
    const shown = await command('verify', reference, ...verify);
    assert.equal(shown.code, 0, shown.output);
    assert.match(
      shown.output,
      /\+ entitlements signed by the publisher \(entitlements\.require: signed\): 1 signed/,
    );
    assert.match(shown.output, /- attestation sha256:[0-9a-f]+ beside the manifest, found by fallback-tag/);
    assert.match(shown.output, /\+ attestation sha256:[0-9a-f]+ beside the manifest, found by fallback-tag/);

    const id = await stage.pull(reference);
    const pod = await runPod(stage, 'must');
    const asking = createContainer(stage, pod, { image: id, reference, security: adds('CHOWN') });
    const failure = await failureOf(asking);
    assert.equal(failure.code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    assert.match(failure.message, /the publisher's signed statement lacks the capability CHOWN/);
    const container = await runContainer(stage, pod, { image: id, reference, command: ['sleep', '600'] });
    const status = await execute(stage, container, 'grep', 'CapBnd', '/proc/self/status');
    assert.match(
      status.stdout,
      /CapBnd:\s+0{16}/,
      'permissions that it does not request by name are removed',
    );
    await removePod(stage, pod);
  });

  it('a rule that does not require them applies all of them together; a container that exceeds none of them starts', async () => {
    const { reference, image } = await stage.publish('may/a:1');
    const unbounded = await stage.pull(reference);
    const pod = await runPod(stage, 'may');
    await createContainer(stage, pod, {
      name: 'unbounded',
      image: unbounded,
      reference,
      security: adds('CHOWN', 'KILL'),
    });

    await attest('may/a', image.manifestDigest, chowner);
    await stage.daemon.cri.image.removeImage({ image: { image: unbounded } });
    const bounded = await stage.pull(reference);
    await runContainer(stage, pod, {
      name: 'within',
      image: bounded,
      reference,
      command: ['sleep', '600'],
      security: adds('CHOWN'),
    });
    const beyond = await failureOf(
      createContainer(stage, pod, { name: 'beyond', image: bounded, reference, security: adds('KILL') }),
    );
    assert.match(beyond.message, /the publisher's signed statement lacks the capability KILL/);

    await attest('may/a', image.manifestDigest, { ...chowner, capabilities: { drop: ['CHOWN'] } });
    await removePod(stage, pod);
    await stage.daemon.cri.image.removeImage({ image: { image: bounded } });
    const twice = await stage.pull(reference);
    const other = await runPod(stage, 'both');
    for (const name of ['CHOWN', 'KILL']) {
      const failure = await failureOf(
        createContainer(stage, other, {
          name: name.toLowerCase(),
          image: twice,
          reference,
          security: adds(name),
        }),
      );
      assert.match(failure.message, new RegExp(`signed statement lacks the capability ${name}`));
    }
    await removePod(stage, other);
  });

  it('for an image with several names, entitlements signed under any of them apply', async () => {
    const { reference: plain, image } = await stage.publish('may/names:1');
    const id = await stage.pull(plain);
    await attest('may/names', image.manifestDigest, chowner);
    await pushImage(stage.repository('may/names'), image, '2');
    const attested = plain.replace(/:1$/, ':2');
    assert.equal(await stage.pull(attested), id, 'one image');
    const pod = await runPod(stage, 'names');
    await createContainer(stage, pod, { name: 'plain', image: id, reference: plain, security: adds('KILL') });
    const failure = await failureOf(
      createContainer(stage, pod, { name: 'any', image: id, security: adds('KILL') }),
    );
    assert.match(failure.message, /the publisher's signed statement lacks the capability KILL/);
    await removePod(stage, pod);
  });

  it('an entitlement that this version cannot read admits no container', async () => {
    const { reference, image } = await stage.publish('must/unreadable:1');
    await attest('must/unreadable', image.manifestDigest, { ...chowner, sockets: ['/run/**'] });
    const id = await stage.pull(reference);
    const pod = await runPod(stage, 'unreadable');
    const failure = await failureOf(createContainer(stage, pod, { image: id, reference }));
    assert.equal(failure.code, 'ENTITLEMENTS_BAD_PROFILE');
    assert.match(failure.message, /sockets/);
    await removePod(stage, pod);
  });

  it('attest refuses an invalid profile', async () => {
    const file = join(stage.folders.folder, 'broken.yaml');
    writeFileSync(file, `${header}entitlements: [network.everything]\n`);
    const { image } = await stage.publish('must/broken:1');
    const made = [
      '--type',
      'entitlements',
      '--predicate',
      file,
      '--key',
      join(stage.folders.folder, 'k.key'),
    ];
    const refused = await command(
      'attest',
      `${stage.registry.host}/must/broken@${image.manifestDigest}`,
      ...made,
    );
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, /broken\.yaml:4:\d+.*network\.everything/);
  });
});
