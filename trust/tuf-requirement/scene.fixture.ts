import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sealDossier } from '../evidence/dossier.ts';
import { loadPolicy } from '../policy/load.ts';
import type { Dossier, Reason, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { decide } from '../verdict/decide.ts';
import { fileOf, testRepository } from '../tuf/fixtures/repository.fixture.ts';
import type { TestRepository } from '../tuf/fixtures/repository.fixture.ts';
import { testService } from '../tuf/fixtures/served-repository.fixture.ts';
import type { TestService } from '../tuf/fixtures/served-repository.fixture.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { askServices } from './ask-services.ts';
import { openRepositoriesIn } from './repositories.ts';
import { createTrustServices } from './trust-services.ts';
import type { TrustServices, TrustServicesOptions } from './trust-services.ts';

const home = mkdtempSync(join(tmpdir(), 'tuf-requirement-'));
process.once('exit', () => rmSync(home, { recursive: true }));

export const image = 'r.example/app';
/** Two manifests, as far as a tag service is concerned. */
export const [one, two] = [Buffer.from('{"one":1}'), Buffer.from('{"two":2}')];
export const digestOf = (bytes: Buffer): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
let count = 0;

/**
 * An image, a service that signs its tags `1.0` and `2.0`, a policy that requires the service, and a client.
 */
export interface Scene {
  readonly service: TestService;
  readonly repository: TestRepository;
  readonly policy: TrustPolicy;
  /** The folder of the stored metadata. */
  readonly folder: string;
  services: TrustServices;
  /** Another instance that stores metadata in the same folder. */
  readonly other: TrustServices;
  /** Closes and opens the services again, as a restart does. */
  reopen(): Promise<void>;
  /** Returns the evidence of a pull at this time. Default image: the one that was signed. */
  gather(reference: string, digest?: string): Promise<Dossier>;
  decide(dossier: Dossier, now?: Date, reference?: string): Verdict;
  judge(reference: string, digest?: string): Promise<Verdict>;
}

export interface SceneOptions {
  /** Additional fields of the requirement, in place of `root: ROOT`. */
  readonly extra?: string;
  /** Additional lines of the rule. */
  readonly rule?: string;
  readonly services?: Partial<TrustServicesOptions>;
  /** Asks as the daemon does; otherwise without the cost of a Worker. */
  readonly inWorker?: true;
  /** Changes the repository before the first publish. */
  readonly prepare?: (repository: TestRepository) => void;
}

export async function scene(
  dialect: Dialect,
  options: SceneOptions,
  body: (scene: Scene) => Promise<void>,
): Promise<void> {
  const { extra = 'root: ROOT', rule = '', prepare } = options;
  const service = await testService();
  const repository = testRepository(dialect);
  repository.targets['targets'] = { '1.0': fileOf(dialect, one), '2.0': fileOf(dialect, two) };
  prepare?.(repository);
  const { root } = service.publish(image, repository);
  const folder = join(home, String((count += 1)));
  await writeFile(`${folder}.root.json`, root ?? '');
  const tuf = `{ service: '${service.url}', dialect: ${dialect}, ${extra.replace('ROOT', `${folder}.root.json`)} }`;
  await writeFile(
    `${folder}.yaml`,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ['${image}']\n    require: { tuf: ${tuf} }\n${rule}`,
  );
  const { policy } = await loadPolicy({ paths: [`${folder}.yaml`] });
  const opened = { folder, sharedMs: 0, deadlineMs: 20_000, ...options.services };
  const open = (): TrustServices =>
    options.inWorker === true ? createTrustServices(opened) : inProcess(opened);
  const made: Scene = {
    service,
    repository,
    policy,
    folder,
    services: open(),
    other: inProcess(opened),
    async reopen() {
      await made.services.close();
      made.services = open();
    },
    async gather(reference, digest) {
      const signed = await made.services.ask({ policy, reference });
      const named = digest ?? signed?.digest ?? digestOf(one);
      const gatheredAt = new Date().toISOString();
      return sealDossier({
        reference,
        digest: named,
        manifestDigest: named,
        items: signed?.items ?? [],
        unreachable: [],
        gatheredAt,
      });
    },
    decide: (dossier, now = new Date(), reference = dossier.reference) =>
      decide({
        dossier,
        reference,
        namespace: '',
        platform: { os: 'linux', architecture: 'amd64' },
        policy,
        now,
      }),
    judge: async (reference, digest) => made.decide(await made.gather(reference, digest)),
  };
  try {
    await body(made);
  } finally {
    await made.services.close();
    await service.close();
  }
}

function inProcess(options: TrustServicesOptions): TrustServices {
  const repositories = openRepositoriesIn(options);
  return { ask: (input) => askServices(repositories.ask, input), close: () => Promise.resolve() };
}

const reasonsOf = (reason: Reason): Reason[] => [reason, ...(reason.children ?? []).flatMap(reasonsOf)];

/** Asserts the verdict's outcome, and that one of its reasons has this code and this text. */
export function says(verdict: Verdict, outcome: string, code: string, sentence = /./u): void {
  const all = reasonsOf(verdict.reasons);
  const found = all.find((reason) => reason.code === code);
  assert.deepEqual([verdict.outcome, found?.code], [outcome, code], JSON.stringify(verdict.reasons, null, 1));
  assert.match(found?.text ?? '', sentence);
}
