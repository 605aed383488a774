import type { Credentials, Reference } from '../../base/distribution/index.ts';
import { credentialsOf } from './find-credentials.ts';

/**
 * The credentials for a registry in one file, as `docker login` and `podman login --authfile` write it; its credential helpers are asked.
 * undefined when the file is not there or does not know the registry.
 * @throws PortcullisError `TRUST_DOCKER_CONFIG`, `TRUST_CREDENTIAL_HELPER`
 */
export function credentialsIn(file: string, reference: Pick<Reference, 'registry' | 'repository'>): Promise<Credentials | undefined> {
  return credentialsOf({ ...process.env, REGISTRY_AUTH_FILE: file })(reference);
}
