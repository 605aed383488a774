/** Docker Hub's key in files of credentials, and its name to helpers. */
export const dockerHub = 'https://index.docker.io/v1/';

/** A host as these files write it: `https://HOST/v1/` by old dockers, `HOST/namespace` by podman. */
export function keyOf(host: string): string {
  if (host === dockerHub || host === 'index.docker.io' || host === 'registry-1.docker.io') return 'docker.io';
  const isUrl = /^https?:\/\//.test(host);
  const bare = host.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  return isUrl ? bare.replace(/\/.*$/, '') : bare;
}
