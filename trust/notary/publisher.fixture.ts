import { createHash, createPrivateKey, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { notaryKeyId } from '../tuf-metadata/keys.ts';
import { fileOf, later, signed, testKey } from '../tuf/fixtures/repository.fixture.ts';
import type { TestKey } from '../tuf/fixtures/repository.fixture.ts';

/**
 * A publisher as Notary's clients act: it has a root key with a certificate for its collection, and a key for
 * targets.
 */
export interface Publisher {
  readonly rootKey: TestKey;
  readonly targetsKey: TestKey;
  /**
   * Signs a root.
   * @param online entries of the service's keys, as the service returns them
   */
  root(version: number, online: OnlineEntries, changes?: RootChanges): Buffer;
  targets(version: number, names?: Readonly<Record<string, string>>, changes?: object): Buffer;
}

export interface OnlineEntries {
  readonly snapshot: KeyEntry;
  readonly timestamp: KeyEntry;
}

export interface KeyEntry {
  readonly keytype: string;
  readonly keyval: { readonly public: string };
}

export interface RootChanges {
  readonly signers?: readonly TestKey[];
  readonly rootKeys?: readonly TestKey[];
  readonly body?: object;
}

const idOf = ({ keytype, keyval }: KeyEntry): string => notaryKeyId(keytype, keyval.public);

export function publisher(gun: string): Publisher {
  const [rootKey, targetsKey] = [certifiedKey(gun), testKey('notary', 'ecdsa')];
  return {
    rootKey,
    targetsKey,
    root(version, { snapshot, timestamp }, { signers = [rootKey], rootKeys = [rootKey], body = {} } = {}) {
      const listed = [...rootKeys.map(({ id, entry }) => [id, entry]), [targetsKey.id, targetsKey.entry]];
      const keys = Object.fromEntries([
        ...listed,
        [idOf(snapshot), snapshot],
        [idOf(timestamp), timestamp],
      ]) as object;
      const one = (id: string): object => ({ keyids: [id], threshold: 1 });
      const roles = {
        root: { keyids: rootKeys.map(({ id }) => id), threshold: 1 },
        targets: one(targetsKey.id),
        snapshot: one(idOf(snapshot)),
        timestamp: one(idOf(timestamp)),
      };
      return signed(
        'notary',
        { _type: 'Root', version, expires: later, keys, roles, consistent_snapshot: false, ...body },
        signers,
      );
    },
    targets: (version, names = {}, changes = {}) =>
      signed('notary', targetsOf(version, names, changes), [targetsKey]),
  };
}

export function targetsOf(
  version: number,
  names: Readonly<Record<string, string>>,
  changes: object = {},
): object {
  const targets = Object.fromEntries(
    Object.entries(names).map(([name, content]) => [name, fileOf('notary', Buffer.from(content))]),
  );
  return {
    _type: 'Targets',
    version,
    expires: later,
    targets,
    delegations: { keys: {}, roles: [] },
    ...changes,
  };
}

/** Makes an ECDSA key whose certificate is issued to `name`. */
export function certifiedKey(name: string): TestKey {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-publisher-'));
  try {
    const { key, certificate } = makeCertificate(folder, 'root', {
      days: 3650,
      commonName: name,
      more: ['-addext', 'basicConstraints=CA:FALSE'],
    });
    const text = readFileSync(certificate).toString('base64');
    const privateKey = createPrivateKey(readFileSync(key));
    return {
      id: notaryKeyId('ecdsa-x509', text),
      entry: { keytype: 'ecdsa-x509', keyval: { private: null, public: text } },
      sign: (message) => sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' }),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface Part {
  readonly name: string;
  readonly bytes: Buffer | string;
  readonly field?: string;
}

const boundary = 'portcullis-boundary';
export const multipartType = `multipart/form-data; boundary=${boundary}`;

export function multipart(parts: readonly Part[]): Buffer {
  const written = parts.flatMap(({ name, bytes, field = 'files' }) => [
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${field}"; filename="${name}"\r\n`),
    Buffer.from('Content-Type: application/octet-stream\r\n\r\n'),
    Buffer.from(bytes),
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...written, Buffer.from(`--${boundary}--\r\n`)]);
}

export interface Answered {
  readonly status: number;
  readonly code: string | undefined;
  readonly detail: unknown;
}

/** Posts to a collection's URL. */
export async function post(
  address: string,
  body: Buffer,
  type = multipartType,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answered> {
  const answer = await fetch(address, {
    method: 'POST',
    body: new Uint8Array(body),
    headers: { 'content-type': type, ...headers },
  });
  const text = await answer.text();
  const [error] =
    text === '' ? [] : (JSON.parse(text) as { errors: { code: string; detail?: unknown }[] }).errors;
  return { status: answer.status, code: error?.code, detail: error?.detail };
}

export async function fetchJson<T>(address: string, method = 'GET'): Promise<T> {
  return (await (await fetch(address, { method })).json()) as T;
}

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
