import { chmodSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { failure, reasonOf } from '../../base/errors/index.ts';
import { parseDeclaration } from '../../base/protobuf/index.ts';
import { serveTtrpc, ttrpcHandler, ttrpcMethods } from '../../base/ttrpc/index.ts';
import type { TtrpcServer } from '../../base/ttrpc/index.ts';

interface ForwardRequest {
  readonly envelope?: { readonly topic: string };
}

/** Number of shims that may report at a time. */
const mostShims = 4096;

const forward = ttrpcMethods(
  parseDeclaration({
    package: 'containerd.services.events.ttrpc.v1',
    services: { Events: { Forward: 'ForwardRequest Empty' } },
    messages: {
      Empty: {},
      ForwardRequest: { envelope: '1 Envelope' },
      Envelope: { topic: '3 string' },
    },
  }),
)<ForwardRequest, object>('Events', 'Forward');

/**
 * Serves the events of shims (containerd, api/services/ttrpc/events/v1). A shim does not start without this
 * service, and repeats an event that is not answered. This daemon asks a shim how a task ended and reads in the
 * cgroup whether it ran out of memory, so it needs no event, and only answers.
 * @param socket absolute path in a folder that only root may enter
 * @throws PortcullisError SHIM_EVENTS_UNSERVED when the socket cannot be opened
 */
export async function serveEvents(socket: string): Promise<{ close(): void }> {
  const open = new Set<TtrpcServer>();
  const listener = createServer((connection) => {
    const server = serveTtrpc(connection, [ttrpcHandler(forward, () => ({}))], { name: 'a shim' });
    open.add(server);
    void server.closed.then(() => open.delete(server));
  });
  listener.maxConnections = mostShims;
  try {
    rmSync(socket, { force: true });
    listener.listen(socket);
    await once(listener, 'listening');
    chmodSync(socket, 0o600);
  } catch (cause) {
    throw failure(
      'SHIM_EVENTS_UNSERVED',
      'precondition',
      'serve the events of shims at',
      socket,
      reasonOf(cause),
      'choose a shorter state folder, or correct its permissions',
    );
  }
  return {
    close: () => {
      listener.close();
      for (const server of open) server.close();
    },
  };
}
