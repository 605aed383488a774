import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseSeccompJson } from '../../entitlements/index.ts';
import { ProfileType } from '../cri/contract/contract.types.ts';
import type { LinuxContainerSecurityContext } from '../cri/contract/contract.types.ts';

export interface SeccompRequest {
  readonly type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  readonly json?: unknown;
}

const fileLimit = 1024 * 1024;
const localhostPrefix = 'localhost/';

/**
 * The seccomp profile that is asked for: the message, else the deprecated string (`runtime/default`, `unconfined`, `localhost/PATH`).
 * Undefined when neither says anything. An unknown type is an error and not "unconfined".
 * @throws PortcullisError RUNTIME_BAD_SECCOMP
 */
export async function seccompRequest(security: LinuxContainerSecurityContext | undefined): Promise<SeccompRequest | undefined> {
  const message = security?.seccomp;
  if (message !== undefined) {
    if (message.profileType !== ProfileType.Localhost && message.localhostRef !== '')
      throw badSeccomp(message.localhostRef, 'localhost_ref belongs to the profile type Localhost alone', 'leave it out, or set the type');
    switch (message.profileType) {
      case ProfileType.RuntimeDefault:
        return { type: 'RuntimeDefault' };
      case ProfileType.Unconfined:
        return { type: 'Unconfined' };
      case ProfileType.Localhost:
        return localhost(message.localhostRef);
      default:
        throw badSeccomp(String(message.profileType), 'the profile type is unknown', 'use RuntimeDefault, Unconfined or Localhost');
    }
  }
  const path = security?.seccompProfilePath ?? '';
  if (path === '') return undefined;
  if (path === 'runtime/default' || path === 'docker/default') return { type: 'RuntimeDefault' };
  if (path === 'unconfined') return { type: 'Unconfined' };
  if (path.startsWith(localhostPrefix)) return localhost(path);
  throw badSeccomp(path, 'it is not a known form', 'use runtime/default, unconfined or localhost/PATH');
}

/** A kubelet gives the absolute path of a file below its own folder; some callers put the deprecated form into the new field. */
async function localhost(ref: string): Promise<SeccompRequest> {
  const path = ref.startsWith(localhostPrefix) ? ref.slice(localhostPrefix.length) : ref;
  if (!path.startsWith('/') || path.split('/').includes('..') || path.includes('\0'))
    throw badSeccomp(
      JSON.stringify(path),
      'it is not an absolute, clean path',
      'give the absolute path of an OCI seccomp profile, without ".."',
    );
  const text = await readBounded(path);
  try {
    return { type: 'Localhost', json: parseSeccompJson(text) };
  } catch {
    // The parser's own words would quote the file, whatever it is.
    throw badSeccomp(path, 'it is not JSON', 'correct the file');
  }
}

/**
 * A plain file and never more of it than a profile may have: not a FIFO, on which an opening would wait, and not a device without end. Links
 * are followed: operators keep their profiles elsewhere and link them into the kubelet's folder.
 */
async function readBounded(path: string): Promise<string> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (cause) {
    throw badSeccomp(
      path,
      (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : reasonOf(cause),
      'put the profile there',
    );
  }
  try {
    if (!(await file.stat()).isFile()) throw badSeccomp(path, 'it is not a plain file', 'put the profile there');
    const bytes = Buffer.alloc(fileLimit + 1);
    let size = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, size, bytes.length - size, size);
      size += bytesRead;
      if (bytesRead === 0 || size === bytes.length) break;
    }
    if (size > fileLimit) throw badSeccomp(path, `it is larger than ${fileLimit} bytes`, 'give a smaller profile');
    return bytes.toString('utf8', 0, size);
  } finally {
    await file.close();
  }
}

function badSeccomp(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code: 'RUNTIME_BAD_SECCOMP', kind: 'invalid', attempted: 'read seccomp profile', on, why, fix });
}
