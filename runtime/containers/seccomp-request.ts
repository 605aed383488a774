import { readFile } from 'node:fs/promises';
import { PortcullisError } from '../../base/errors/index.ts';
import { parseSeccompJson } from '../../entitlements/index.ts';
import { ProfileType } from '../cri/contract/contract.types.ts';
import type { LinuxContainerSecurityContext } from '../cri/contract/contract.types.ts';

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
  const message = security?.seccomp;
  if (message !== undefined) {
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
  if (path.startsWith('localhost/')) return localhost(path.slice('localhost/'.length));
  throw badSeccomp(path, 'it is not a known form', 'use runtime/default, unconfined or localhost/PATH');
}

async function localhost(path: string): Promise<SeccompRequest> {
  if (!path.startsWith('/')) throw badSeccomp(path, 'it is not an absolute path', 'give the absolute path of an OCI seccomp profile');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw badSeccomp(path, cause instanceof Error ? cause.message : String(cause), 'put the profile there');
  }
  if (text.length > fileLimit) throw badSeccomp(path, `it is larger than ${fileLimit} bytes`, 'give a smaller profile');
  try {
    return { type: 'Localhost', json: parseSeccompJson(text) };
  } catch (cause) {
    throw badSeccomp(path, `it is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, 'correct the file');
  }
}

function badSeccomp(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code: 'RUNTIME_BAD_SECCOMP', kind: 'invalid', attempted: 'read seccomp profile', on, why, fix });
}
