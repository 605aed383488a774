import type { StatusFormat } from './outcome.ts';

/** The meaning of a negotiated remote command protocol (k8s.io/streaming, remotecommand). */
export interface CommandProtocol {
  readonly name: string;
  readonly status: StatusFormat;
  readonly resize: boolean;
  /** WebSocket only: text messages in base64. */
  readonly base64: boolean;
  /** WebSocket only: the client closes a channel with a message to channel 255. */
  readonly close: boolean;
}

const versions: readonly CommandProtocol[] = [
  { name: 'v5.channel.k8s.io', status: 'status', resize: true, base64: false, close: true },
  { name: 'v4.channel.k8s.io', status: 'status', resize: true, base64: false, close: false },
  { name: 'v3.channel.k8s.io', status: 'text', resize: true, base64: false, close: false },
  { name: 'v2.channel.k8s.io', status: 'text', resize: false, base64: false, close: false },
  { name: 'channel.k8s.io', status: 'text', resize: false, base64: false, close: false },
];

const webSocketVersions: readonly CommandProtocol[] = [
  ...versions.filter(({ name }) => /^v[45]/.test(name)),
  { name: 'v4.base64.channel.k8s.io', status: 'status', resize: true, base64: true, close: false },
  { name: 'channel.k8s.io', status: 'text', resize: true, base64: false, close: false },
  { name: 'base64.channel.k8s.io', status: 'text', resize: true, base64: true, close: false },
];

/** Names that are offered in `X-Accepted-Stream-Protocol-Versions`. */
export const spdyCommandNames = versions.map(({ name }) => name);
export const forwardName = 'portforward.k8s.io';
/** A WebSocket whose messages are the bytes of a SPDY connection. */
export const tunnelName = 'SPDY/3.1+portforward.k8s.io';
export const forwardChannelNames = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io'] as const;

/**
 * Returns the client's first protocol that we know. A client that names none gets the oldest (cri-streaming,
 * Handshake).
 */
export function negotiateSpdyCommand(offered: readonly string[]): CommandProtocol | undefined {
  if (offered.length === 0) return versions.at(-1);
  return firstKnown(offered, versions);
}

/** Like {@link negotiateSpdyCommand}, for `Sec-WebSocket-Protocol`. */
export function negotiateWebSocketCommand(offered: readonly string[]): CommandProtocol | undefined {
  if (offered.length === 0)
    return {
      ...(webSocketVersions.find(({ name }) => name === 'channel.k8s.io') as CommandProtocol),
      name: '',
    };
  return firstKnown(offered, webSocketVersions);
}

function firstKnown(
  offered: readonly string[],
  known: readonly CommandProtocol[],
): CommandProtocol | undefined {
  for (const name of offered) {
    const found = known.find((one) => one.name === name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Parses a header that contains a list. Node joins a header that occurs several times. */
export function listOf(header: string | readonly string[] | undefined): string[] {
  const text = typeof header === 'string' ? header : (header ?? []).join(',');
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}
