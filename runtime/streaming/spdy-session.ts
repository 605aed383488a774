import { serveCommand } from './command-session.ts';
import type { RunCommand } from './command-session.ts';
import type { SessionPlan, SessionResult } from './plan.ts';
import { forwardName, listOf, negotiateSpdyCommand, spdyCommandNames } from './protocols.ts';
import { refuse } from './refusal.ts';
import { spdyCommandStreams } from './spdy-command.ts';
import { controlFrame, frameTypes } from './spdy/frames.ts';
import { serveSpdyForward } from './spdy-forward.ts';
import type { UpgradeRequest } from './upgrade-request.ts';

/** Serves a session over SPDY/3.1, or refuses a client that offers no protocol that the server speaks. */
export async function serveOverSpdy(
  { request, socket, head, probeWith }: UpgradeRequest,
  plan: SessionPlan,
  command: RunCommand,
): Promise<SessionResult> {
  const offered = listOf(request.headers['x-stream-protocol-version']);
  const protocol = plan.kind === 'portforward' ? undefined : negotiateSpdyCommand(offered);
  const name =
    protocol?.name ??
    (plan.kind === 'portforward' && (offered.length === 0 || offered.includes(forwardName))
      ? forwardName
      : undefined);
  if (name === undefined) {
    const known = plan.kind === 'portforward' ? [forwardName] : spdyCommandNames;
    return refuse(socket, {
      status: 403,
      why: `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(' ')}], server accepts [${known.join(' ')}]`,
      headers: { 'X-Accepted-Stream-Protocol-Versions': known.join(', ') },
    });
  }
  if (request.headers.upgrade?.toLowerCase() !== 'spdy/3.1')
    return refuse(socket, {
      status: 400,
      why: `unable to upgrade: missing upgrade headers in request: ${String(request.headers.upgrade)}`,
    });
  const version = offered.length === 0 ? '' : `X-Stream-Protocol-Version: ${name}\r\n`;
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n${version}\r\n`,
  );
  // It contains no setting (section 2.6.4). Clients answer a ping.
  probeWith(() => void socket.write(controlFrame(frameTypes.settings, 0, 0)));
  if (plan.kind === 'portforward') {
    await serveSpdyForward({ socket, head, plan });
    return { protocol: `SPDY/3.1 ${name}`, outcome: 'closed' };
  }
  if (protocol === undefined) return { protocol: '', outcome: 'refused' };
  const streams = await spdyCommandStreams({ socket, head, protocol, asked: plan.streams });
  if (streams === undefined) return { protocol: `SPDY/3.1 ${name}`, outcome: 'the client opened no streams' };
  return serveCommand(command, plan, streams, `SPDY/3.1 ${name}`);
}
