import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { PortcullisError, meansGone, reasonOf } from '../../base/errors/index.ts';
import {
  adopt,
  closeFd,
  connectLoopback,
  inNamespaces,
  loopbackConnected,
  O_RDONLY,
  openLoopbackSocket,
  withOpen,
} from '../../base/kernel/index.ts';
import type { ForwardPlan } from './plan.ts';

/** The maximum time for a pod to accept. */
const connectMs = 30_000;

/**
 * Forwards one connection to the pod's loopback and back. Each direction ends by itself. Resolves when the
 * pod has sent its last byte, or either side has disconnected. Input continues as long as there is any.
 * @throws Error with the sentence that other runtimes write to the error stream
 */
export async function forward(plan: ForwardPlan, port: number, data: Duplex): Promise<void> {
  const hasLeft = (): boolean => data.destroyed;
  let target: Socket;
  try {
    target = await dial(plan, port, data);
  } catch (cause) {
    throw new Error(`error forwarding port ${port} to pod ${plan.sandbox}, uid : ${reasonOf(cause)}`, {
      cause,
    });
  }
  // Its `close` is over then, and nothing would ever close the connection.
  if (hasLeft()) {
    target.destroy();
    return;
  }
  let failure: Error | undefined;
  target.on('error', (reason) => {
    if (!hasLeft()) failure = reason;
  });
  const done = new Promise<void>((resolve) => {
    data.once('finish', resolve);
    data.once('close', () => resolve());
  });
  data.once('close', () => target.destroy());
  target.once('close', () => {
    // A pod that has disconnected accepts no more data. A pod that has only ended its side may still accept
    // it.
    if (!data.writableEnded) data.end();
    data.resume();
  });
  data.pipe(target);
  target.pipe(data);
  await done;
  // The stream of a client that has ended its input is gone as soon as it has ended here, too.
  if (failure !== undefined)
    throw new Error(`error forwarding port ${port} to pod ${plan.sandbox}, uid : ${failure.message}`);
}

/**
 * Connects to 127.0.0.1, then to [::1], inside the pod's network namespace. The sockets are created inside
 * and used from outside.
 * @param data the client's side: when it is destroyed, nothing waits for the connection any more
 */
async function dial(plan: ForwardPlan, port: number, data: Duplex): Promise<Socket> {
  const failures: string[] = [];
  for (const version of [4, 6] as const) {
    try {
      return await connect(plan.namespace, version, port, data);
    } catch (cause) {
      if (meansGone(cause))
        throw new Error(`network namespace for sandbox "${plan.sandbox}" is closed`, { cause });
      const address = version === 4 ? `127.0.0.1:${port}` : `[::1]:${port}`;
      failures.push(`dial tcp${version} ${address}: connect: ${describe(cause)}`);
    }
  }
  const where = plan.namespace === undefined ? 'on the host' : `in network namespace "${plan.namespace}"`;
  throw new Error(
    `failed to execute portforward ${where}: failed to connect to localhost:${port} inside namespace "${plan.sandbox}", ` +
      `IPv4: ${failures[0] ?? ''} IPv6: ${failures[1] ?? ''}`,
  );
}

async function connect(
  namespace: string | undefined,
  version: 4 | 6,
  port: number,
  data: Duplex,
): Promise<Socket> {
  const fd = namespace === undefined ? openLoopbackSocket(version) : openInside(namespace, version);
  if (!connectLoopback(fd, version, port)) {
    const deadline = performance.now() + connectMs;
    for (let waitMs = 1; !loopbackConnected(fd, version, port); waitMs = Math.min(waitMs * 2, 100)) {
      const hasLeft = data.destroyed;
      if (hasLeft || performance.now() > deadline) {
        closeFd(fd);
        throw new Error(hasLeft ? 'the client has left' : 'connection timed out');
      }
      await pause(waitMs);
    }
  }
  return adopt(fd).socket;
}

function openInside(namespace: string, version: 4 | 6): number {
  return withOpen(namespace, O_RDONLY, (net) => inNamespaces({ net }, () => openLoopbackSocket(version)));
}

/** Uses the wording of Go, so that programs that parse messages of other runtimes can parse ours. */
function describe(cause: unknown): string {
  const text = cause instanceof PortcullisError ? cause.failure.why : reasonOf(cause);
  return text.replace(/ \(E[A-Z]+\)$/, '');
}
