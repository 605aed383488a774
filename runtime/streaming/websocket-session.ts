import { WebSocketServer, createWebSocketStream } from 'ws';
import type { WebSocket } from 'ws';
import { serveCommand } from './command-session.ts';
import type { RunCommand } from './command-session.ts';
import { finishMs } from './command-streams.ts';
import { createMessageRoom, limitMessages, pushMessage } from './message-room.ts';
import type { ForwardPlan, SessionPlan, SessionResult } from './plan.ts';
import { forwardChannelNames, listOf, negotiateWebSocketCommand, tunnelName } from './protocols.ts';
import { refuse } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { serveSpdyForward } from './spdy-forward.ts';
import type { UpgradeRequest } from './upgrade-request.ts';
import { webSocketCommandStreams } from './websocket-command.ts';
import { serveWebSocketForward } from './websocket-forward.ts';

const largestMessage = 16 * 1024 * 1024;

/** Completes the upgrade with the protocol of that name; the empty name names none. */
type Upgrade = (asked: UpgradeRequest, name: string, plan: SessionPlan) => Promise<WebSocket>;

/** Sessions over WebSocket. */
export interface WebSocketSessions {
  /** Serves a session, or refuses a client that offers no protocol that the server speaks. */
  serve(asked: UpgradeRequest, plan: SessionPlan): Promise<SessionResult>;
  close(): void;
}

/** @param input.idleTimeoutMs after this time without traffic the connection ends */
export function createWebSocketSessions(input: {
  readonly idleTimeoutMs: number;
  readonly command: RunCommand;
}): WebSocketSessions {
  const upgrader = createUpgrader(input.idleTimeoutMs);
  return {
    serve: (asked, plan) => serveOverWebSocket(upgrader.upgrade, asked, plan, input.command),
    close: upgrader.close,
  };
}

function createUpgrader(idleTimeoutMs: number): { readonly upgrade: Upgrade; readonly close: () => void } {
  let answer = '';
  // The package's types do not declare `closeTimeout` yet.
  const webSocketOptions = {
    noServer: true,
    perMessageDeflate: false,
    maxPayload: largestMessage,
    closeTimeout: finishMs,
    // `upgrade` has chosen the protocol; `ws` calls this in the same turn.
    handleProtocols: () => answer || false,
  };
  const webSockets = new WebSocketServer(webSocketOptions);
  const room = createMessageRoom();
  return {
    upgrade: ({ request, socket, head, probeWith }, name, plan) =>
      new Promise((resolve, reject) => {
        socket.once('close', () => reject(new Error('gone')));
        answer = name;
        // `ws` refuses a "/" in a name, as in `SPDY/3.1+portforward.k8s.io`, so it gets a name that it
        // accepts.
        if (name !== '') request.headers['sec-websocket-protocol'] = 'negotiated';
        webSockets.handleUpgrade(request, socket, head, (webSocket) => {
          // RFC 6455, section 5.5.3: a pong that answers no ping expects no response.
          probeWith(() => webSocket.pong(undefined, undefined, () => undefined));
          limitMessages(webSocket, socket, room.open(subjectOf(plan)));
          resolve(webSocket);
        });
        // `ws` removes the timeout.
        socket.setTimeout(idleTimeoutMs);
      }),
    close: () => webSockets.close(),
  };
}

function subjectOf(plan: SessionPlan): string {
  if (plan.kind === 'portforward') return plan.sandbox;
  return plan.kind === 'attach' ? plan.container : plan.target.id;
}

async function serveOverWebSocket(
  upgrade: Upgrade,
  asked: UpgradeRequest,
  plan: SessionPlan,
  command: RunCommand,
): Promise<SessionResult> {
  const { request, socket } = asked;
  const offered = listOf(request.headers['sec-websocket-protocol']);
  const refusal: Refusal = {
    status: 403,
    why: `unable to negotiate protocol: client supports [${offered.join(' ')}]`,
  };
  if (plan.kind === 'portforward') {
    const name =
      offered.find((one) => one === tunnelName || (forwardChannelNames as readonly string[]).includes(one)) ??
      (offered.length === 0 ? '' : undefined);
    if (name === undefined) return refuse(socket, refusal);
    const webSocket = await upgrade(asked, name, plan);
    await (name === tunnelName
      ? tunnel(webSocket, plan)
      : serveWebSocketForward(webSocket, { base64: name.includes('base64') }, plan));
    return { protocol: `WebSocket ${name}`, outcome: 'closed' };
  }
  const protocol = negotiateWebSocketCommand(offered);
  if (protocol === undefined) return refuse(socket, refusal);
  const webSocket = await upgrade(asked, protocol.name, plan);
  return serveCommand(
    command,
    plan,
    webSocketCommandStreams(webSocket, protocol, plan.streams),
    `WebSocket ${protocol.name}`,
  );
}

/** SPDY within WebSocket messages, without another upgrade (client-go, tunneling dialer). */
async function tunnel(webSocket: WebSocket, plan: ForwardPlan): Promise<void> {
  const socket = createWebSocketStream(webSocket, { allowHalfOpen: false });
  const push = socket.push.bind(socket);
  // `ws` pushes each message as a whole.
  socket.push = (message: Buffer | null) => (message === null ? push(null) : pushMessage({ push }, message));
  await serveSpdyForward({ socket, head: Buffer.alloc(0), plan });
  webSocket.terminate();
}
