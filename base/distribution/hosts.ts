import { isLoopback } from '../http/index.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { Mirror } from './types.ts';

/** Docker Hub serves its API under another host name than its images' names use. */
const apiHosts: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' };

/** Where requests for a repository go: `https://host[:port]`, and the path prefix before its name there. */
export interface Endpoint {
  readonly origin: string;
  readonly host: string;
  readonly prefix: string;
}

/**
 * Plain HTTP is used for loopback hosts and for the given hosts. `https` is used on port 443 of a loopback
 * host, and for a host that has certificates.
 */
export function createHostRules(
  insecureHosts: readonly string[],
  hasCertificates: (host: string) => boolean = () => false,
) {
  const insecure = new Set(insecureHosts.map((host) => host.toLowerCase()));
  const plainHttpAllowed = (url: URL): boolean =>
    isLoopback(url.hostname) || insecure.has(url.host) || insecure.has(url.hostname);

  return {
    /** Returns whether `url` may be requested: https, or plain HTTP to such a host. */
    mayAsk: (url: URL): boolean =>
      url.protocol === 'https:' || (url.protocol === 'http:' && plainHttpAllowed(url)),

    origin(registry: string): Endpoint {
      const host = apiHosts[registry] ?? registry;
      const url = new URL(`http://${host}`);
      const secure = !plainHttpAllowed(url) || host.endsWith(':443') || hasCertificates(host);
      return { origin: `${secure ? 'https' : 'http'}://${host}`, host, prefix: '' };
    },

    mirror(of: string, { url: text }: Mirror): Endpoint {
      const task: Task = { attempted: 'use mirror', on: `of ${of}` };
      const url = URL.parse(text);
      if (url === null || !['http:', 'https:'].includes(url.protocol))
        throw distributionError('DISTRIBUTION_BAD_MIRROR', task, 'its URL is not an http or https URL');
      // The text itself is not shown, because it may contain a password.
      if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
        throw distributionError(
          'DISTRIBUTION_BAD_MIRROR',
          task,
          'its URL contains more than host, port and path',
        );
      }
      // A mirror given as http:// was explicitly configured.
      if (url.protocol === 'http:') insecure.add(url.host);
      const prefix = url.pathname.replaceAll(/^\/+|\/+$/g, '');
      return { origin: url.origin, host: url.host, prefix: prefix === '' ? '' : `${prefix}/` };
    },
  };
}

export type HostRules = ReturnType<typeof createHostRules>;
