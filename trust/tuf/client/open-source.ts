import { rootCertificates } from 'node:tls';
import { Agent } from 'undici';
import { tufFailure } from '../failure.ts';
import { httpSource } from './http-source.ts';
import type { HttpSourceOptions } from './http-source.ts';
import type { TufSource } from './source.ts';

export interface OpenSourceOptions extends HttpSourceOptions {
  /** PEM: who certifies the server, beside those of the system. */
  readonly authorities?: string;
}

/**
 * A repository's metadata by their address.
 * @param url `https://…`, `http://…`
 * @throws TRUST_TUF_UNREACHABLE for another kind of address
 */
export function openSource(url: string, { authorities, ...options }: OpenSourceOptions = {}): TufSource {
  if (!/^https?:\/\//u.test(url)) throw tufFailure('TRUST_TUF_UNREACHABLE', url, 'this kind of address is not known');
  return httpSource(url, { ...options, ...(authorities === undefined ? {} : { agent: agentOf(authorities) }) });
}

const agents = new Map<string, Agent>();

/** Connections to one service are shared by its files and its updates. */
function agentOf(authorities: string): Agent {
  let agent = agents.get(authorities);
  if (agent === undefined) {
    agent = new Agent({ connect: { ca: [...rootCertificates, authorities] } });
    agents.set(authorities, agent);
  }
  return agent;
}
