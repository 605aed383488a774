import { formatReference } from '../../base/distribution/index.ts';
import type { RegistryClient, RegistryClientOptions } from '../../base/distribution/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { createNegativeCache } from '../../trust/evidence/index.ts';
import { createTrustServices, hostPlatform } from '../../trust/index.ts';
import type { Dossier, TrustPolicy } from '../../trust/index.ts';
import type { VerdictLog } from '../../trust/verdict-log/index.ts';
import { imageIdOf } from '../images/artifact-layer.ts';
import { createDecisions } from '../images/decisions.ts';
import { decideForRun, foresee, judge } from '../images/decide-for-run.ts';
import { findImage } from '../images/find-image.ts';
import { namesOf, tryImageName } from '../images/image-name.ts';
import { defaultLimits } from '../images/index.ts';
import { artifactConfig } from '../images/manifest/artifact-manifest.ts';
import { verifyReference } from '../images/pull.ts';
import type { Verified } from '../images/pull.ts';
import { openImageRecords } from '../images/records.ts';
import { createSharedDocuments } from '../images/shared-documents.ts';
import { createSharedFlight } from '../images/shared-flight.ts';
import type { ImageRecord, ImageStore, PullRequest } from '../images/types.ts';
import { refuseCheckpoint } from './checkpoint-images.ts';
import { createFairTurns } from './fair-turns.ts';

/**
 * The images of the backend that were admitted here: which digest and which id each name means, and the
 * evidence. The content is the backend's.
 */
export interface ProxyImages extends Pick<
  ImageStore,
  'list' | 'find' | 'decideForRun' | 'foresee' | 'judge'
> {
  /**
   * Resolves a reference, gathers evidence and decides, as a pull does. @throws as a pull of the image store;
   * PROXY_NO_VERDICT
   */
  verify(request: PullRequest): Promise<Verified>;
  /** Records an admitted reference with its verdict and its evidence; durable when it resolves. */
  record(verified: Verified): Promise<ImageRecord>;
  /** Removes what is known of an image. Unknown: success. */
  forget(id: string): Promise<void>;
  /** Returns `repository@digest` for a recorded name; undefined for an id and for any other name. */
  byDigest(name: string): string | undefined;
  /** Returns the id of the image that a name means; undefined for an unknown name. */
  ownerOf(name: string): string | undefined;
  /** Ends what runs on other threads. */
  close(): Promise<void>;
}

export interface ProxyImagesDeps {
  readonly root: string;
  readonly database: Database;
  readonly policy: () => TrustPolicy | undefined;
  /** Why the source of the policy has none; undefined: its files are wrong. */
  readonly lacking: () => string | undefined;
  readonly verdictLog: Pick<VerdictLog, 'statements'>;
  readonly registries: Pick<RegistryClient, 'repositories'>;
  readonly registryOptions: RegistryClientOptions;
  readonly log: Pick<Logger, 'error'>;
}

/**
 * Verifications at a time: each may hold evidence of some megabytes. Others wait for their turn. Whoever may
 * create pods in a namespace may name images of a registry that does not answer: these take the turns of this
 * namespace only.
 */
const [verificationsAtATime, verificationsOfNamespace] = [16, 4];

/** @throws the errors of the database */
export async function openProxyImages(deps: ProxyImagesDeps): Promise<ProxyImages> {
  const { root, database, policy, lacking, verdictLog, registries, registryOptions } = deps;
  const now = (): Date => new Date();
  const platform = hostPlatform();
  const records = await openImageRecords(database, deps.log);
  const judging = (): Parameters<typeof judge>[0] => ({ records, decisions, platform, database });
  const decisions = createDecisions({ root, policy, lacking, now, log: verdictLog, database });
  const services = createTrustServices({ folder: `${root}/trust-services`, registries: registryOptions });
  const turns = createFairTurns(verificationsAtATime, verificationsOfNamespace);
  const verifying = {
    ...{ platform, limits: defaultLimits, decisions, registryClient: registries, now, records, services },
    gathering: createSharedFlight<Dossier>(),
    documents: createSharedDocuments(),
    negativeCache: createNegativeCache(),
  };
  return {
    list: () => records.list().map(({ record }) => record),
    find: (nameOrId) => findImage(records, nameOrId)?.record,
    decideForRun: (input) => decideForRun(records, decisions, platform, input),
    judge: (input) => judge(judging(), input),
    foresee: (next, input) => foresee(judging(), next, input),
    verify: (request) =>
      turns.run(request.namespace, request.signal, async () => {
        const verified = await verifyReference(verifying, request);
        refuseCheckpoint(verified.resolved, verified.name.text);
        return verified;
      }),
    async record({ name, resolved, dossier, decided }) {
      const { verdict, log } = decided;
      const { digest, manifestDigest, manifest, documents } = resolved;
      const evidence = {
        digest,
        manifestDigest,
        dossier,
        verdictId: verdict.id,
        unverified: verdict.unverified,
      };
      const image = {
        id: imageIdOf(resolved),
        ...{ manifestDigest, digest, config: configOf(manifest.artifact?.type), layers: [] },
        size: manifest.layers.reduce((sum, layer) => sum + layer.size, manifest.config.size),
      };
      const names = namesOf(name, digest).map((each) => ({ ...each, ...evidence }));
      const stored = await records.admit({ image, names, layers: [], documents }, log);
      decisions.logged(verdict);
      return stored.record;
    },
    forget: (id) => records.removeImage(id),
    byDigest(text) {
      const name = tryImageName(text);
      const row = name && records.byName(name.text)?.names.find((one) => one.name === name.text);
      if (name === undefined || row === undefined) return undefined;
      const { registry, repository } = name.reference;
      return formatReference({ registry, repository, digest: row.digest });
    },
    ownerOf: (text) => records.byName(tryImageName(text)?.text ?? '')?.id,
    async close() {
      await decisions.close();
      await services.close();
    },
  };
}

/** The backend reads the configuration of an image. Here only the type of an artifact matters. */
function configOf(artifactType: string | undefined): ImageRecord['config'] {
  if (artifactType !== undefined) return artifactConfig(artifactType);
  const { artifactType: _none, ...unread } = artifactConfig('');
  return unread;
}
