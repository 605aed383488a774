import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileOf, testRepository } from '../../trust/tuf/fixtures/repository.fixture.ts';
import type { TestRepository } from '../../trust/tuf/fixtures/repository.fixture.ts';
import { testService } from '../../trust/tuf/fixtures/served-repository.fixture.ts';
import type { TestService } from '../../trust/tuf/fixtures/served-repository.fixture.ts';
import { attacks } from '../../trust/tuf-requirement/attacks.fixture.ts';
import { serveGood } from '../../trust/tuf-requirement/attacked-repository.fixture.ts';
import type { Attack, AttackedImage } from '../../trust/tuf-requirement/attacked-repository.fixture.ts';
import type { Dialect } from '../../trust/tuf-metadata/model.ts';
import { failureOf, openStage, plainPolicy, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { isWide } from '../fixtures/width.ts';

/** One refresh serves all requests within two seconds. */
const refreshed = (): Promise<void> => pause(2100);

interface Case {
  readonly attack: Attack;
  readonly dialect: Dialect;
  readonly name: string;
  readonly service: TestService;
  readonly repository: TestRepository;
}

const dialectsOf = ({ dialects = ['tuf', 'notary'] }: Attack, index: number): readonly Dialect[] =>
  isWide ? dialects : [dialects[index % dialects.length] ?? 'tuf'];

/**
 * The attacks of trust/tuf-requirement on a daemon: each pull is refused for its specific reason, and a valid
 * pull succeeds afterwards. Complete run: PORTCULLIS_WIDE=1.
 */
describe('PullImage with hostile servers of metadata', { concurrency: 16 }, () => {
  let stage: Stage;
  const cases = new Map<string, Case>();

  before(async () => {
    stage = await openStage({ policy: plainPolicy });
    mkdirSync(stage.folders.policy, { recursive: true });
    const rules: string[] = [];
    for (const [key, { attack, dialect, name }] of planned) {
      const { image } = await stage.publish(`${name}:1.0`, {}, { sign: false });
      const [service, repository] = [await testService(), testRepository(dialect)];
      repository.targets['targets'] = { '1.0': fileOf(dialect, Buffer.from(image.manifest)) };
      attack.prepare?.(repository);
      const { root } = service.publish(`${registryName}/${name}`, repository);
      const file = `.${name.replace('/', '-')}-root.json`;
      writeFileSync(join(stage.folders.policy, file), root ?? '');
      const tuf = `{ service: "${service.url}", dialect: ${dialect}, root: ${file} }`;
      rules.push(`  - images: ["${registryName}/${name}"]\n    require: { tuf: ${tuf} }\n`);
      cases.set(key, { attack, dialect, name, service, repository });
    }
    stage.writePolicy(policyOf(rules.join('')));
    await stage.daemon.reload();
  });
  after(async () => {
    for (const { service } of cases.values()) await service.close();
    await stage.close();
  });

  const planned = new Map(
    attacks.flatMap((attack, index) =>
      dialectsOf(attack, index).map((dialect): [string, Pick<Case, 'attack' | 'dialect' | 'name'>] => [
        `${attack.name} (${dialect})`,
        { attack, dialect, name: `attacked/${dialect}-${index}` },
      ]),
    ),
  );
  for (const title of planned.keys())
    it(title, async () => {
      const found = cases.get(title);
      assert.ok(found);
      const { attack, name, service, repository } = found;
      const reference = `${registryName}/${name}:1.0`;
      const pull = async (): Promise<unknown> => {
        const pulled = await stage.pull(reference);
        await refreshed();
        return pulled;
      };
      const here: AttackedImage = {
        image: `${registryName}/${name}`,
        service,
        repository,
        believe: pull,
        ask: () => pull().catch((error: unknown) => error),
      };
      await pull();
      const good = new Map(service.files);
      await attack.act(here);
      const failure = await failureOf(stage.pull(reference));
      assert.equal(failure.code, 'IMAGES_DENIED', failure.message);
      // The line of the reasons about TUF.
      assert.match(failure.message, new RegExp(attack.says.source.replace(/^\^/u, '^ *- '), 'mu'));
      assert.match(JSON.stringify(failure.failure.details), new RegExp(attack.code, 'u'));
      serveGood(here, attack, good);
      await refreshed();
      await stage.pull(reference);
    });
});
