import { readFile, stat } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { recordOf } from '../strict-json.ts';
import { keyOf } from './registry-key.ts';

/** What a credential file says, its hosts normalised. */
export interface CredentialFile {
  readonly auths: ReadonlyMap<string, unknown>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore?: string;
}

const maximumBytes = 1024 * 1024;

/**
 * Reads docker's `config.json` or containers' `auth.json`; undefined when there is no such file.
 * @throws PortcullisError `TRUST_DOCKER_CONFIG`
 */
export async function readCredentialFile(file: string): Promise<CredentialFile | undefined> {
  let json: Readonly<Record<string, unknown>>;
  try {
    const facts = await stat(file);
    if (!facts.isFile() || facts.size > maximumBytes) throw new Error('it is not a file of credentials');
    json = recordOf(parseJson(await readFile(file, 'utf8'))) ?? {};
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new PortcullisError({
      code: 'TRUST_DOCKER_CONFIG',
      kind: 'invalid',
      attempted: 'read credentials',
      on: file,
      // A syntax error's message quotes the text, which holds passwords.
      why: error instanceof SyntaxError ? 'it is not JSON' : reasonOf(error),
      fix: 'run docker login or podman login again',
    });
  }
  const { credsStore } = json;
  return {
    auths: new Map(Object.entries(recordOf(json['auths']) ?? {}).map(([host, value]) => [keyOf(host), value])),
    credHelpers: new Map(
      Object.entries(recordOf(json['credHelpers']) ?? {}).flatMap(([host, name]) =>
        typeof name === 'string' && name !== '' ? [[keyOf(host), name] as const] : [],
      ),
    ),
    ...(typeof credsStore === 'string' && credsStore !== '' ? { credsStore } : {}),
  };
}
