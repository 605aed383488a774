import { connect } from 'node:net';
import { greeting, headSize } from './frames.ts';

/**
 * Checks whether the daemon answers at its socket: sends VERSION as a plugin does. Returns undefined if it
 * answers, otherwise the reason why not. Changes nothing.
 */
export function askDaemon(socket: string, timeoutMs = 2000): Promise<string | undefined> {
  return new Promise((resolve) => {
    const strings = Buffer.from('portcullis-ipam\0CNI_COMMAND=VERSION\0');
    const head = Buffer.alloc(headSize);
    greeting.copy(head);
    head.writeBigUInt64LE(1n, 8);
    head.writeBigUInt64LE(BigInt(strings.length), 16);
    let received = '';
    const connection = connect(socket, () => connection.write(Buffer.concat([head, strings])));
    connection.setTimeout(timeoutMs, () => done(`no answer within ${timeoutMs} ms`));
    connection.on('data', (chunk) => (received += chunk.toString('latin1')));
    connection.on('error', (error: NodeJS.ErrnoException) =>
      done(reasons[error.code ?? ''] ?? error.message),
    );
    connection.on('end', () =>
      done(received.includes('"supportedVersions"') ? undefined : 'it speaks another protocol'),
    );
    const done = (why: string | undefined): void => {
      connection.destroy();
      resolve(why);
    };
  });
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket: the daemon does not run, or listens elsewhere',
  ECONNREFUSED: 'no process listens there: the daemon does not run',
  EACCES: 'only root may ask',
};
