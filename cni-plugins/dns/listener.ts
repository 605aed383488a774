import type { ListenerOptions } from './received-query.ts';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createConnectionSlots } from '../../base/connections/index.ts';
import { bindTcp, bindUdp, closeFd } from '../../base/kernel/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { formatIp, ipBytes, parseIp } from '../../base/addresses/index.ts';
import { openDatagrams } from './datagrams.ts';
import { framed, readFrames } from './stream-frames.ts';

/** A listener for the pods of a network: UDP and TCP at the network's gateway. */
export interface DnsListener {
  close(): void;
}

/** Holds a burst of about ten thousand questions: the kernel counts about 768 bytes for each. */
const receiveBytes = 8 * 1024 * 1024;
/**
 * A client with fewer connections replaces one with the most, so that no number of clients keeps another one
 * out.
 */
const limits = { most: 256, mostOfPeer: 32 };
/** RFC 7766, section 6.2.3: seconds, not minutes. */
const idleMs = 10_000;
/** The most questions of one connection in progress. More are read after these are answered. */
const mostUnderWay = 64;
/**
 * Bytes of answers that a client has not read. Thousands of questions come in one read, and their answers may
 * have 64 KiB each. No resolver lets so many wait.
 */
const mostUnread = 1024 * 1024;

/**
 * @throws KERNEL_EADDRINUSE (another name server listens there) · KERNEL_EADDRNOTAVAIL (the gateway is not an
 * address of this host, or not yet)
 */
export function openDnsListener(options: ListenerOptions): DnsListener {
  const { place, port } = options;
  const end = { address: ipBytes(options.address), port };
  const fds = place.inside(() => {
    const udp = bindUdp(end, receiveBytes);
    try {
      return { udp, tcp: bindTcp(end) };
    } catch (thrown) {
      closeFd(udp);
      throw thrown;
    }
  });
  let closed = false;
  const close = (): void => {
    if (closed) return;
    closed = true;
    datagrams.close();
    streams.close();
  };
  const fail = (thrown: unknown): void => {
    if (closed) return;
    close();
    options.onFailure(reasonOf(thrown));
  };
  const datagrams = openDatagrams(fds.udp, options, fail);
  const streams = openStreams(fds.tcp, options, fail);
  return { close };
}

function openStreams(
  fd: number,
  { onQuery, onQueriesReceived }: ListenerOptions,
  fail: (thrown: unknown) => void,
): { close(): void } {
  const open = new Set<Socket>();
  const slots = createConnectionSlots(limits);
  const server: Server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const asker = parseIp(socket.remoteAddress ?? '');
    const place = asker === undefined ? undefined : slots.admit(formatIp(asker), () => socket.destroy());
    if (asker === undefined || place === undefined) return void socket.destroy();
    open.add(socket);
    socket.on('close', () => {
      open.delete(socket);
      place.leave();
    });
    socket.on('error', () => socket.destroy());
    socket.setTimeout(idleMs, () => socket.destroy());
    let underWay = 0;
    // A client that sends no more questions still waits for its answers (RFC 1035, section 4.2.2).
    const endIfAnswered = (): void => {
      if (socket.readableEnded && underWay === 0) socket.end();
    };
    socket.on('end', endIfAnswered);
    const balance = (): void => {
      if (underWay >= mostUnderWay || socket.writableNeedDrain) socket.pause();
      else socket.resume();
    };
    socket.on('drain', balance);
    const read = readFrames((message) => {
      if (socket.destroyed) return;
      underWay += 1;
      place.busy();
      balance();
      onQuery({
        message,
        asker,
        byStream: true,
        reply(answer) {
          underWay -= 1;
          if (underWay === 0) place.idle();
          if (socket.destroyed) return;
          if (answer === undefined || socket.writableLength > mostUnread) socket.destroy();
          else socket.write(framed(answer));
          balance();
          endIfAnswered();
        },
      });
    });
    socket.on('data', (bytes: Buffer) => {
      try {
        onQueriesReceived();
        read(bytes);
      } catch (thrown) {
        fail(thrown);
      }
    });
  });
  server.on('error', fail);
  server.listen({ fd });
  return {
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
