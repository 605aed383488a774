import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import type { Socket as DatagramSocket } from 'node:dgram';
import { connectUdp, send } from '../../base/kernel/index.ts';
import { meansShortage, reasonOf } from '../../base/errors/index.ts';
import { ipBytes } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { headerBytes } from './message-format.ts';
import { answersTo, forwarded } from './forwarded-messages.ts';
import type { Query } from './query.ts';
import type { HostNamespace } from './host-namespace.ts';

/**
 * Sends questions to one name server over UDP. A forged answer must guess the port and the id (RFC 5452):
 * every question leaves by one of several sockets with a random id, and after a while a socket is replaced by
 * one with another port.
 */
export interface PeerSockets {
  /** @returns a function that forgets the question: a later answer is ignored */
  ask(query: Buffer, asked: Query, hears: Hears): () => void;
  /** Closes idle sockets. Returns true if none is left. */
  rest(): boolean;
  close(): void;
}

export interface Hears {
  answer(message: Buffer): void;
  /** The server cannot be reached. */
  failure(why: string): void;
}

const socketsOfPeer = 4;
const questionsOfSocket = 500;
const receiveBytes = 1024 * 1024;
const namePort = 53;

interface PeerSocket {
  readonly fd: number;
  readonly datagrams: DatagramSocket;
  readonly waiting: Map<number, { readonly query: Buffer; readonly asked: Query; readonly hears: Hears }>;
  asked: number;
}

/** @param port of the server; other than the DNS port in tests only */
export function openPeerSockets(place: HostNamespace, server: IpAddress, port = namePort): PeerSockets {
  const open: PeerSocket[] = [];
  /** Sockets to be closed that still wait for an answer. */
  const leaving = new Set<PeerSocket>();

  const close = (socket: PeerSocket): void => {
    leaving.delete(socket);
    if (open.includes(socket)) open.splice(open.indexOf(socket), 1);
    socket.datagrams.close();
  };

  const fail = (socket: PeerSocket, why: string): void => {
    const waiting = [...socket.waiting.values()];
    socket.waiting.clear();
    close(socket);
    for (const { hears } of waiting) hears.failure(why);
  };

  const release = (socket: PeerSocket, id: number): void => {
    socket.waiting.delete(id);
    if (leaving.has(socket) && socket.waiting.size === 0) close(socket);
  };

  const make = (): PeerSocket => {
    const fd = place.inside(() => connectUdp({ address: ipBytes(server), port }, receiveBytes));
    const datagrams = createSocket(server.family === 4 ? 'udp4' : 'udp6');
    const socket: PeerSocket = { fd, datagrams, waiting: new Map(), asked: 0 };
    datagrams.on('error', (error) => fail(socket, reasonOf(error)));
    datagrams.on('message', (message) => {
      if (message.length < headerBytes) return;
      const id = message.readUInt16BE(0);
      const question = socket.waiting.get(id);
      if (question === undefined || !answersTo(message, question.query, question.asked)) return;
      release(socket, id);
      question.hears.answer(message);
    });
    datagrams.bind({ fd });
    open.push(socket);
    return socket;
  };

  const chooseOpen = (): PeerSocket => {
    const chosen = open[randomInt(open.length)];
    if (chosen === undefined) throw new Error('a peer without sockets');
    return chosen;
  };

  const choose = (): PeerSocket => {
    if (open.length >= socketsOfPeer) return chooseOpen();
    try {
      return make();
    } catch (thrown) {
      // Without descriptors, the sockets that are open still serve.
      if (open.length === 0 || !meansShortage(thrown)) throw thrown;
      return chooseOpen();
    }
  };

  const freeId = (socket: PeerSocket): number => {
    for (;;) {
      const id = randomInt(0x10000);
      if (!socket.waiting.has(id)) return id;
    }
  };

  return {
    ask(query, asked, hears) {
      const socket = choose();
      const id = freeId(socket);
      socket.waiting.set(id, { query, asked, hears });
      socket.asked += 1;
      if (socket.asked >= questionsOfSocket) {
        open.splice(open.indexOf(socket), 1);
        leaving.add(socket);
      }
      try {
        send(socket.fd, forwarded(query, asked, id));
      } catch (thrown) {
        release(socket, id);
        throw thrown;
      }
      return () => release(socket, id);
    },
    rest() {
      for (const socket of [...open]) if (socket.waiting.size === 0) close(socket);
      return open.length === 0 && leaving.size === 0;
    },
    close: () => [...open, ...leaving].forEach(close),
  };
}
