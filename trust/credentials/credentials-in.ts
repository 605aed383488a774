import type { Credentials, Reference } from '../../base/distribution/index.ts';
import { credentialsOf } from './find-credentials.ts';

/**
 * Returns the credentials for a registry from one file, as `docker login` and `podman login --authfile` write
 * it. Asks the credential helpers of the file. Returns undefined when the file does not exist or has no
 * credentials for the registry.
 * @throws PortcullisError `TRUST_DOCKER_CONFIG`, `TRUST_CREDENTIAL_HELPER`
 */
export function credentialsIn(
  file: string,
  reference: Pick<Reference, 'registry' | 'repository'>,
): Promise<Credentials | undefined> {
  return credentialsOf({ ...process.env, REGISTRY_AUTH_FILE: file })(reference);
}
