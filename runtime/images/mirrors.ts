import type { HostTls, Mirror, RegistryClientOptions, RegistryRule } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { credentialsIn } from '../../trust/credentials/index.ts';
import { registryRulesOf } from '../config/registry-rules.ts';
import type { DaemonConfig, PrefixMirrorConfig } from '../config/types.ts';

/**
 * Returns the rules of a configuration, with the credentials for each mirror from its own file.
 * @throws PortcullisError `IMAGES_MIRROR_CREDENTIALS` when the file has no credentials for the mirror, and
 * errors of reading it
 */
export async function openRules(
  registries: Pick<DaemonConfig['registries'], 'mirrors' | 'prefixes'>,
): Promise<ReadonlyMap<string, RegistryRule>> {
  const opened = [...registryRulesOf(registries)].map(
    async ([prefix, { blocked, mirrors, origin }]): Promise<[string, RegistryRule]> => [
      prefix,
      { blocked, origin, mirrors: await Promise.all(mirrors.map((mirror) => openMirror(prefix, mirror))) },
    ],
  );
  return new Map(await Promise.all(opened));
}

async function openMirror(
  prefix: string,
  { url, tags = true, authFile }: PrefixMirrorConfig,
): Promise<Mirror> {
  if (authFile === undefined) return { url, tags };
  const { host, pathname } = new URL(url);
  const credentials = await credentialsIn(authFile, {
    registry: host,
    repository: pathname.replace(/^\/(v2\/)?|\/$/g, ''),
  });
  if (credentials !== undefined) return { url, tags, credentials };
  throw new PortcullisError({
    code: 'IMAGES_MIRROR_CREDENTIALS',
    kind: 'precondition',
    attempted: 'read the credentials of a mirror',
    on: `of ${prefix}, authFile: ${authFile}`,
    why: `it has no entry for ${host}`,
    fix: `write one: podman login --authfile ${authFile} ${host}`,
  });
}

/** Hosts are compared with those of URLs, which are in lower case and without the port of https. */
function tlsOf(tls: DaemonConfig['registries']['tls']): ReadonlyMap<string, HostTls> {
  return new Map(
    Object.entries(tls).map(([host, { ca, cert, key }]) => [
      URL.parse(`https://${host}`)?.host ?? host,
      { ca, ...(cert === undefined || key === undefined ? {} : { client: { cert, key } }) },
    ]),
  );
}

/**
 * Returns the registry options of the configuration, for a registry client. @throws as {@link openRules}
 */
export async function registryOptionsOf(registries: DaemonConfig['registries']): Promise<RegistryOptions> {
  const { insecure, certificates, tls } = registries;
  return {
    rules: await openRules(registries),
    insecureHosts: insecure,
    certificateFolders: certificates,
    tls: tlsOf(tls),
  };
}

type RegistryOptions = Required<
  Pick<RegistryClientOptions, 'certificateFolders' | 'insecureHosts' | 'rules' | 'tls'>
>;
