import { isLoopback } from '../http/index.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { Mirror } from './types.ts';

/** Docker Hub's API is served under another name than its images'. */
const apiHosts: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' };

/** Where a repository is asked for: `https://host[:port]`, and what stands before its name there. */
export interface Endpoint {
  readonly origin: string;
  readonly host: string;
  readonly prefix: string;
}

/** Plain HTTP is spoken to loopback hosts and to those named; `https` on port 443 of a loopback host, and where certificates are kept for it. */
export function createHostRules(insecureHosts: readonly string[], hasCertificates: (host: string) => boolean = () => false) {
  const insecure = new Set(insecureHosts.map((host) => host.toLowerCase()));
  const plainHttpAllowed = (url: URL): boolean => isLoopback(url.hostname) || insecure.has(url.host) || insecure.has(url.hostname);

  return {
    /** Whether `url` may be asked at all: https, or plain HTTP to such a host. */
    mayAsk: (url: URL): boolean => url.protocol === 'https:' || (url.protocol === 'http:' && plainHttpAllowed(url)),

    origin(registry: string): Endpoint {
      const host = apiHosts[registry] ?? registry;
      const url = new URL(`http://${host}`);
      const secure = !plainHttpAllowed(url) || host.endsWith(':443') || hasCertificates(host);
      return { origin: `${secure ? 'https' : 'http'}://${host}`, host, prefix: '' };
    },

    mirror(registry: string, { url: text }: Mirror): Endpoint {
      const task: Task = { attempted: 'use mirror', on: `of ${registry}` };
      const url = URL.parse(text);
      if (url === null || !['http:', 'https:'].includes(url.protocol))
        throw distributionError('DISTRIBUTION_BAD_MIRROR', task, 'its URL is not one of http or https');
      // The text itself is not shown: it may hold a password.
      if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
        throw distributionError('DISTRIBUTION_BAD_MIRROR', task, 'its URL holds more than host, port and path');
      }
      // A mirror given as http:// was named in so many words.
      if (url.protocol === 'http:') insecure.add(url.host);
      const prefix = url.pathname.replaceAll(/^\/+|\/+$/g, '');
      return { origin: url.origin, host: url.host, prefix: prefix === '' ? '' : `${prefix}/` };
    },
  };
}

export type HostRules = ReturnType<typeof createHostRules>;
