import { callBackend, openBackend } from './backend.ts';

const patienceMs = 2_000;

export interface BackendProbe {
  /** Asks the backend for its version, on a connection of its own. Askers at the same time share one. */
  answers(): Promise<boolean>;
  /** How many connections to the backend it has now. */
  connections(): number;
}

/** @param socket the path of the backend's socket */
export function createBackendProbe(socket: string): BackendProbe {
  let running: Promise<boolean> | undefined;
  const probe = async (): Promise<boolean> => {
    const connection = openBackend(socket);
    try {
      await callBackend(connection, socket, {
        path: '/runtime.v1.RuntimeService/Version',
        headers: { 'content-type': 'application/grpc+proto', te: 'trailers' },
        message: Buffer.alloc(0),
        signal: AbortSignal.timeout(patienceMs),
      });
      return true;
    } catch {
      return false;
    } finally {
      connection.close();
      running = undefined;
    }
  };
  return {
    answers: () => (running ??= probe()),
    connections: () => (running === undefined ? 0 : 1),
  };
}
