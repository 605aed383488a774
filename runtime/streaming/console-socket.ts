import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { receiveDescriptor } from '../../base/kernel/index.ts';

/**
 * The socket to which an OCI runtime sends the master of a terminal that it creates in the container (runc
 * and crun, `--console-socket`).
 */
export interface ConsoleSocket {
  readonly path: string;
  /** The master. Undefined when the runtime ended without sending one. */
  readonly master: Promise<number | undefined>;
  close(): Promise<void>;
}

export const consoleSocketName = /^console-\d+-\d+$/;
let serial = 0;

/**
 * Opens a console socket.
 * @param folder must have a short path, because a socket's path has at most 107 bytes
 */
export async function openConsoleSocket(folder: string): Promise<ConsoleSocket> {
  serial += 1;
  const path = join(folder, `console-${process.pid}-${serial}`);
  let reported: (master: number | undefined) => void = () => undefined;
  const master = new Promise<number | undefined>((resolve) => (reported = resolve));
  let closed = false;
  const receive = (connection: Socket): void => {
    // Node must not read from it, because the descriptor would be lost. Only the handle has it.
    const fd =
      (connection as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
    let received: number | 'end' | undefined;
    try {
      received = closed ? 'end' : receiveDescriptor(fd);
    } catch {
      received = 'end';
    }
    if (received === undefined) return void setTimeout(receive, 1, connection);
    connection.destroy();
    reported(received === 'end' ? undefined : received);
  };
  const server = createServer({ pauseOnConnect: true }, receive);
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  return {
    path,
    master,
    close: async () => {
      closed = true;
      reported(undefined);
      await new Promise((resolve) => server.close(resolve));
      await rm(path, { force: true });
    },
  };
}
