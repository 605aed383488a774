import { request } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { peerCredentials } from '../../base/kernel/index.ts';

/** What is asked of docker's own API (Engine API, unversioned paths: the version that the engine speaks by itself). */
export interface DockerApi {
  /** Ids of the containers that run. @throws NETWORK_DOCKER_UNREACHABLE · NETWORK_DOCKER_REFUSED */
  running(): Promise<readonly string[]>;
  /** @param container its id or name. Undefined: there is none. @throws as {@link running} */
  inspect(container: string): Promise<unknown>;
  /** @param network its id. Undefined: there is none. @throws as {@link running} */
  network(network: string): Promise<unknown>;
  /**
   * Follows events until the engine or `end` ends it. Resolves then.
   * @param onOpen the engine has taken the request: what happens from now on is told
   * @param onEvent each, parsed
   */
  follow(filters: Readonly<Record<string, readonly string[]>>, onOpen: () => void, onEvent: (event: unknown) => void): Promise<void>;
  /** The process that listens at the socket (SO_PEERCRED), after anything was asked; 0: none of this PID namespace. */
  listener(): number;
  /** Ends what is under way; nothing is asked afterwards. */
  close(): void;
}

/** More than any container's description. */
const maxBody = 4 * 1024 * 1024;
const answerMs = 30_000;

export function openDockerApi(socketPath: string): DockerApi {
  const underWay = new Set<ClientRequest>();
  let closed = false;
  let listener = 0;

  const ask = (path: string): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      if (closed) return reject(unreachable(socketPath, 'it is asked no more'));
      const call = request({ socketPath, path, headers: { host: 'docker' }, agent: false });
      underWay.add(call);
      call.once('socket', (socket) => {
        socket.once('connect', () => {
          // Node has no interface for SO_PEERCRED; the descriptor is on the handle.
          const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
          if (fd >= 0) listener = peerCredentials(fd).pid;
        });
      });
      // Until there is an answer: an engine that starts a container answers about it when it has.
      const late = setTimeout(() => call.destroy(new Error(`no answer within ${answerMs / 1000} seconds`)), answerMs);
      late.unref();
      call.once('close', () => {
        clearTimeout(late);
        underWay.delete(call);
      });
      call.once('error', (thrown) => reject(unreachable(socketPath, reasonOf(thrown))));
      call.once('response', (response) => {
        clearTimeout(late);
        resolve(response);
      });
      call.end();
    });

  const get = async (path: string): Promise<unknown> => {
    const response = await ask(path);
    const text = await textOf(response).catch((thrown: unknown) => {
      throw unreachable(socketPath, reasonOf(thrown));
    });
    if (response.statusCode === 404) return undefined;
    if (response.statusCode !== 200) throw refused(path, `${response.statusCode ?? 0} ${text.slice(0, 300)}`);
    try {
      return parseJson(text);
    } catch {
      throw refused(path, 'the answer is no JSON');
    }
  };

  return {
    async running() {
      const list = await get('/containers/json');
      return (Array.isArray(list) ? list : []).flatMap((each: unknown) => {
        const id = typeof each === 'object' && each !== null ? (each as { readonly Id?: unknown }).Id : undefined;
        return typeof id === 'string' ? [id] : [];
      });
    },
    inspect: (container) => get(`/containers/${encodeURIComponent(container)}/json`),
    network: (network) => get(`/networks/${encodeURIComponent(network)}`),
    async follow(filters, onOpen, onEvent) {
      const path = `/events?filters=${encodeURIComponent(JSON.stringify(filters))}`;
      const response = await ask(path);
      if (response.statusCode !== 200) {
        response.destroy();
        throw refused(path, String(response.statusCode));
      }
      onOpen();
      const lines = createInterface({ input: response });
      lines.on('line', (line) => {
        try {
          onEvent(parseJson(line));
        } catch {
          // Half a line of an engine that was killed.
        }
      });
      await new Promise<void>((resolve) => {
        response.once('close', resolve);
        response.once('error', () => resolve());
        lines.once('error', () => resolve());
      });
    },
    listener: () => listener,
    close() {
      closed = true;
      for (const call of underWay) call.destroy();
    },
  };
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBody) throw new Error(`the answer is larger than ${maxBody} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const unreachable = (socketPath: string, why: string): PortcullisError =>
  new PortcullisError({
    code: 'NETWORK_DOCKER_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'ask docker for its containers',
    on: socketPath,
    why,
    fix: 'start docker, or give the socket of its API (network.dockerSocket, --docker-socket)',
  });

const refused = (path: string, why: string): PortcullisError =>
  new PortcullisError({
    code: 'NETWORK_DOCKER_REFUSED',
    kind: 'unavailable',
    attempted: 'ask docker for its containers',
    on: path,
    why,
    fix: "see docker's log",
  });
