import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import { patience } from '../fixtures/daemon.ts';
import { createContainer, expectServing, removePod, runPod } from '../fixtures/pod.ts';
import { failureOf, makeKey, openStage, plainPolicy } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

interface Condition {
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

async function policyCondition(stage: Stage): Promise<Condition> {
  const { status } = await stage.daemon.cri.runtime.status({});
  return status?.conditions.find(({ type }) => type === 'PolicyReady') ?? assert.fail('no PolicyReady');
}

/** Policies that cannot be loaded, each with the message in Status. */
const broken: { what: string; spoil: (folder: string) => void; message: RegExp }[] = [
  {
    what: 'a policy with an unknown field',
    spoil: (folder) =>
      writeFileSync(
        join(folder, 'policy.yaml'),
        plainPolicy.replace('    require:', '    requires: { x: 1 }\n    require:'),
      ),
    message: /policy\.yaml:6:\d+.*requires/,
  },
  {
    what: 'a policy with a syntax error',
    spoil: (folder) => writeFileSync(join(folder, 'policy.yaml'), `${plainPolicy}   - : [\n`),
    message: /policy\.yaml:\d+:\d+/,
  },
  {
    what: 'a policy whose key file is missing',
    spoil: (folder) => rmSync(join(folder, 'k.pub')),
    message: /policy\.yaml:6:\d+.*k\.pub/,
  },
  {
    what: 'a policy whose key file contains no key',
    spoil: (folder) => writeFileSync(join(folder, 'k.pub'), 'no key'),
    message: /policy\.yaml:6:\d+.*k\.pub/,
  },
  {
    what: 'a policy that cannot be read',
    spoil(folder) {
      rmSync(join(folder, 'policy.yaml'));
      mkdirSync(join(folder, 'policy.yaml'));
    },
    message: /policy\.yaml/,
  },
  {
    what: 'a profile that cannot be obtained',
    spoil: (folder) =>
      writeFileSync(
        join(folder, 'profile.yaml'),
        'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: p }\nentitlements: [network.everything]\n',
      ),
    message: /profile\.yaml:4:\d+.*network\.everything/,
  },
];

describe('a daemon that starts without a valid policy', () => {
  let stage: Stage;
  let reference = '';
  before(async () => {
    stage = await openStage({ policy: plainPolicy.replace('require', 'requires') });
    ({ reference } = await stage.publish('app/a:1'));
  });
  after(() => stage.close());

  it('serves, reports the invalid policy, and denies all new requests', async () => {
    const condition = await policyCondition(stage);
    assert.equal(condition.status, false);
    assert.equal(condition.reason, 'NoValidPolicy');
    assert.match(condition.message, /policy\.yaml:6:5/);
    const { status } = await stage.daemon.cri.runtime.status({});
    assert.ok(status?.conditions.filter(({ type }) => type !== 'PolicyReady').every((one) => one.status));
    const { code, kind, failure } = await failureOf(stage.pull(reference));
    assert.equal(code, 'IMAGES_NO_POLICY');
    assert.equal(kind, 'denied');
    assert.equal(failure.prefix, 'SignatureValidationFailed');
    assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
  });

  it('admits images after the policy is corrected and SIGHUP is sent', async () => {
    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
    assert.deepEqual(await policyCondition(stage), {
      type: 'PolicyReady',
      status: true,
      reason: '',
      message: '',
    });
    await expectServing(stage, await stage.pull(reference));
  });

  for (const { what, spoil, message } of broken) {
    it(`keeps the old revision when it reloads ${what}`, async () => {
      const { policy } = stage.folders;
      const kept = `${policy}.kept`;
      renameSync(policy, kept);
      mkdirSync(policy);
      for (const name of ['k.pub', 'policy.yaml'])
        writeFileSync(join(policy, name), readFileSync(join(kept, name)));
      spoil(policy);
      await stage.daemon.reload();
      const condition = await policyCondition(stage);
      assert.equal(condition.status, false);
      assert.equal(condition.reason, 'ReloadFailed');
      assert.match(condition.message, message);
      assert.match(condition.message, / \[(TRUST|ENTITLEMENTS)_\w+\]$/);
      // Images that the old revision admits are still admitted.
      await expectServing(stage, await stage.pull(reference));
      rmSync(policy, { recursive: true });
      renameSync(kept, policy);
      await stage.daemon.reload();
      assert.equal((await policyCondition(stage)).status, true);
    });
  }

  it('takes effect at once: images that the new policy denies are denied, and running pods continue', async () => {
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'narrow');
    const id = await createContainer(stage, pod, { image, reference, command: ['sleep', '600'] });
    stage.writePolicy(plainPolicy.replace('good.test/**', 'other.test/**'));
    await stage.daemon.reload();
    await stage.daemon.cri.runtime.startContainer({ containerId: id });
    assert.equal(
      (await failureOf(createContainer(stage, pod, { image, reference, name: 'second' }))).code,
      'IMAGES_DENIED',
    );
    assert.equal((await failureOf(stage.pull(reference))).code, 'IMAGES_DENIED');
    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
    await removePod(stage, pod);
  });
});

