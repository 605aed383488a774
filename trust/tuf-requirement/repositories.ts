import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { Credentials, RegistryClientOptions } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { lockFolder } from '../../base/storage/index.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import { packBytes } from '../evidence/byte-packing.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import { defaultLimits } from '../tuf-client/source.ts';
import type { TufSource } from '../tuf-client/source.ts';
import { updateMetadata } from '../tuf-client/update.ts';
import { isUnavailable } from '../tuf/failure.ts';
import type { TufCode } from '../tuf/failure.ts';
import { searchDigest, searchPath } from '../tuf/search.ts';
import type { Current, FoundTarget, Search } from '../tuf/search.ts';
import type { TrustedSet } from '../tuf/trusted-set.ts';
import { judgeFiles } from './judge-files.ts';
import type { MetadataFile, ServiceAnswer } from './metadata-files.ts';
import { isOwnName, openRepositoryStore } from './repository-store.ts';
import type { RepositoryStore } from './repository-store.ts';
import { repositoryOf } from './repository.ts';
import type { ImageRepository } from './repository.ts';
import type { TufRequirement } from '../requirements/tuf.ts';
import { createFlights, monotonicMs } from './flights.ts';
import type { Question, Refreshed } from './flights.ts';
import { openSources } from './sources.ts';

/** Repositories of signed metadata, stored in a folder and updated when a client asks about them. */
export interface Repositories {
  /**
   * Returns what the service currently says about a reference. Never throws for faults of a service: those
   * are in `refused`.
   * @param credentials of the caller, for the reference's registry
   * @param askedAt as `monotonicMs`; default: now
   * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`, and storage errors
   */
  ask(
    requirement: TufRequirement,
    reference: string,
    credentials?: Credentials,
    askedAt?: number,
  ): Promise<ServiceAnswer>;
}

export interface RepositoriesOptions {
  readonly folder: string;
  /** The source of metadata, whatever service a policy names: an archive. */
  readonly source?: TufSource;
  readonly now?: () => Date;
  /** Milliseconds for which one refresh serves all callers. */
  readonly sharedMs?: number;
  /** Milliseconds that one refresh may take, including all downloads. */
  readonly deadlineMs?: number;
  /** How registries are reached, for metadata stored beside the image and for tokens. */
  readonly registries?: RegistryClientOptions;
}

/** The evidence of one image must be readable wherever it is evaluated. */
const mostMetadataBytes = 64 * 1024 * 1024;

