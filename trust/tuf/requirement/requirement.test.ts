import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { sealDossier } from '../../evidence/dossier.ts';
import { loadPolicy } from '../../policy/load.ts';
import type { Reason, TrustPolicy, Verdict } from '../../types.ts';
import { decide } from '../../verdict/decide.ts';
import { fileOf, testRepository } from '../fixtures/repository.fixture.ts';
import type { TestRepository } from '../fixtures/repository.fixture.ts';
import { testService } from '../fixtures/served-repository.fixture.ts';
import type { TestService } from '../fixtures/served-repository.fixture.ts';
import type { Dialect } from '../metadata/model.ts';
import { createTrustServices } from './trust-services.ts';
import type { TrustServices } from './trust-services.ts';

const home = await mkdtemp(join(tmpdir(), 'tuf-requirement-'));
after(() => rm(home, { recursive: true }));

const image = 'r.example/app';
const [one, two] = [Buffer.from('{"one":1}'), Buffer.from('{"two":2}')];
const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
let count = 0;

interface Scene {
  readonly service: TestService;
  readonly repository: TestRepository;
  readonly policy: TrustPolicy;
  readonly services: TrustServices;
  /** Asks and decides, as a pull does: the image is the one that was signed unless told. */
  judge(reference: string, digest?: string, now?: Date): Promise<Verdict>;
}

async function scene(dialect: Dialect, extra: string, body: (scene: Scene) => Promise<void>, rule = ''): Promise<void> {
  const service = await testService();
  const repository = testRepository(dialect);
  repository.targets['targets'] = { '1.0': fileOf(dialect, one), '2.0': fileOf(dialect, two) };
  const { root } = service.publish(image, repository);
  const folder = join(home, String((count += 1)));
  await rm(folder, { recursive: true, force: true });
  const root1 = `${folder}.root.json`;
  await writeFile(root1, root ?? '');
  await writeFile(
    `${folder}.yaml`,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ['${image}']\n    require:\n      tuf: { service: '${service.url}', dialect: ${dialect}, ${extra === '' ? `root: ${root1}` : extra.replace('ROOT', root1)} }\n${rule}`,
  );
  const { policy } = await loadPolicy({ paths: [`${folder}.yaml`] });
  const services = createTrustServices({ folder });
  try {
    await body({
      service,
      repository,
      policy,
      services,
      async judge(reference, digest, now = new Date()) {
        const signed = await services.ask({ policy, reference });
        const named = digest ?? signed?.digest ?? digestOf(one);
        const dossier = sealDossier({
          reference,
          digest: named,
          manifestDigest: named,
          items: signed?.items ?? [],
          unreachable: [],
          gatheredAt: now.toISOString(),
        });
        return decide({ dossier, reference, namespace: '', platform: { os: 'linux', architecture: 'amd64' }, policy, now });
      },
    });
  } finally {
    await services.close();
    await service.close();
  }
}

const codes = ({ code, children = [] }: Reason): string[] => [...(code === undefined ? [] : [code]), ...children.flatMap(codes)];

const says = (verdict: Verdict, outcome: string, code: string): void =>
  assert.deepEqual(
    [verdict.outcome, codes(verdict.reasons).includes(code)],
    [outcome, true],
    `${code}: ${JSON.stringify(verdict.reasons, null, 1)}`,
  );

for (const dialect of ['tuf', 'notary'] as const) {
  void suite(`${dialect}:`, () => {
    test('a tag means the digest that is signed, and no other', () =>
      scene(dialect, '', async ({ judge, services, policy }) => {
        const signed = await services.ask({ policy, reference: `${image}:2.0` });
        assert.equal(signed?.digest, digestOf(two));
        says(await judge(`${image}:1.0`), 'admit', 'TRUST_TUF_SIGNED');
        says(await judge(`${image}:1.0`, digestOf(two)), 'deny', 'TRUST_TUF_OTHER_DIGEST');
        says(await judge(`${image}:3.0`), 'deny', 'TRUST_TUF_NO_TARGET');
        says(await judge(`${image}@${digestOf(two)}`, digestOf(two)), 'admit', 'TRUST_TUF_SIGNED');
        says(await judge(`${image}@sha256:${'a'.repeat(64)}`, `sha256:${'a'.repeat(64)}`), 'deny', 'TRUST_TUF_NO_TARGET');
      }));
  });
}
