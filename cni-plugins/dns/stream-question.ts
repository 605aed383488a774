import { Socket } from 'node:net';
import { connectTcp } from '../../base/kernel/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { ipBytes } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { answersTo, forwarded } from './forwarded-messages.ts';
import type { Query } from './query.ts';
import type { Hears } from './peer-sockets.ts';
import type { HostNamespace } from './host-namespace.ts';
import { framed, readFrames } from './stream-frames.ts';

/**
 * Sends one question to a name server over TCP (RFC 7766), on its own connection.
 * @returns a function that gives up the question
 */
export function askByStream(
  place: HostNamespace,
  server: IpAddress,
  port: number,
  query: Buffer,
  asked: Query,
  hears: Hears,
): () => void {
  const fd = place.inside(() => connectTcp({ address: ipBytes(server), port }));
  const socket = new Socket({ fd, readable: true, writable: true });
  let over = false;
  const end = (report: () => void): void => {
    if (over) return;
    over = true;
    socket.destroy();
    report();
  };
  const read = readFrames((message) => {
    if (over) return;
    const isAnswer =
      message.length >= 2 && message.readUInt16BE(0) === asked.id && answersTo(message, query, asked);
    if (isAnswer) return end(() => hears.answer(Buffer.from(message)));
    // A server that sends other messages without end would keep this thread busy.
    end(() => hears.failure('the server sent a message that does not answer the question'));
  });
  socket.on('data', read);
  socket.on('error', (error) => end(() => hears.failure(reasonOf(error))));
  socket.on('close', () => end(() => hears.failure('the server closed the connection without an answer')));
  socket.write(framed(forwarded(query, asked, asked.id)));
  return () => end(() => undefined);
}
