import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fileOf } from '../tuf/fixtures/repository.fixture.ts';
import type { Verdict } from '../findings/types.ts';
import { attacks } from './attacks.fixture.ts';
import { raise, serveGood } from './attacked-repository.fixture.ts';
import { digestOf, image, one, says, scene, two } from './scene.fixture.ts';

/** Each attack is refused for its own reason, and a good refresh works afterwards. */
const everyRole = ['timestamp', 'snapshot', 'targets'];

for (const dialect of ['tuf', 'notary'] as const) {
  void suite(`${dialect}: refused,`, () => {
    for (const attack of attacks) {
      if (attack.dialects?.includes(dialect) === false) continue;
      test(attack.name, () =>
        scene(dialect, attack.prepare === undefined ? {} : { prepare: attack.prepare }, async (scene) => {
          const { service, repository } = scene;
          const ask = (): Promise<Verdict> => scene.judge(`${image}:1.0`);
          const believe = async (): Promise<void> => says(await ask(), 'admit', 'TRUST_TUF_SIGNED');
          const here = { image, service, repository, believe, ask };
          says(await scene.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
          const good = new Map(service.files);
          await attack.act(here);
          says(await scene.judge(`${image}:1.0`), 'deny', attack.code, attack.says);
          serveGood(here, attack, good);
          says(await scene.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
        }),
      );
    }

    test('slow data: an answer after the deadline does not count', () =>
      scene(dialect, { services: { deadlineMs: 3000 } }, async ({ service, judge }) => {
        service.answer = (path, response) => {
          if (!path.endsWith('/timestamp.json')) return false;
          response.writeHead(200);
          const more = setInterval(() => response.write(' '), 50);
          response.on('close', () => clearInterval(more));
          return true;
        };
        says(await judge(`${image}:1.0`), 'undecided', 'TRUST_TUF_TOO_SLOW');
        service.answer = () => false;
        says(await judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
      }));

    test('a rollback after a restart', () =>
      scene(dialect, {}, async (here) => {
        const { repository, service } = here;
        const old = new Map(service.files);
        raise(repository, ...everyRole);
        repository.targets['targets'] = { '1.0': fileOf(dialect, two) };
        service.publish(image, repository);
        assert.equal((await here.gather(`${image}:1.0`)).digest, digestOf(two));
        await here.reopen();
        for (const [path, bytes] of old) service.files.set(path, bytes);
        says(await here.judge(`${image}:1.0`), 'deny', 'TRUST_TUF_ROLLBACK');
      }));

    test('an older image under the current tag', () =>
      scene(dialect, {}, async (here) => {
        const { repository, service } = here;
        const before = await here.gather(`${image}:1.0`);
        assert.equal(before.digest, digestOf(one));
        raise(repository, ...everyRole);
        repository.targets['targets'] = { '1.0': fileOf(dialect, two) };
        service.publish(image, repository);
        says(await here.judge(`${image}:1.0`, digestOf(one)), 'deny', 'TRUST_TUF_OTHER_DIGEST');
        says(await here.judge(`${image}@${digestOf(one)}`, digestOf(one)), 'deny', 'TRUST_TUF_NO_TARGET');
        says(await here.judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
      }));
  });
}
