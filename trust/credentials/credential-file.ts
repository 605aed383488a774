import { readFile, stat } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { keyOf } from './registry-key.ts';

/** The content of a credential file, with normalised hosts. */
export interface CredentialFile {
  readonly auths: ReadonlyMap<string, unknown>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore?: string;
}

const maximumBytes = 1024 * 1024;

/**
 * Reads Docker's `config.json` or containers' `auth.json`. Returns undefined when the file does not exist.
 * @throws PortcullisError `TRUST_DOCKER_CONFIG`
 */
export async function readCredentialFile(file: string): Promise<CredentialFile | undefined> {
  let json: Readonly<Record<string, unknown>>;
  try {
    const facts = await stat(file);
    if (!facts.isFile() || facts.size > maximumBytes) throw new Error('it is not a credential file');
    json = recordOf(parseJson(await readFile(file, 'utf8'))) ?? {};
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new PortcullisError({
      code: 'TRUST_DOCKER_CONFIG',
      kind: 'invalid',
      attempted: 'read credentials',
      on: file,
      // The message of a syntax error quotes the text, which contains passwords.
      why: error instanceof SyntaxError ? 'it is not JSON' : fileReason(error, file),
      fix: 'run docker login or podman login again',
    });
  }
  const { credsStore } = json;
  return {
    auths: new Map(
      Object.entries(recordOf(json['auths']) ?? {}).map(([host, value]) => [keyOf(host), value]),
    ),
    credHelpers: new Map(
      Object.entries(recordOf(json['credHelpers']) ?? {}).flatMap(([host, name]) =>
        typeof name === 'string' && name !== '' ? [[keyOf(host), name] as const] : [],
      ),
    ),
    ...(typeof credsStore === 'string' && credsStore !== '' ? { credsStore } : {}),
  };
}
