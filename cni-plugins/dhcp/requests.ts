import type { DhcpMessage } from './message.ts';
import { messageTypes, optionCodes as codes } from './option-codes.ts';

/** Messages of a client (RFC 2131, table 5). Pure. */

/** The description of the client in every message. */
export interface Identity {
  readonly mac: Buffer;
  /** Value of the option `clientId`. */
  readonly clientId: Buffer;
  /** Numbers of the options that it asks for. */
  readonly requested: readonly number[];
  /** Further options. They replace options of the same number. */
  readonly provided: ReadonlyMap<number, Buffer>;
}

export interface RequestFields {
  readonly xid: number;
  readonly secs: number;
  readonly clientAddress?: number;
  readonly requested?: number;
  readonly server?: number;
}

/** The largest message that the client receives: what fits into an Ethernet frame. */
const largest = 1472;

const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

const be16 = (value: number): Buffer => Buffer.of(value >>> 8, value & 0xff);

export function requestMessage(identity: Identity, type: number, fields: RequestFields): DhcpMessage {
  const { clientAddress = 0, requested, server } = fields;
  const describes = type !== messageTypes.release;
  return {
    op: 1,
    xid: fields.xid,
    secs: Math.max(0, Math.floor(fields.secs)),
    // Without an address, some interfaces (ipvlan) receive broadcasts only.
    broadcast: clientAddress === 0,
    clientAddress,
    yourAddress: 0,
    hardware: identity.mac,
    options: new Map([
      [codes.messageType, Buffer.of(type)],
      [codes.clientId, identity.clientId],
      ...(requested === undefined ? [] : [[codes.requestedAddress, be32(requested)] as const]),
      ...(server === undefined ? [] : [[codes.server, be32(server)] as const]),
      ...(describes
        ? ([
            [codes.maximumSize, be16(largest)],
            [codes.requestedOptions, Buffer.from(identity.requested)],
          ] as const)
        : []),
      ...(describes ? identity.provided : []),
    ]),
  };
}

/** Returns the type of a message, 0 if it has none. */
export const typeOf = ({ options }: DhcpMessage): number => options.get(codes.messageType)?.[0] ?? 0;

const longestClientId = 254;

/** Returns the client identifier of the upstream program: CONTAINERID/NETWORK/IFNAME, at most 254 bytes. */
export const clientIdOf = (containerId: string, network: string, name: string): Buffer =>
  Buffer.concat([
    Buffer.of(0),
    Buffer.from(`${containerId}/${network}/${name}`).subarray(0, longestClientId),
  ]);
