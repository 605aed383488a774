/** The key of Docker Hub in credential files, and its name for helpers. */
export const dockerHub = 'https://index.docker.io/v1/';

/**
 * Returns the host of a key in these files: `https://HOST/v1/` in old versions of Docker, `HOST/namespace` in
 * podman.
 */
export function keyOf(host: string): string {
  if (host === dockerHub || host === 'index.docker.io' || host === 'registry-1.docker.io') return 'docker.io';
  const isUrl = /^https?:\/\//.test(host);
  const bare = host.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  return isUrl ? bare.replace(/\/.*$/, '') : bare;
}
