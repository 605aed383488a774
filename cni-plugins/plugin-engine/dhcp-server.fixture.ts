import {
  NETLINK_ROUTE,
  closeFd,
  openPacketSocket,
  receivePacket,
  sendPacket,
  watchInEventLoop,
} from '../../base/kernel/index.ts';
import { findLink, openNetlink } from '../../base/netlink/index.ts';
import { clientPort, decodeDatagram, encodeDatagram, serverPort } from '../dhcp/datagram.ts';
import { ipv4Number } from '../dhcp/ipv4.ts';
import { decodeMessage, encodeMessage } from '../dhcp/message.ts';
import type { DhcpMessage } from '../dhcp/message.ts';
import { messageTypes, optionCodes as codes } from '../dhcp/option-codes.ts';
import { typeOf } from '../dhcp/requests.ts';

/** A DHCP server whose answers a test chooses, also those that no server gives. */
export interface TestServer {
  /** Types of the messages that it received, in their order. */
  readonly received: readonly number[];
  close(): void;
}

export interface ServerAnswer {
  readonly type: number;
  readonly address: string;
  readonly server: string;
  readonly mask: string;
  readonly router: string;
  readonly seconds: number;
  /** Changes the message as a whole. */
  readonly change?: (message: DhcpMessage) => DhcpMessage;
  readonly options?: readonly (readonly [number, Buffer])[];
}

export const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

const usual: ServerAnswer = {
  type: 0,
  address: '10.77.0.60',
  server: '10.77.0.1',
  mask: '255.255.255.0',
  router: '10.77.0.1',
  seconds: 12,
};

/** Answers a DISCOVER with an OFFER, and a REQUEST with an ACK; with changes. */
export const usualAnswer = (request: DhcpMessage, changes: Partial<ServerAnswer> = {}): ServerAnswer[] => {
  const answers: Readonly<Record<number, number>> = {
    [messageTypes.discover]: messageTypes.offer,
    [messageTypes.request]: messageTypes.ack,
  };
  const type = answers[typeOf(request)];
  return type === undefined ? [] : [{ ...usual, type, ...changes }];
};

/** @param link the link of this network namespace that the server serves */
export function startTestServer(
  link: string,
  answer: (request: DhcpMessage) => readonly ServerAnswer[],
): TestServer {
  const route = openNetlink(NETLINK_ROUTE);
  const index = findLink(route, { name: link })?.index ?? 0;
  route.close();
  const fd = openPacketSocket(index, serverPort);
  const received: number[] = [];
  const buffer = Buffer.alloc(2048);
  const unwatch = watchInEventLoop(fd, () => {
    for (let packet = receivePacket(fd, buffer); packet !== undefined; packet = receivePacket(fd, buffer)) {
      const datagram = decodeDatagram(buffer.subarray(0, packet.length), serverPort);
      const request = datagram === undefined ? undefined : decodeMessage(datagram.payload);
      if (typeof request !== 'object' || packet.isOwn) continue;
      received.push(typeOf(request));
      for (const one of answer(request)) {
        const payload = encodeMessage(messageOf(request, one));
        const bytes = encodeDatagram({ from: ipv4Number(usual.server), to: 0xffffffff, payload }, [
          serverPort,
          clientPort,
        ]);
        sendPacket(fd, index, Buffer.alloc(6, 0xff), bytes);
      }
    }
  });
  return {
    received,
    close() {
      unwatch();
      closeFd(fd);
    },
  };
}

function messageOf(request: DhcpMessage, given: ServerAnswer): DhcpMessage {
  const { type, address, server, mask, router, seconds, options = [], change } = given;
  const message: DhcpMessage = {
    ...request,
    op: 2,
    yourAddress: type === messageTypes.nak ? 0 : ipv4Number(address),
    options: new Map([
      [codes.messageType, Buffer.of(type)],
      [codes.server, be32(ipv4Number(server))],
      [codes.subnetMask, be32(ipv4Number(mask))],
      [codes.routers, be32(ipv4Number(router))],
      [codes.leaseTime, be32(seconds)],
      ...options,
    ]),
  };
  return change === undefined ? message : change(message);
}
