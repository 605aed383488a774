import { resolve } from 'node:path';
import { parseReference } from '../../base/distribution/index.ts';
import { credentialsOf } from '../credentials/find-credentials.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { defaultTufTag } from '../tuf-client/oci-source.ts';
import { authorFailure } from './failure.ts';
import type { Destination } from './destination.ts';
import { folderDestination } from './to-folder.ts';
import { registryDestination } from './to-registry.ts';
import { serviceDestination } from './to-service.ts';

export interface OpenDestinationInput {
  /** `https://trust.example.com`, `oci://registry.example.com/team/app[:TAG]`, or a folder. */
  readonly address: string;
  /** The collection's name. */
  readonly name: string;
  readonly registries: RegistryAccess;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * Opens a place to publish to. @throws TRUST_AUTHOR_DESTINATION, and the errors of references and credentials
 */
export async function openDestination({
  address,
  name,
  registries,
  environment,
}: OpenDestinationInput): Promise<Destination> {
  // The current folder must be requested as `.`; an unset variable must not select it.
  if (address === '')
    throw authorFailure('TRUST_AUTHOR_DESTINATION', name, 'the place to publish to is empty');
  if (/^https?:\/\//u.test(address)) return openService(address, name, environment);
  if (address.startsWith('oci://')) {
    const reference = parseReference(address.slice('oci://'.length));
    // A push goes to the last place in the list. That is the origin, unless a mirror replaces it.
    const repository = (await registries.repositories(reference)).at(-1);
    if (repository === undefined)
      throw authorFailure('TRUST_AUTHOR_DESTINATION', address, 'no registry serves it');
    const tagged = /:[^/]*$/u.test(address.slice('oci://'.length).replace(/^[^/]*/u, ''));
    return registryDestination(
      repository,
      tagged && reference.tag !== undefined ? reference.tag : defaultTufTag,
    );
  }
  if (/^[a-z][a-z0-9+.-]*:/iu.test(address))
    throw authorFailure('TRUST_AUTHOR_DESTINATION', address, 'its scheme is not known');
  return folderDestination(resolve(address));
}

function openService(
  address: string,
  name: string,
  environment: OpenDestinationInput['environment'],
): Destination {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || url.username !== '' || url.password !== '')
    throw authorFailure(
      'TRUST_AUTHOR_DESTINATION',
      name,
      'the address cannot be read, or contains a password: logins come from docker login',
    );
  return serviceDestination(address, name, credentialsOf(environment));
}
