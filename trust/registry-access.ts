import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createRegistryClient } from '../base/distribution/index.ts';
import type { Credentials, Reference, RegistryRepository } from '../base/distribution/index.ts';
import { PortcullisError, reasonOf } from '../base/errors/index.ts';
import { recordOf } from './strict-json.ts';

/** Registries as a command reaches them: mirrors, plain HTTP where it was allowed, and the user's credentials. */
export interface RegistryAccess {
  repositories(reference: Reference): readonly RegistryRepository[];
  close(): Promise<void>;
}

export interface RegistryAccessOptions {
  /** `HOST=URL`, each; the mirror stands for the host, whose origin is then never asked. */
  readonly mirrors: readonly string[];
  /** Hosts that may be asked over plain HTTP; loopback always may. */
  readonly insecureHosts: readonly string[];
}

/**
 * Opens registries with the credentials of `docker login` (`$DOCKER_CONFIG/config.json`, `auths`).
 * @throws PortcullisError `TRUST_BAD_MIRROR`, `TRUST_DOCKER_CONFIG`
 */
export async function openRegistries(options: RegistryAccessOptions): Promise<RegistryAccess> {
  const mirrors = new Map(options.mirrors.map(readMirror));
  const credentials = await readDockerConfig(join(process.env['DOCKER_CONFIG'] ?? join(homedir(), '.docker'), 'config.json'));
  const client = createRegistryClient({ mirrors, insecureHosts: options.insecureHosts });
  return {
    repositories: (reference) => client.repositories(reference, credentials.get(reference.registry)),
    close: () => client.close(),
  };
}

function readMirror(text: string): [string, { url: string; origin: boolean }] {
  const match = /^([^=/\s]+)=(https?:\/\/\S+)$/.exec(text);
  if (match === null) {
    throw new PortcullisError({
      code: 'TRUST_BAD_MIRROR',
      kind: 'invalid',
      attempted: 'read registry mirror',
      on: text,
      why: 'it is not HOST=URL',
      fix: 'write it like registry.k8s.io=http://127.0.0.1:5000',
    });
  }
  return [match[1] as string, { url: match[2] as string, origin: false }];
}

/** Docker Hub's key in docker's file. */
const dockerHub = 'https://index.docker.io/v1/';

async function readDockerConfig(file: string): Promise<ReadonlyMap<string, Credentials>> {
  let auths: Readonly<Record<string, unknown>>;
  try {
    auths = recordOf(recordOf(JSON.parse(await readFile(file, 'utf8')))?.['auths']) ?? {};
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    // A syntax error's message quotes the text, which holds passwords.
    const why = error instanceof SyntaxError ? 'it is not JSON' : reasonOf(error);
    throw new PortcullisError({
      code: 'TRUST_DOCKER_CONFIG',
      kind: 'invalid',
      attempted: 'read credentials',
      on: file,
      why,
      fix: 'run docker login again',
    });
  }
  return new Map(
    Object.entries(auths).flatMap(([host, value]) => {
      const credentials = readAuth(recordOf(value) ?? {});
      const name = host === dockerHub ? 'docker.io' : host.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
      return credentials === undefined ? [] : [[name, credentials] as const];
    }),
  );
}

function readAuth(auth: Readonly<Record<string, unknown>>): Credentials | undefined {
  if (typeof auth['identitytoken'] === 'string') return { identityToken: auth['identitytoken'] };
  if (typeof auth['auth'] !== 'string') return undefined;
  const [, username, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(auth['auth'], 'base64').toString('utf8')) ?? [];
  return username === undefined || password === undefined ? undefined : { username, password };
}
