import { createSocket } from 'node:dgram';
import type { RemoteInfo } from 'node:dgram';
import { openDatagramBatch, sockaddr } from '../../base/kernel/index.ts';
import type { DatagramPeer } from '../../base/kernel/index.ts';
import { ipBytes, ipFromBytes, parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { ListenerOptions } from './received-query.ts';

/** A datagram alone costs some tens of microseconds. A batch costs little more than one datagram. */
const batch = 64;
/** Questions are short, and answers over UDP have at most 1232 bytes. */
const slotBytes = 2048;
/** After this many rounds, other work gets its turn: TCP, answers of upstreams, timers. */
const roundsOfTurn = 16;
const rememberedAskers = 4096;

/**
 * Answers questions over UDP at a socket. Node reports the first waiting datagram and reads it. The others
 * are read together, and all answers that are ready at the same time are sent together.
 * @param fd bound, in the host network namespace of the listener
 */
export function openDatagrams(
  fd: number,
  { address, onQuery, onQueriesReceived }: Pick<ListenerOptions, 'address' | 'onQuery' | 'onQueriesReceived'>,
  fail: (thrown: unknown) => void,
): { close(): void } {
  const socket = createSocket(address.family === 4 ? 'udp4' : 'udp6');
  const datagrams = openDatagramBatch(fd, batch, slotBytes);
  const askers = new Map<string, IpAddress>();
  let closed = false;
  let taking = false;
  let leaving: NodeJS.Immediate | undefined;

  const send = (message: Buffer, name: Buffer): void => {
    if (closed) return;
    datagrams.add(message, name);
    if (taking) return;
    leaving ??= setImmediate(() => {
      leaving = undefined;
      if (!closed) datagrams.flush();
    });
  };

  const askerOf = (bytes: Buffer): IpAddress => {
    const key = bytes.toString('latin1');
    const known = askers.get(key) ?? ipFromBytes(bytes);
    if (askers.size >= rememberedAskers) askers.clear();
    askers.set(key, known);
    return known;
  };

  const arrived = (message: Buffer, asker: IpAddress, peer: Pick<DatagramPeer, 'port' | 'name'>): void => {
    // A datagram from port 0 cannot be answered.
    if (peer.port === 0) return;
    const name = Buffer.from(peer.name);
    onQuery({
      message,
      asker,
      byStream: false,
      reply: (answer) => {
        if (answer !== undefined) send(answer, name);
      },
    });
  };

  const takeAll = (): void => {
    for (let round = 0; round < roundsOfTurn; round += 1) {
      let first = true;
      const count = datagrams.receive((message, peer) => {
        if (first) onQueriesReceived();
        first = false;
        arrived(message, askerOf(peer.address), peer);
      });
      if (count < batch) return;
    }
  };

  socket.on('error', fail);
  socket.on('message', (message: Buffer, from: RemoteInfo) => {
    const asker = parseIp(from.address);
    taking = true;
    try {
      onQueriesReceived();
      if (asker !== undefined)
        arrived(message, asker, {
          port: from.port,
          name: sockaddr({ address: ipBytes(asker), port: from.port }),
        });
      takeAll();
      datagrams.flush();
    } catch (thrown) {
      fail(thrown);
    } finally {
      taking = false;
    }
  });
  socket.bind({ fd });
  return {
    close() {
      closed = true;
      clearImmediate(leaving);
      socket.close();
    },
  };
}
