import { createHmac, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { Credentials, RegistryClientOptions } from '../../../base/distribution/index.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { lockFolder } from '../../../base/storage/index.ts';
import { sha256Digest } from '../../canonical-json.ts';
import { packBytes } from '../../evidence/byte-packing.ts';
import { normaliseReference } from '../../policy/matching.ts';
import { defaultLimits } from '../client/source.ts';
import type { TufSource } from '../client/source.ts';
import { updateMetadata } from '../client/update.ts';
import type { TufUpdate } from '../client/update.ts';
import { isUnavailable } from '../failure.ts';
import type { TufCode } from '../failure.ts';
import { searchDigest, searchPath } from '../search.ts';
import type { Current, FoundTarget, Search } from '../search.ts';
import type { TrustedSet } from '../trusted-set.ts';
import { judgeFiles } from './judge-files.ts';
import type { MetadataFile, ServiceAnswer } from './metadata-files.ts';
import { isOwnName, openRepositoryStore } from './repository-store.ts';
import type { RepositoryStore } from './repository-store.ts';
import { repositoryOf } from './repository.ts';
import type { ImageRepository } from './repository.ts';
import type { TufRequirement } from './requirement.ts';
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
  ask(requirement: TufRequirement, reference: string, credentials?: Credentials, askedAt?: number): Promise<ServiceAnswer>;
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

/** One reference under one requirement, with the caller's credentials. */
interface Question {
  readonly requirement: TufRequirement;
  readonly repository: ImageRepository;
  readonly registry: string;
  readonly credentials?: Credentials;
  readonly askedAt: number;
}

/** One refresh, and the searches over its result. */
interface Refreshed {
  readonly store: RepositoryStore;
  readonly update: TufUpdate;
  readonly checkedAt: string;
}

interface Flight {
  /** Identifies the credentials: the answer of a service to one caller is not valid for another. */
  readonly by: string;
  readonly begun: number;
  readonly refreshed: Promise<Refreshed>;
  /** Searches load roles into one set, so they run one after another. */
  tail: Promise<unknown>;
}

/** Returns the milliseconds of a clock that all threads share and that is never set. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

/** The number of repositories whose parsed metadata stays in memory. */
const openRepositories = 32;
/** The evidence of one image must be readable wherever it is evaluated. */
const mostMetadataBytes = 64 * 1024 * 1024;

export function openRepositoriesIn(options: RepositoriesOptions): Repositories {
  const { folder, now = () => new Date(), sharedMs = 2000, deadlineMs = 20_000 } = options;
  const flights = new LRUCache<string, Flight>({ max: openRepositories });
  const packed = new LRUCache<string, MetadataFile>({ max: 16 });

  const openFor = openSources(options.registries);
  const salt = randomBytes(32);
  const sourceOf = ({ requirement, repository, registry, credentials }: Question): TufSource => {
    if (options.source !== undefined) return options.source;
    const { url, image } = repository;
    const { authorities } = requirement;
    return openFor(
      { url, image, registry, ...(credentials === undefined ? {} : { credentials }) },
      { deadlineMs, signal: AbortSignal.timeout(deadlineMs), ...(authorities === undefined ? {} : { authorities }) },
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

  const flightOf = (question: Question): Flight => {
    const { key } = question.repository;
    const by = createHmac('sha256', salt)
      .update(JSON.stringify(question.credentials ?? null))
      .digest('base64');
    const known = flights.get(key);
    if (known !== undefined && known.by === by && question.askedAt - known.begun < sharedMs) return known;
    // One refresh after the other: an older refresh must not overwrite the timestamp of a newer one.
    const before = known?.refreshed.then(
      () => undefined,
      () => undefined,
    );
    const refreshed = before === undefined ? refresh(question) : before.then(() => refresh(question));
    const flight: Flight = { by, begun: monotonicMs(), refreshed, tail: Promise.resolve() };
    flights.set(key, flight);
    // Callers receive the error below; the next caller tries a failed refresh again.
    flight.refreshed.catch(() => {
      if (flights.get(key) === flight) flights.delete(key);
    });
    return flight;
  };

  const answerOf = async (
    trusted: TrustedSet,
    found: FoundTarget | undefined,
    store: RepositoryStore,
    checkedAt: string,
  ): Promise<ServiceAnswer> => {
    const kept = await store.files();
    const roots = [...kept].filter(([name]) => isOwnName(name));
    const rest: [string, Buffer | undefined][] = [
      ['timestamp', trusted.timestamp?.bytes],
      ['snapshot', trusted.snapshot?.bytes],
      ...[...trusted.targets].filter(([name]) => !isOwnName(name)).map(([name, { bytes }]): [string, Buffer] => [name, bytes]),
    ];
    const files = [...roots, ...rest].flatMap(([name, bytes]) => (bytes === undefined ? [] : [{ name, bytes }]));
    const hash = found?.hashes['sha256'];
    return {
      files: await Promise.all(files.map(({ name, bytes }) => fileOf(name, bytes, packed))),
      checkedAt,
      ...(store.firstUse === undefined ? {} : { firstUse: store.firstUse }),
      ...(hash === undefined ? {} : { digest: `sha256:${hash}` }),
    };
  };

  const askService = async (question: Question): Promise<ServiceAnswer> => {
    const { repository } = question;
    const flight = flightOf(question);
    const { update, store, checkedAt } = await flight.refreshed;
    const searched = flight.tail.then(() => update.run((current) => lookUpIn(repository, current)));
    flight.tail = searched.catch(() => undefined);
    const found = await searched;
    // Only now, because the search has loaded the roles on its way.
    return answerOf(update.trusted, found, store, checkedAt);
  };

  /** Answers from the metadata that was trusted before, as far as possible. */
  const askKept = async (requirement: TufRequirement, repository: ImageRepository): Promise<ServiceAnswer> => {
    const nobody: TufSource = { fetch: () => Promise.reject(new Error('nothing is fetched')) };
    const { dialect } = requirement;
    const store = await openRepositoryStore(join(folder, repository.key), repository, dialect, nobody, now());
    const checkedAt = await store.checkedAt();
    if (checkedAt === '') return { files: [], checkedAt };
    const judged = judgeFiles({ dialect, root: store.first, files: await store.files(), at: new Date(checkedAt) });
    const found = judged.run((current) => lookUpIn(repository, current));
    return answerOf(judged.current(), found, store, checkedAt);
  };

  return {
    async ask(requirement, text, credentials, askedAt = monotonicMs()) {
      const reference = normaliseReference(text);
      const repository = repositoryOf(requirement, reference);
      if (repository.root === undefined) return { files: [], checkedAt: '' };
      const { registry } = reference;
      try {
        return await askService({ requirement, repository, registry, askedAt, ...(credentials === undefined ? {} : { credentials }) });
      } catch (error) {
        if (!isPortcullisError(error) || !error.code.startsWith('TRUST_TUF_')) throw error;
        const refused = { code: error.code as TufCode, why: whyOf(error) };
        if (!isUnavailable(error.code)) return { files: [], checkedAt: '', refused };
        return { ...(await askKept(requirement, repository).catch(() => ({ files: [], checkedAt: '' }))), refused };
      }
    },
  };
}

function lookUpIn({ target, digest, about, lookUp }: ImageRepository, current: Current): Search<FoundTarget | undefined> {
  return target === undefined ? searchDigest(digest ?? '', about, lookUp, current) : searchPath(target, lookUp, current);
}

async function fileOf(name: string, bytes: Buffer, packed: LRUCache<string, MetadataFile>): Promise<MetadataFile> {
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
