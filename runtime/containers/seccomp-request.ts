import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseSeccompJson } from '../../entitlements/index.ts';
import type { LinuxContainerSecurityContext } from '../cri/contract/contract.types.ts';
import { askedProfile, withoutLocalhost } from './asked-profile.ts';

export interface SeccompRequest {
  readonly type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  readonly json?: unknown;
}

const fileLimit = 1024 * 1024;

/**
 * The seccomp profile that is asked for: the message, else the deprecated string (`runtime/default`, `unconfined`, `localhost/PATH`).
 * Undefined when neither says anything. An unknown type is an error and not "unconfined".
 * @throws PortcullisError RUNTIME_BAD_SECCOMP
 */
export async function seccompRequest(security: LinuxContainerSecurityContext | undefined): Promise<SeccompRequest | undefined> {
  const words = { defaults: ['runtime/default', 'docker/default'], localhost: 'PATH' };
  const asked = askedProfile(security?.seccomp, security?.seccompProfilePath ?? '', words, badSeccomp);
  return asked?.type === 'Localhost' ? localhost(asked.reference) : asked;
}

/** A kubelet gives the absolute path of a file below its own folder. */
async function localhost(ref: string): Promise<SeccompRequest> {
  const path = withoutLocalhost(ref);
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