export function openRepositoriesIn(options: RepositoriesOptions): Repositories {
  const { folder, now = () => new Date(), sharedMs = 2000, deadlineMs = 20_000 } = options;
  const packed = new LRUCache<string, MetadataFile>({ max: 16 });

  const openFor = openSources(options.registries);
  const sourceOf = ({ requirement, repository, registry, credentials }: Question): TufSource => {
    if (options.source !== undefined) return options.source;
    const { url, image } = repository;
    const { authorities } = requirement;
    return openFor(
      { url, image, registry, ...(credentials === undefined ? {} : { credentials }) },
      {
        deadlineMs,
        signal: AbortSignal.timeout(deadlineMs),
        ...(authorities === undefined ? {} : { authorities }),
      },
    );
  };

  const refresh = async (question: Question): Promise<Refreshed> => {
    const { repository } = question;
    const home = join(folder, repository.key);
    // Another process may keep its metadata here. Metadata that it trusts meanwhile must not be overwritten
    // by older metadata.
    const lock = await lockFolder(home, deadlineMs);
    try {
      const [at, { dialect }] = [now(), question.requirement];
      const source = sourceOf(question);
      const store = await openRepositoryStore(home, repository, dialect, source, at);
      const limits = { metadataBytes: mostMetadataBytes, unsizedBytes: defaultLimits.unsizedBytes };
      const update = await updateMetadata({ dialect, source, store, now: at, limits });
      await store.checked(at);
      return { store, update, checkedAt: at.toISOString() };
    } finally {
      lock.release();
    }
  };

  const { flightOf } = createFlights(refresh, sharedMs);

  const askService = async (question: Question): Promise<ServiceAnswer> => {
    const { repository } = question;
    const flight = flightOf(question);
    const { update, store, checkedAt } = await flight.refreshed;
    const searched = flight.tail.then(() => update.run((current) => lookUpIn(repository, current)));
    flight.tail = searched.catch(() => undefined);
    const found = await searched;
    // Only now, because the search has loaded the roles on its way.
    return answerOf(update.trusted, found, store, checkedAt, packed);
  };

  /** Answers from the metadata that was trusted before, as far as possible. */
  const askKept = async (
    requirement: TufRequirement,
    repository: ImageRepository,
  ): Promise<ServiceAnswer> => {
    const nobody: TufSource = { fetch: () => Promise.reject(new Error('nothing is fetched')) };
    const { dialect } = requirement;
    const store = await openRepositoryStore(join(folder, repository.key), repository, dialect, nobody, now());
    const checkedAt = await store.checkedAt();
    if (checkedAt === '') return { files: [], checkedAt };
    const judged = judgeFiles({
      dialect,
      root: store.first,
      files: await store.files(),
      at: new Date(checkedAt),
    });
    const found = judged.run((current) => lookUpIn(repository, current));
    return answerOf(judged.current(), found, store, checkedAt, packed);
  };

  return {
    async ask(requirement, text, credentials, askedAt = monotonicMs()) {
      const reference = normaliseReference(text);
      const repository = repositoryOf(requirement, reference);
      if (repository.root === undefined) return { files: [], checkedAt: '' };
      const { registry } = reference;
      try {
        return await askService({
          requirement,
          repository,
          registry,
          askedAt,
          ...(credentials === undefined ? {} : { credentials }),
        });
      } catch (error) {
        if (!isPortcullisError(error) || !error.code.startsWith('TRUST_TUF_')) throw error;
        const refused = { code: error.code as TufCode, why: whyOf(error) };
        if (!isUnavailable(error.code)) return { files: [], checkedAt: '', refused };
        return {
          ...(await askKept(requirement, repository).catch(() => ({ files: [], checkedAt: '' }))),
          refused,
        };
      }
    },
  };
}

function lookUpIn(
  { target, digest, about, lookUp }: ImageRepository,
  current: Current,
): Search<FoundTarget | undefined> {
  return target === undefined
    ? searchDigest(digest ?? '', about, lookUp, current)
    : searchPath(target, lookUp, current);
}

/** Returns the metadata that leads to what was found, as evidence. */
async function answerOf(
  trusted: TrustedSet,
  found: FoundTarget | undefined,
  store: RepositoryStore,
  checkedAt: string,
  packed: LRUCache<string, MetadataFile>,
): Promise<ServiceAnswer> {
  const kept = await store.files();
  const roots = [...kept].filter(([name]) => isOwnName(name));
  const rest: [string, Buffer | undefined][] = [
    ['timestamp', trusted.timestamp?.bytes],
    ['snapshot', trusted.snapshot?.bytes],
    ...[...trusted.targets]
      .filter(([name]) => !isOwnName(name))
      .map(([name, { bytes }]): [string, Buffer] => [name, bytes]),
  ];
  const files = [...roots, ...rest].flatMap(([name, bytes]) =>
    bytes === undefined ? [] : [{ name, bytes }],
  );
  const hash = found?.hashes['sha256'];
  return {
    files: await Promise.all(files.map(({ name, bytes }) => fileOf(name, bytes, packed))),
    checkedAt,
    ...(store.firstUse === undefined ? {} : { firstUse: store.firstUse }),
    ...(hash === undefined ? {} : { digest: `sha256:${hash}` }),
  };
}

async function fileOf(
  name: string,
  bytes: Buffer,
  packed: LRUCache<string, MetadataFile>,
): Promise<MetadataFile> {
  const digest = sha256Digest(bytes);
  const known = packed.get(digest);
  if (known !== undefined) return { ...known, name };
  const file = { name, digest, ...(await packBytes(bytes)) };
  if (file.packed !== undefined) packed.set(digest, file);
  return file;
}

function whyOf(error: PortcullisError): string {
  return `${error.failure.on}: ${error.failure.why}`;
}
