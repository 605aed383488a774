import assert from 'node:assert/strict';
import { globSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite, test } from 'node:test';
import { dossierId } from '../evidence/dossier.ts';
import { fileOf, testKey } from '../tuf/fixtures/repository.fixture.ts';
import { digestOf, image, one, says, scene, two } from './scene.fixture.ts';

const hours = (count: number): Date => new Date(Date.now() + count * 3_600_000);

for (const dialect of ['tuf', 'notary'] as const) {
  void suite(`${dialect}:`, () => {
    test('a tag means the digest that is signed, and no other', () =>
      scene(dialect, { inWorker: true }, async ({ judge, services, policy }) => {
        assert.equal((await services.ask({ policy, reference: `${image}:2.0` }))?.digest, digestOf(two));
        says(await judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED', /"1\.0" is signed as sha256:/u);
        says(
          await judge(`${image}:1.0`, digestOf(two)),
          'deny',
          'TRUST_TUF_OTHER_DIGEST',
          /but this image is/u,
        );
        says(
          await judge(`${image}:3.0`),
          'deny',
          'TRUST_TUF_NO_TARGET',
          /no authorised role has signed "3\.0"/u,
        );
        says(await judge(`${image}@${digestOf(two)}`, digestOf(two)), 'admit', 'TRUST_TUF_SIGNED');
        const stray = `sha256:${'a'.repeat(64)}`;
        says(
          await judge(`${image}@${stray}`, stray),
          'deny',
          'TRUST_TUF_NO_TARGET',
          /that is signed now has the digest/u,
        );
        says(await judge(`${image}:1.0@${digestOf(two)}`, digestOf(two)), 'deny', 'TRUST_TUF_OTHER_DIGEST');
      }));

    test('a dossier suffices for a decision, also by digest, until it expires; an altered dossier does not', () =>
      scene(dialect, { extra: 'root: ROOT, maxAge: 24h' }, async ({ gather, decide, service }) => {
        const dossier = await gather(`${image}:1.0`);
        await service.close();
        says(decide(dossier), 'admit', 'TRUST_TUF_SIGNED');
        says(decide(dossier, hours(1), `${image}@${digestOf(one)}`), 'admit', 'TRUST_TUF_SIGNED');
        const { validUntil } = decide(dossier);
        assert.ok(Math.abs(Date.parse(validUntil ?? '') - hours(24).getTime()) < 60_000);
        says(decide(dossier, hours(25)), 'undecided', 'TRUST_TUF_STALE', /asked within 86400 s/u);
        const items = dossier.items.map((item) =>
          item.annotations['file'] === 'targets'
            ? { ...item, bytes: Buffer.from('{}').toString('base64') }
            : item,
        );
        const altered = { ...dossier, items };
        says(decide(altered), 'deny', 'TRUST_DOSSIER_ALTERED');
        says(decide({ ...altered, id: dossierId(altered) }), 'deny', 'TRUST_EVIDENCE_ALTERED', /targets/u);
        const later = dossier.items.map((item) => ({
          ...item,
          annotations: { ...item.annotations, checkedAt: hours(9).toISOString() },
        }));
        says(
          decide({ ...dossier, items: later, id: dossierId({ ...dossier, items: later }) }),
          'undecided',
          'TRUST_TIME_FUTURE',
        );
      }));

    test('without the service, its last answer remains in force for as long as the policy allows, across a restart', () =>
      scene(dialect, { extra: 'root: ROOT, maxAge: 1h' }, async (here) => {
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
        await here.service.close();
        await here.reopen();
        const kept = await here.gather(`${image}:2.0`);
        assert.equal(kept.digest, digestOf(two));
        says(here.decide(kept), 'admit', 'TRUST_TUF_SIGNED');
        says(here.decide(kept), 'admit', 'TRUST_TUF_UNREACHABLE', /could not be reached/u);
        says(here.decide(kept, hours(2)), 'undecided', 'TRUST_TUF_STALE');
      }));

    test('onStale applies to admitted images only', () =>
      scene(
        dialect,
        { extra: 'root: ROOT, maxAge: 1h', rule: '    onStale: { previouslyAdmitted: { for: 72h } }\n' },
        async (here) => {
          const before = await here.gather(`${image}:1.0`);
          says(
            here.decide(before, hours(72)),
            'admit',
            'TRUST_TUF_STALE_ADMITTED',
            /admitted images stay admitted until/u,
          );
          says(here.decide(before, hours(74)), 'undecided', 'TRUST_TUF_STALE');
          await here.service.close();
          const during = await here.gather(`${image}:2.0`);
          says(here.decide(during, hours(2)), 'undecided', 'TRUST_TUF_STALE');
        },
      ));

    test('an image without any signed metadata is undecided', () =>
      scene(dialect, {}, async (here) => {
        await here.service.close();
        says(await here.judge(`${image}:1.0`), 'undecided', 'TRUST_TUF_UNREACHABLE');
      }));

    test('one refresh serves all callers that ask at the same time', () =>
      scene(dialect, { services: { sharedMs: 5000 } }, async ({ judge, service }) => {
        const verdicts = await Promise.all(
          Array.from({ length: 20 }, (_, index) => judge(`${image}:${(index % 2) + 1}.0`)),
        );
        assert.ok(verdicts.every(({ outcome }) => outcome === 'admit'));
        assert.equal(service.asked.filter((path) => path.endsWith('/timestamp.json')).length, 1);
      }));

    test('trust on first use is recorded, and applies from then on', () =>
      scene(dialect, { extra: 'trustOnFirstUse: true' }, async (here) => {
        says(
          await here.judge(`${image}:1.0`),
          'admit',
          'TRUST_TUF_SIGNED',
          /trusted on first use, since \d{4}-/u,
        );
        await here.reopen();
        const { testRepository } = await import('../tuf/fixtures/repository.fixture.ts');
        here.service.publish(image, testRepository(dialect));
        says(await here.judge(`${image}:1.0`), 'deny', 'TRUST_TUF_UNSIGNED');
      }));
  });
}

const lostRoots: readonly [what: string, damage: (folder: string) => void][] = [
  ['alone', () => undefined],
  ['with the record', (folder) => rmSync(join(folder, 'record.json'))],
  ['with the content of the record', (folder) => writeFileSync(join(folder, 'record.json'), 'null')],
  [
    'with all other metadata',
    (folder) => {
      for (const name of readdirSync(folder)) if (name !== 'record.json') rmSync(join(folder, name));
    },
  ],
];

for (const [what, damage] of lostRoots)
  test(`a root that was trusted on first use and is lost ${what} is not replaced silently`, () =>
    scene('tuf', { extra: 'trustOnFirstUse: true' }, async (here) => {
      says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
      const [kept = ''] = globSync(join(here.folder, '**/first.root.json'));
      rmSync(kept);
      damage(dirname(kept));
      await here.reopen();
      says(await here.judge(`${image}:1.0`), 'deny', 'TRUST_TUF_ROOT_LOST', /trusted on first use at /u);
    }));

test('a first use that did not end is repeated', () =>
  scene('tuf', { extra: 'trustOnFirstUse: true' }, async (here) => {
    says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
    const folder = dirname(globSync(join(here.folder, '**/first.root.json'))[0] ?? '');
    const { checkedAt: _, ...started } = JSON.parse(
      readFileSync(join(folder, 'record.json'), 'utf8'),
    ) as Record<string, unknown>;
    for (const name of readdirSync(folder)) rmSync(join(folder, name));
    writeFileSync(join(folder, 'record.json'), JSON.stringify(started));
    await here.reopen();
    says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
  }));

test('a root applies only to the images that the policy names', () =>
  scene('tuf', { extra: `root: { 'r.example/other': ROOT }` }, async ({ judge }) => {
    says(await judge(`${image}:1.0`), 'deny', 'TRUST_TUF_NO_ROOT', /names no root for r\.example\/app/u);
  }));

for (const name of ['record', 'first.root', '2.root', '@2.root', 'x'.repeat(300)])
  test(`a delegate whose role is called ${name.slice(0, 10)} does not affect other roles`, () => {
    const key = testKey('tuf');
    return scene(
      'tuf',
      {
        extra: 'trustOnFirstUse: true',
        prepare(repository) {
          const role = { name, keyids: [key.id], threshold: 1, terminating: false, paths: ['dev-*'] };
          repository.delegations['targets'] = { keys: { [key.id]: key.entry }, roles: [role] };
          repository.targets[name] = { 'dev-1': fileOf('tuf', two) };
          repository.delegated[name] = [key];
        },
      },
      async (here) => {
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED', /trusted on first use, since/u);
        await here.judge(`${image}:dev-1`);
        await here.judge(`${image}@${digestOf(two)}`, digestOf(two));
        await here.reopen();
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED', /trusted on first use, since/u);
        await here.service.close();
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED', /trusted on first use, since/u);
      },
    );
  });

for (const fault of ['expired', 'unsigned', 'gone'] as const)
  test(`a delegate whose metadata is ${fault} does not prevent other images from being found by digest`, () => {
    const key = testKey('tuf');
    return scene(
      'tuf',
      {
        prepare(repository) {
          const role = { name: 'dev', keyids: [key.id], threshold: 1, terminating: false, paths: ['dev-*'] };
          repository.delegations['targets'] = { keys: { [key.id]: key.entry }, roles: [role] };
          repository.targets['dev'] = { 'dev-1': fileOf('tuf', two) };
          repository.delegated['dev'] = fault === 'unsigned' ? [testKey('tuf')] : [key];
          if (fault === 'expired') repository.expires['dev'] = '2020-01-01T00:00:00Z';
        },
      },
      async ({ judge, service }) => {
        if (fault === 'gone')
          for (const path of service.files.keys()) if (path.endsWith('.dev.json')) service.files.delete(path);
        const code = {
          expired: 'TRUST_TUF_EXPIRED',
          unsigned: 'TRUST_TUF_UNSIGNED',
          gone: 'TRUST_TUF_MISSING',
        }[fault];
        says(await judge(`${image}:dev-1`, digestOf(two)), 'deny', code);
        says(await judge(`${image}@${digestOf(one)}`, digestOf(one)), 'admit', 'TRUST_TUF_SIGNED');
        const stray = `sha256:${'a'.repeat(64)}`;
        says(await judge(`${image}@${stray}`, stray), 'deny', 'TRUST_TUF_NO_TARGET');
      },
    );
  });

test('two processes that share a folder never overwrite newer trusted metadata with older metadata', () =>
  scene('tuf', {}, async (here) => {
    const { service, repository, services, policy, other } = here;
    const reference = `${image}:1.0`;
    const raise = (): void => {
      for (const role of ['timestamp', 'snapshot'])
        repository.versions[role] = (repository.versions[role] ?? 1) + 1;
      service.publish(image, repository);
    };
    raise();
    const before = new Map(service.files);
    const [newer, asksNewer, asksOlder] = [
      Promise.withResolvers<unknown>(),
      Promise.withResolvers(),
      Promise.withResolvers(),
    ];
    // A caller that waits for the other refresh sends no request meanwhile.
    const orWaits = (event: Promise<unknown>): Promise<unknown> =>
      Promise.race([event, new Promise((resolve) => setTimeout(resolve, 500))]);
    let first = true;
    service.answer = (path, response) => {
      const later = (event: Promise<unknown>, bytes: Buffer | undefined): true => {
        void orWaits(event).then(() => response.writeHead(200).end(bytes));
        return true;
      };
      if (path.endsWith('/timestamp.json') && first) {
        first = false;
        raise();
        newer.resolve(other.ask({ policy, reference }));
        return later(asksNewer.promise, before.get(path));
      }
      if (path.endsWith('/3.snapshot.json')) {
        asksNewer.resolve(true);
        return later(asksOlder.promise, service.files.get(path));
      }
      if (!path.endsWith('/2.snapshot.json')) return false;
      asksOlder.resolve(true);
      return later(newer.promise, before.get(path));
    };
    await services.ask({ policy, reference });
    await newer.promise;
    service.answer = () => false;
    for (const [path, bytes] of before) service.files.set(path, bytes);
    says(await here.judge(reference), 'deny', 'TRUST_TUF_ROLLBACK');
  }));
