import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { ChannelCredentials, Client } from '@grpc/grpc-js';
import type { CredentialSource, Credentials } from './credentials.ts';

/** The connection to one member of etcd, reconnected when credentials change. */
export interface Connections {
  readonly endpoint: string;
  /**
   * Returns a connection made with the current credentials. It stays open until `release`, even after another
   * one has replaced it.
   */
  take(): { readonly client: Client; readonly release: () => void };
  close(): void;
}

/**
 * A member that is cut off from us is noticed after both times. etcd refuses pings more often than every 5 s.
 */
const pingEveryMs = 10_000;
const pingTimeoutMs = 5000;
/** A page of service descriptions at their largest. */
const largestAnswer = 64 * 1024 * 1024;
const nameOfNobody = 'etcd.invalid';

interface Held {
  readonly client: Client;
  readonly credentials: Credentials;
  users: number;
}

export function connectionsAt(endpoint: string, source: CredentialSource): Connections {
  let held: Held | undefined;
  const retired = new Set<Held>();
  const drop = (each: Held): void => {
    if (each.users > 0 || each === held) return;
    retired.delete(each);
    each.client.close();
  };
  return {
    endpoint,
    take() {
      const credentials = source.current();
      if (held?.credentials !== credentials) {
        const former = held;
        held = { client: clientAt(endpoint, credentials), credentials, users: 0 };
        if (former !== undefined) {
          retired.add(former);
          drop(former);
        }
      }
      const taken = held;
      let isTaken = true;
      taken.users += 1;
      return {
        client: taken.client,
        release() {
          if (!isTaken) return;
          isTaken = false;
          taken.users -= 1;
          drop(taken);
        },
      };
    },
    close() {
      held?.client.close();
      for (const { client } of retired) client.close();
      held = undefined;
      retired.clear();
    },
  };
}

function clientAt(endpoint: string, { ca, cert, key }: Credentials): Client {
  const { protocol, host, hostname } = new URL(endpoint);
  const address = hostname.replace(/^\[|\]$/gu, '');
  const isAddress = protocol === 'https:' && isIP(address) !== 0;
  const bytes = (pem: string | undefined): Buffer | null => (pem === undefined ? null : Buffer.from(pem));
  const credentials =
    protocol === 'https:'
      ? ChannelCredentials.createSsl(
          bytes(ca),
          bytes(key),
          bytes(cert),
          isAddress ? { checkServerIdentity: (_, found) => checkServerIdentity(address, found) } : {},
        )
      : ChannelCredentials.createInsecure();
  return new Client(host, credentials, {
    // TLS names no addresses (RFC 6066, section 3), and Node refuses to send one. A meaningless name is sent
    // instead, and the address is checked.
    ...(isAddress && { 'grpc.ssl_target_name_override': nameOfNobody }),
    'grpc.keepalive_time_ms': pingEveryMs,
    'grpc.keepalive_timeout_ms': pingTimeoutMs,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.max_receive_message_length': largestAnswer,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 2000,
    'grpc.enable_channelz': 0,
  });
}
