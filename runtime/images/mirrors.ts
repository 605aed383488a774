import type { Mirror, RegistryClientOptions } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { credentialsIn } from '../../trust/index.ts';
import type { DaemonConfig, MirrorConfig } from '../config/types.ts';

/**
 * Returns the mirrors of a configuration, each with the credentials for it from its own file.
 * @throws PortcullisError `IMAGES_MIRROR_CREDENTIALS` when the file has no credentials for the mirror, and
 * errors of reading it
 */
export async function openMirrors(mirrors: Readonly<Record<string, MirrorConfig>>): Promise<ReadonlyMap<string, Mirror>> {
  const opened = Object.entries(mirrors).map(async ([registry, { url, origin, authFile }]) => {
    if (authFile === undefined) return [registry, { url, origin }] as const;
    const { host, pathname } = new URL(url);
    const credentials = await credentialsIn(authFile, { registry: host, repository: pathname.replace(/^\/(v2\/)?|\/$/g, '') });
    if (credentials !== undefined) return [registry, { url, origin, credentials }] as const;
    throw new PortcullisError({
      code: 'IMAGES_MIRROR_CREDENTIALS',
      kind: 'precondition',
      attempted: 'read the credentials of a mirror',
      on: `registries.mirrors.${registry}.authFile: ${authFile}`,
      why: `it has no entry for ${host}`,
      fix: `write one: podman login --authfile ${authFile} ${host}`,
    });
  });
  return new Map(await Promise.all(opened));
}

/**
 * Returns the registry options of the configuration, for a registry client. @throws as {@link openMirrors}
 */
export async function registryOptionsOf({ mirrors, insecure, certificates }: DaemonConfig['registries']): Promise<RegistryOptions> {
  return { mirrors: await openMirrors(mirrors), insecureHosts: insecure, certificateFolders: certificates };
}

type RegistryOptions = Required<Pick<RegistryClientOptions, 'certificateFolders' | 'insecureHosts' | 'mirrors'>>;
