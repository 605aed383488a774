import { request } from 'node:https';
import type { Duplex } from 'node:stream';
import {
  controlFrame,
  createFrameParser,
  dataHeader,
  flagFin,
  frameTypes,
} from '../../../runtime/streaming/spdy/frames.ts';
import { createHeaderWriter } from '../../../runtime/streaming/spdy/header-block.ts';
import { patience } from '../../fixtures/kubelet/patience.ts';
import type { KubeletServer } from '../../fixtures/kubelet/server.ts';

/** A client uses odd stream numbers. */
const streams = { error: 1, data: 3 } as const;

/**
 * Opens one connection to a port of a pod through the kubelet, over SPDY/3.1 like `kubectl`: an error stream
 * and a data stream (k8s.io/kubelet, portforward). Sends `text`, and resolves with all received data once the
 * other side closed.
 */
export async function throughPortForward(
  server: KubeletServer,
  pod: string,
  port: number,
  text: string,
): Promise<string> {
  const socket = await upgrade(server, `/portForward/${pod}`);
  const headersOf = createHeaderWriter();
  const open = (stream: number, streamType: string, flags: number): void => {
    const headers = new Map([
      ['streamtype', streamType],
      ['port', String(port)],
      ['requestid', '0'],
    ]);
    socket.write(
      controlFrame(frameTypes.synStream, flags, stream, 0, Buffer.from([0, 0]), headersOf(headers)),
    );
  };
  const parse = createFrameParser();
  const received = { data: '', error: '' };
  try {
    return await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`port ${port}: no end in time: ${JSON.stringify(received)}`)),
        patience(20_000),
      );
      const finish = (act: () => void): void => {
        clearTimeout(timer);
        act();
      };
      socket.on('data', (chunk: Buffer) => {
        for (const frame of parse(chunk)) {
          if (frame.kind !== 'data') continue;
          received[frame.stream === streams.data ? 'data' : 'error'] += frame.bytes.toString();
          if (frame.stream === streams.error && received.error !== '')
            finish(() => reject(new Error(received.error)));
          if (frame.stream === streams.data && frame.fin) finish(() => resolve(received.data));
        }
      });
      socket.on('error', (cause) => finish(() => reject(cause)));
      open(streams.error, 'error', flagFin);
      open(streams.data, 'data', 0);
      const bytes = Buffer.from(text);
      socket.write(Buffer.concat([dataHeader(streams.data, bytes.length, false), bytes]));
    });
  } finally {
    socket.destroy();
  }
}

function upgrade(server: KubeletServer, path: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const asked = request({
      host: server.host,
      port: server.port,
      path,
      method: 'POST',
      rejectUnauthorized: false,
      headers: {
        Connection: 'Upgrade',
        Upgrade: 'SPDY/3.1',
        'X-Stream-Protocol-Version': 'portforward.k8s.io',
      },
    });
    asked.on('upgrade', (_answer, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    asked.on('response', (answer) =>
      reject(new Error(`${path}: ${answer.statusCode ?? 0} instead of an upgrade`)),
    );
    asked.on('error', reject);
    asked.end();
  });
}