describe('a daemon whose policy does not exist', () => {
  it('serves and denies', async () => {
    const stage = await openStage({ flags: ['--policy', '/nonexistent/policy'] });
    try {
      const condition = await policyCondition(stage);
      assert.equal(condition.status, false);
      assert.match(condition.message, /\/nonexistent\/policy/);
      const { reference } = await stage.publish('app/a:1');
      assert.equal((await failureOf(stage.pull(reference))).code, 'IMAGES_NO_POLICY');
    } finally {
      await stage.close();
    }
  });
});

describe('a policy that changes while the daemon runs', () => {
  let stage: Stage;
  let reference = '';
  before(async () => {
    stage = await openStage({});
    ({ reference } = await stage.publish('app/a:1'));
  });
  after(() => stage.close());

  /** Waits until the condition holds. A policy is loaded automatically once its files stop changing. */
  async function eventually(holds: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + patience;
    while (!(await holds())) {
      assert.ok(performance.now() < until, stage.daemon.log().slice(-2000));
      await pause(50);
    }
  }

  it('is loaded automatically, and takes effect at the next CreateContainer', async () => {
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'by-itself');
    await createContainer(stage, pod, { image, reference, command: ['sleep', '600'] });
    stage.writePolicy(plainPolicy.replace('good.test/**', 'other.test/**'));
    let attempt = 0;
    await eventually(async () => {
      attempt += 1;
      const made = createContainer(stage, pod, { image, reference, name: `c${attempt}` });
      return made.then(
        () => false,
        (thrown: unknown) => isPortcullisError(thrown) && thrown.code === 'IMAGES_DENIED',
      );
    });
    stage.writePolicy(plainPolicy);
    await eventually(() => stage.pull(reference).then(Boolean, () => false));
    await removePod(stage, pod);
  });

  it('keeps the old revision when it is invalid, and loads the corrected one automatically', async () => {
    stage.writePolicy(plainPolicy.replace('require', 'requires'));
    await eventually(async () => (await policyCondition(stage)).reason === 'ReloadFailed');
    await expectServing(stage, await stage.pull(reference));
    stage.writePolicy(plainPolicy);
    await eventually(async () => (await policyCondition(stage)).status);
  });

  it('is loaded automatically when a key that it names changes', async () => {
    const key = join(stage.folders.policy, 'k.pub');
    const kept = readFileSync(key);
    await makeKey(join(stage.folders.folder, 'other.key'), key);
    await eventually(
      async () =>
        (await failureOf(stage.pull(reference)).catch(() => ({ code: '' }))).code === 'IMAGES_DENIED',
    );
    writeFileSync(key, kept);
    await eventually(() => stage.pull(reference).then(Boolean, () => false));
  });

  it('reports what an exception admits in Status, in the log and in the verdict', async () => {
    const { reference: unsigned } = await stage.publish('app/unsigned:1', {}, { sign: false });
    assert.equal((await failureOf(stage.pull(unsigned))).code, 'IMAGES_DENIED');
    const until = new Date(Date.now() + 3_600_000).toISOString();
    stage.writePolicy(`${plainPolicy}    breakGlass: { until: "${until}", reason: CVE-1, by: ops }\n`);
    await stage.daemon.reload();
    await expectServing(stage, await stage.pull(unsigned));
    await stage.daemon.logged(/"kind":"break-glass".*"reason":"CVE-1".*a refusal was overridden/);
    const { info } = await stage.daemon.cri.runtime.status({ verbose: true });
    const { exceptions } = JSON.parse(info['policy'] ?? '{}') as {
      readonly exceptions: readonly { readonly kind: string }[];
    };
    assert.deepEqual(
      exceptions.map(({ kind }) => kind),
      ['break-glass'],
    );
    stage.writePolicy(plainPolicy);
    await stage.daemon.reload();
    assert.equal((await failureOf(stage.pull(unsigned))).code, 'IMAGES_DENIED');
  });
});
