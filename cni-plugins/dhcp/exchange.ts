import {
  closeFd,
  openPacketSocket,
  receivePacket,
  sendPacket,
  watchInEventLoop,
} from '../../base/kernel/index.ts';
import type { Received, Sent } from './client.ts';
import { clientPort, decodeDatagram, encodeDatagram, serverPort } from './datagram.ts';
import { decodeMessage, encodeMessage } from './message.ts';

/** A socket on a pod's interface, open while an answer is awaited. */
export interface Exchange {
  /** @throws KERNEL_ENETDOWN and others */
  send(sent: Sent): void;
  close(): void;
}

/** A link in the network namespace of the calling thread. */
export interface ExchangeLink {
  readonly index: number;
}

/** The interface of a client: its messages have this MAC address. */
export interface ExchangeClient extends ExchangeLink {
  readonly mac: string;
}

export interface ExchangeListener {
  received(received: Received): void;
  /** The link sends too much, or the socket failed. The exchange is closed. */
  ended(why: string): void;
}

const everyone = 0xffffffff;
const broadcastMac = Buffer.alloc(6, 0xff);
/** Longer messages than a client announces are cut off, and are no messages then. */
const longest = 2048;
const mostAtOnce = 16;
/** Servers send one answer to each packet of the client. */
const mostBySend = 256;
/** The place of the client's MAC address in a message (RFC 2131, section 2: `chaddr`). */
const macAt = 28;

/**
 * Call it in the network namespace of the link. Answers to other clients, which servers may broadcast to the
 * whole link, are not received. @throws KERNEL_ENODEV · KERNEL_ENETDOWN and others
 */
export function openExchange({ index, mac }: ExchangeClient, listener: ExchangeListener): Exchange {
  const fd = openPacketSocket(index, clientPort, { at: macAt, bytes: macBytes(mac) });
  const buffer = Buffer.alloc(longest);
  let isOpen = true;
  let sinceSend = 0;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    unwatch();
    closeFd(fd);
  };
  const readSome = (): void => {
    for (let count = 0; count < mostAtOnce && isOpen; count += 1) {
      const packet = receivePacket(fd, buffer);
      if (packet === undefined) return;
      sinceSend += 1;
      if (sinceSend > mostBySend) {
        close();
        return listener.ended(`more than ${mostBySend} datagrams to the port ${clientPort} arrived`);
      }
      const datagram = packet.isOwn ? undefined : decodeDatagram(buffer.subarray(0, packet.length));
      const message = datagram === undefined ? undefined : decodeMessage(datagram.payload);
      if (typeof message === 'object') listener.received({ message, from: macText(packet.mac) });
    }
  };
  const unwatch = watchInEventLoop(fd, () => {
    try {
      readSome();
    } catch (thrown) {
      close();
      listener.ended(String(thrown));
    }
  });
  return {
    send(sent) {
      sinceSend = 0;
      sendOn(fd, index, sent);
    },
    close,
  };
}

/** Sends one packet that is not answered. Call it in the network namespace of the link. */
export function sendOnce({ index }: ExchangeLink, sent: Sent): void {
  using opened = new DisposableStack();
  const fd = opened.adopt(openPacketSocket(index, clientPort), closeFd);
  sendOn(fd, index, sent);
}

function sendOn(fd: number, index: number, { message, from, to }: Sent): void {
  const payload = encodeMessage(message);
  const packet = encodeDatagram({ from, to: to?.address ?? everyone, payload }, [clientPort, serverPort]);
  sendPacket(fd, index, to === undefined ? broadcastMac : macBytes(to.mac), packet);
}

const macText = (mac: Uint8Array): string =>
  Buffer.from(mac)
    .toString('hex')
    .replaceAll(/..(?=.)/gu, '$&:');

const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');
