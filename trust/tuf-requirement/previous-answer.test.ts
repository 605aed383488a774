import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileOf } from '../tuf/fixtures/repository.fixture.ts';
import type { SignedReference } from '../evidence/signed-reference.ts';
import { previousAnswer } from './previous-answer.ts';
import { digestOf, image, one, scene, two } from './scene.fixture.ts';
import type { Scene } from './scene.fixture.ts';

const stale = {
  rule: '    onStale: { previouslyAdmitted: { for: 72h } }\n',
  extra: 'root: ROOT, maxAge: 1h',
};

/** Signs `1.0` with these bytes, or removes it. */
function publish({ repository, service }: Scene, bytes: Buffer | undefined): void {
  for (const role of ['timestamp', 'snapshot', 'targets'])
    repository.versions[role] = (repository.versions[role] ?? 1) + 1;
  const tags = bytes === undefined ? {} : { '1.0': fileOf('tuf', bytes) };
  repository.targets['targets'] = { ...tags, '2.0': fileOf('tuf', two) };
  service.publish(image, repository);
}

async function ask(here: Scene, reference = `${image}:1.0`, policy = here.policy): Promise<SignedReference> {
  const signed = await here.services.ask({ policy, reference });
  assert.ok(signed !== undefined);
  return signed;
}

test('a service is down: its answer from the admission of the image remains in force', () =>
  scene('tuf', stale, async (here) => {
    const before = await here.gather(`${image}:1.0`);
    await here.service.close();
    const signed = previousAnswer(await ask(here), before);
    assert.deepEqual([signed.digest, signed.items], [digestOf(one), before.items]);
  }));

for (const [what, bytes] of [
  ['removed the name', undefined],
  ['named another image', two],
] as const)
  test(`a service that has since ${what}, and is down: its earlier answer does not count again`, () =>
    scene('tuf', stale, async (here) => {
      const before = await here.gather(`${image}:1.0`);
      publish(here, bytes);
      // The pull of another image fetches the newer metadata.
      assert.equal((await ask(here, `${image}:2.0`)).digest, digestOf(two));
      await here.service.close();
      const signed = await ask(here);
      assert.equal(previousAnswer(signed, before), signed);
      assert.equal(signed.digest, bytes === undefined ? undefined : digestOf(bytes));
    }));

test('one of two services is down: the current answer of the other one counts', () =>
  scene('tuf', stale, (here) =>
    scene('tuf', stale, async (other) => {
      const policy = { ...here.policy, rules: [...here.policy.rules, ...other.policy.rules] };
      const { digest = '', items } = await ask(here, undefined, policy);
      const before = { ...(await here.gather(`${image}:1.0`)), digest, items };
      await other.service.close();
      const exists = previousAnswer(await ask(here, undefined, policy), before);
      assert.equal(exists.digest, digestOf(one));
      assert.ok(exists.items.every(({ annotations }) => annotations['refused'] === undefined));
      publish(here, undefined);
      const signed = await ask(here, undefined, policy);
      assert.equal(previousAnswer(signed, before), signed);
      here.service.files.clear();
      const refused = await ask(here, undefined, policy);
      assert.equal(previousAnswer(refused, before), refused);
    }),
  ));
