import type { ClientRequest, IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { httpRequest } from '../../../base/connections/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { peerCredentials } from '../../../base/kernel/index.ts';

/** The client of docker's own API (Engine API, unversioned paths: the engine uses its own version). */
export interface DockerApi {
  /**
   * Returns the ids of the running containers.
   * @throws NETWORK_DOCKER_UNREACHABLE · NETWORK_DOCKER_REFUSED
   */
  running(): Promise<readonly string[]>;
  /**
   * Returns undefined if there is no such container.
   * @param container its id or name
   * @throws as {@link running}
   */
  inspect(container: string): Promise<unknown>;
  /** Returns undefined if there is no such network. @param network its id @throws as {@link running} */
  network(network: string): Promise<unknown>;
  /**
   * Follows events until the engine or `end` ends the stream. Resolves then.
   * @param onOpen called when the engine has accepted the request; later events are delivered
   * @param onEvent called with each event, parsed
   */
  follow(
    filters: Readonly<Record<string, readonly string[]>>,
    onOpen: () => void,
    onEvent: (event: unknown) => void,
  ): Promise<void>;
  /**
   * Returns the process that listens at the socket (SO_PEERCRED), after the first request; 0: no process of
   * this PID namespace.
   */
  listener(): number;
  /** Ends requests in progress. No further requests are sent. */
  close(): void;
}

/** Larger than any container's description. */
const maxBody = 4 * 1024 * 1024;
const answerMs = 30_000;

export function openDockerApi(socketPath: string): DockerApi {
  const underWay = new Set<ClientRequest>();
  let closed = false;
  let listener = 0;

  const ask = (path: string): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      if (closed) return reject(unreachable(socketPath, 'the connection to it was closed'));
      const call = httpRequest({ socketPath, path, headers: { host: 'docker' }, agent: false });
      underWay.add(call);
      call.once('socket', (socket) => {
        socket.once('connect', () => {
          // Node has no API for SO_PEERCRED; the descriptor is on the handle.
          const fd =
            (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
          if (fd >= 0) listener = peerCredentials(fd).pid;
        });
      });
      // The time limit applies until the response begins. An engine that is starting a container answers
      // queries about it only afterwards.
      const late = setTimeout(
        () => call.destroy(new Error(`no answer within ${answerMs / 1000} seconds`)),
        answerMs,
      );
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
      throw refused(path, 'the answer is not JSON');
    }
  };

  return {
    async running() {
      const list = await get('/containers/json');
      return (Array.isArray(list) ? list : []).flatMap((each: unknown) => {
        const id =
          typeof each === 'object' && each !== null ? (each as { readonly Id?: unknown }).Id : undefined;
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
          // An engine that was killed left an incomplete line.
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
