import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sealDossier } from '../evidence/dossier.ts';
import { renewEvidence } from '../gathering/renew.ts';
import type { Dossier } from '../findings/types.ts';
import { decide } from '../verdict/decide.ts';
import { fileOf } from '../tuf/fixtures/repository.fixture.ts';
import { image, says, scene, two } from './scene.fixture.ts';
import type { Scene } from './scene.fixture.ts';

const reference = `${image}:1.0`;
const inDays = (count: number): string =>
  new Date(Date.now() + count * 86_400_000).toISOString().replace(/\.\d+Z$/u, 'Z');

function renew({ policy, services }: Scene, dossier: Dossier): Promise<Dossier | undefined> {
  return renewEvidence({ dossier, references: [reference], policy, services, now: new Date() });
}

/** Removes the name; the new metadata expires sooner than the old. */
function revoke({ repository, service }: Scene): void {
  for (const role of ['timestamp', 'snapshot', 'targets'])
    repository.versions[role] = (repository.versions[role] ?? 1) + 1;
  repository.expires['timestamp'] = inDays(1);
  repository.targets['targets'] = { '2.0': fileOf(repository.dialect, two) };
  service.publish(image, repository);
}

for (const dialect of ['tuf', 'notary'] as const) {
  test(`${dialect}: a name that a service removes is refused after the next renewal, although the new metadata expires sooner`, () =>
    scene(dialect, {}, async (here) => {
      const before = await here.gather(reference);
      says(here.decide(before), 'admit', 'TRUST_TUF_SIGNED');
      assert.equal(await renew(here, before), undefined, 'nothing is new');
      revoke(here);
      const after = await renew(here, before);
      assert.ok(after !== undefined);
      says(here.decide(after), 'deny', 'TRUST_TUF_NO_TARGET');
    }));

  test(`${dialect}: a service that is silent, or gives a wrong answer, revokes nothing`, () =>
    scene(dialect, {}, async (here) => {
      const before = await here.gather(reference);
      const good = new Map(here.service.files);
      for (const [path, bytes] of good)
        if (path.endsWith('timestamp.json'))
          here.service.files.set(
            path,
            Buffer.from(bytes.toString('latin1').replace('2040', '2041'), 'latin1'),
          );
      assert.equal(await renew(here, before), undefined);
      await here.service.close();
      assert.equal(await renew(here, before), undefined);
      says(here.decide(before), 'admit', 'TRUST_TUF_SIGNED');
    }));
}

test('one of two services is silent: the current answer of the other counts, and the grace period of the silent one is kept', () => {
  const stale = {
    extra: 'root: ROOT, maxAge: 1h',
    rule: '    onStale: { previouslyAdmitted: { for: 72h } }\n',
  };
  return scene('tuf', stale, (here) =>
    scene('tuf', stale, async (other) => {
      const policy = { ...here.policy, rules: [...here.policy.rules, ...other.policy.rules] };
      const both = { ...here, policy };
      const { digest = '', items = [] } = (await here.services.ask({ policy, reference })) ?? {};
      const gatheredAt = new Date().toISOString();
      const before = sealDossier({
        reference,
        digest,
        manifestDigest: digest,
        items,
        unreachable: [],
        gatheredAt,
      });
      await other.service.close();
      for (const role of ['timestamp', 'snapshot']) here.repository.versions[role] = 2;
      here.service.publish(image, here.repository);
      const after = await renew(both, before);
      assert.ok(after !== undefined);
      assert.ok(after.items.every(({ annotations }) => annotations['refused'] === undefined));
      const platform = { os: 'linux', architecture: 'amd64' };
      const verdict = decide({
        dossier: after,
        reference,
        namespace: '',
        platform,
        policy,
        now: new Date(Date.now() + 2 * 3_600_000),
      });
      says(verdict, 'admit', 'TRUST_TUF_STALE_ADMITTED');
    }),
  );
});
