import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Credentials, Reference } from '../../base/distribution/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { askHelper } from './credential-helper.ts';
import { readCredentialFile } from './credential-file.ts';
import type { CredentialFile } from './credential-file.ts';
import { dockerHub } from './registry-key.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Finds a user's credentials for a registry. Each file is read once. */
export type FindCredentials = (
  reference: Pick<Reference, 'registry' | 'repository'>,
) => Promise<Credentials | undefined>;

/**
 * Searches the credential files of a user in order of precedence: only `$REGISTRY_AUTH_FILE` when it is set;
 * otherwise containers' `auth.json` (containers-auth.json(5)), then `$DOCKER_CONFIG/config.json`. The first
 * file with credentials for the registry counts.
 * @throws PortcullisError `TRUST_DOCKER_CONFIG`, `TRUST_CREDENTIAL_HELPER`
 */
export function credentialsOf(environment: Environment): FindCredentials {
  const read = new Map<string, Promise<CredentialFile | undefined>>();
  return async ({ registry, repository }) => {
    for (const path of filesOf(environment)) {
      let pending = read.get(path);
      if (pending === undefined) read.set(path, (pending = readCredentialFile(path)));
      const file = await pending;
      const found = file === undefined ? undefined : await inFile(file, registry, repository, environment);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

function filesOf(environment: Environment): readonly string[] {
  const set = (name: string): string | undefined =>
    environment[name] === '' ? undefined : environment[name];
  const only = set('REGISTRY_AUTH_FILE');
  if (only !== undefined) return [only];
  const home = set('HOME') ?? homedir();
  const runtime = set('XDG_RUNTIME_DIR');
  return [
    ...(runtime === undefined ? [] : [join(runtime, 'containers/auth.json')]),
    `/run/containers/${process.getuid?.() ?? 0}/auth.json`,
    join(set('XDG_CONFIG_HOME') ?? join(home, '.config'), 'containers/auth.json'),
    join(set('DOCKER_CONFIG') ?? join(home, '.docker'), 'config.json'),
  ];
}

async function inFile(
  file: CredentialFile,
  registry: string,
  repository: string,
  environment: Environment,
): Promise<Credentials | undefined> {
  const keys = keysOf(registry, repository);
  const helper =
    keys.map((key) => file.credHelpers.get(key)).find((name) => name !== undefined) ?? file.credsStore;
  if (helper !== undefined) {
    const found = await askHelper(helper, registry === 'docker.io' ? dockerHub : registry, environment);
    if (found !== undefined) return found;
  }
  for (const key of keys) {
    const credentials = readAuth(recordOf(file.auths.get(key)) ?? {});
    if (credentials !== undefined) return credentials;
  }
  return undefined;
}

/**
 * Returns `host/team/app`, `host/team`, `host`: the credentials of a namespace take precedence over those of
 * the registry (containers-auth.json(5)).
 */
function keysOf(registry: string, repository: string): readonly string[] {
  const segments = repository.split('/').filter((segment) => segment !== '');
  const scoped = segments.map((_, index) =>
    [registry, ...segments.slice(0, segments.length - index)].join('/'),
  );
  return [...scoped, registry];
}

function readAuth(auth: Readonly<Record<string, unknown>>): Credentials | undefined {
  if (typeof auth['identitytoken'] === 'string' && auth['identitytoken'] !== '')
    return { identityToken: auth['identitytoken'] };
  if (typeof auth['registrytoken'] === 'string' && auth['registrytoken'] !== '')
    return { registryToken: auth['registrytoken'] };
  const { username, password } = auth;
  if (typeof username === 'string' && typeof password === 'string' && username !== '')
    return { username, password };
  if (typeof auth['auth'] !== 'string') return undefined;
  const [, name, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(auth['auth'], 'base64').toString('utf8')) ?? [];
  // Docker pads some passwords with zero bytes.
  return name === undefined || secret === undefined
    ? undefined
    : { username: name, password: secret.replace(/\0+$/, '') };
}
