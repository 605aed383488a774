import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { parseSeccompJson } from '../../../entitlements/index.ts';
import type { LinuxContainerSecurityContext } from '../../cri/contract/contract.types.ts';
import { hasNoAnswer } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { askedProfile, withoutLocalhost } from './asked-profile.ts';

export interface SeccompRequest {
  readonly type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  readonly json?: unknown;
}

const fileLimit = 1024 * 1024;

/**
 * Returns the requested seccomp profile: from the message, else from the deprecated string
 * (`runtime/default`, `unconfined`, `localhost/PATH`). Undefined when neither requests one. An unknown type
 * is an error and not "unconfined".
 * @throws PortcullisError RUNTIME_BAD_SECCOMP, RUNTIME_PATH_NO_ANSWER
 */
export async function seccompRequest(
  security: LinuxContainerSecurityContext | undefined,
  paths: Pick<HostPaths, 'text'>,
): Promise<SeccompRequest | undefined> {
  const words = { defaults: ['runtime/default', 'docker/default'], localhost: 'PATH' };
  const asked = askedProfile(security?.seccomp, security?.seccompProfilePath ?? '', words, badSeccomp);
  return asked?.type === 'Localhost' ? localhost(asked.reference, paths) : asked;
}

/** A kubelet sends the absolute path of a file below its own folder. */
async function localhost(ref: string, paths: Pick<HostPaths, 'text'>): Promise<SeccompRequest> {
  const path = withoutLocalhost(ref);
  if (!path.startsWith('/') || path.split('/').includes('..') || path.includes('\0'))
    throw badSeccomp(
      JSON.stringify(path),
      'it is not an absolute, normalized path',
      'give the absolute path of an OCI seccomp profile, without ".."',
    );
  const text = await readBounded(path, paths);
  try {
    return { type: 'Localhost', json: parseSeccompJson(text) };
  } catch {
    // The parser's message would quote the file, whatever it contains.
    throw badSeccomp(path, 'it is not JSON, or has a key twice or in another case', 'correct the file');
  }
}

/** Links are followed: operators keep their profiles elsewhere and link them into the kubelet's folder. */
async function readBounded(path: string, paths: Pick<HostPaths, 'text'>): Promise<string> {
  const read = await paths.text(path, fileLimit).catch((cause: unknown) => {
    if (hasNoAnswer(cause)) throw cause;
    const why =
      (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : reasonOf(cause);
    throw badSeccomp(path, why, 'put the profile there');
  });
  if ('text' in read) return read.text;
  if (read.refused === 'too large')
    throw badSeccomp(path, `it is larger than ${fileLimit} bytes`, 'give a smaller profile');
  throw badSeccomp(path, 'it is not a plain file', 'put the profile there');
}

function badSeccomp(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_SECCOMP',
    kind: 'invalid',
    attempted: 'read seccomp profile',
    on,
    why,
    fix,
  });
}
