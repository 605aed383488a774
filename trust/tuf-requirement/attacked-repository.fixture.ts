import assert from 'node:assert/strict';
import { signed, testKey, written } from '../tuf/fixtures/repository.fixture.ts';
import type { TestKey, TestRepository } from '../tuf/fixtures/repository.fixture.ts';
import type { TestService } from '../tuf/fixtures/served-repository.fixture.ts';
import type { Dialect } from '../tuf-metadata/model.ts';

/**
 * The scene of an attack: an image, its metadata repository, and the service, which the attacker controls.
 */
export interface AttackedImage {
  /** `HOST/PATH`. */
  readonly image: string;
  readonly service: TestService;
  readonly repository: TestRepository;
  /** A client asks in between, and is admitted. */
  believe(): Promise<unknown>;
  /** A client asks in between. */
  ask(): Promise<unknown>;
}

/**
 * An attack on a client that asks for the meaning of a tag (TUF specification 1.0.34, section 1.5.2, and
 * attacks known from Notary's history). The repository signs `1.0`.
 */
export interface Attack {
  readonly name: string;
  /** Code of the reason. */
  readonly code: string;
  /** Text of the reason. */
  readonly says: RegExp;
  readonly dialects?: readonly Dialect[];
  /** Prepares the repository before the first publish. */
  readonly prepare?: (repository: TestRepository) => void;
  /** Serves bad metadata after a good refresh. */
  readonly act: (here: AttackedImage) => void | Promise<void>;
  /**
   * Adds content that the repository must contain from then on, besides its earlier content: a new root, or a
   * role that a snapshot has listed, cannot be removed again.
   */
  readonly recover?: (repository: TestRepository) => void;
}
export const everyRole = ['timestamp', 'snapshot', 'targets'];

export function raise(repository: TestRepository, ...roles: readonly string[]): void {
  for (const role of roles) repository.versions[role] = (repository.versions[role] ?? 1) + 1;
}

/**
 * Serves good metadata again after `act`, newer than all earlier metadata.
 * @param good the files of the service before `act`
 */
export function serveGood(here: AttackedImage, { recover }: Attack, good: ReadonlyMap<string, Buffer>): void {
  here.service.answer = () => false;
  here.service.files.clear();
  for (const [path, bytes] of good) here.service.files.set(path, bytes);
  recover?.(here.repository);
  raise(here.repository, ...everyRole, ...everyRole);
  here.service.publish(here.image, here.repository);
}

export const baseOf = ({ image, repository }: AttackedImage): string =>
  repository.dialect === 'notary' ? `/v2/${image}/_trust/tuf` : `/tuf/${image}`;

/** Delegates `targets/releases` to the holder of a key. The role is signed by `signer`. */
export function delegate(repository: TestRepository, key: TestKey, signer: TestKey = key): void {
  const scope = repository.dialect === 'tuf' ? { paths: ['*'], terminating: false } : { paths: [''] };
  const roles = [{ name: 'targets/releases', keyids: [key.id], threshold: 1, ...scope }];
  repository.delegations['targets'] = { keys: { [key.id]: key.entry }, roles };
  repository.delegated['targets/releases'] = [signer];
}

/** Signs the tag with the delegated role only. */
export function signBelow(repository: TestRepository): void {
  repository.targets = { targets: {}, 'targets/releases': repository.targets['targets'] ?? {} };
}

/** Delegates the role, which is validly signed from then on. */
export function delegateWell(repository: TestRepository): void {
  delegate(repository, testKey(repository.dialect));
  repository.targets['targets/releases'] = {};
  raise(repository, 'targets/releases', 'targets/releases', 'targets/releases');
}

/** Serves the repository with a change once. Afterwards its values are as before. */
export function serveOnce(here: AttackedImage, change: (repository: TestRepository) => void): void {
  const { repository } = here;
  const before = structuredClone({ versions: repository.versions, expires: repository.expires });
  const { targets, keys } = { targets: structuredClone(repository.targets), keys: { ...repository.keys } };
  change(repository);
  here.service.publish(here.image, repository);
  Object.assign(repository, before, { targets, keys });
  delete repository.signers;
}

/** Serves the next version of everything, with a change of the bytes of the targets file. */
export function spoilTargets(here: AttackedImage, change: (bytes: Buffer) => Buffer): void {
  const former = written(here.repository)['targets'];
  serveOnce(here, (repository) => raise(repository, ...everyRole));
  for (const [path, bytes] of here.service.files)
    if (/\/(?:2\.targets|targets\.[0-9a-f]{64})\.json$/u.test(path) && former?.equals(bytes) === false)
      here.service.files.set(path, change(bytes));
}

export function twoTimestampKeys(repository: TestRepository): void {
  repository.keys.timestamp = [testKey(repository.dialect), testKey(repository.dialect)];
  repository.thresholds.timestamp = 2;
}

export function signTwice(here: AttackedImage): void {
  serveOnce(here, (repository) => {
    raise(repository, ...everyRole);
    const [key] = repository.keys.timestamp;
    assert.ok(key);
    repository.signers = { timestamp: [key, key] };
  });
}

/** Serves a root that is signed by these keys. */
export function rootBy(
  here: AttackedImage,
  repository: TestRepository,
  version: number,
  keys: readonly TestKey[],
): void {
  const made =
    written({ ...repository, versions: { ...repository.versions, root: version } })['root'] ??
    Buffer.alloc(0);
  const { signed: body } = JSON.parse(made.toString('utf8')) as { signed: object };
  here.service.files.set(`${baseOf(here)}/${version}.root.json`, signed(repository.dialect, body, keys));
}
