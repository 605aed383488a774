import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { WebSocket } from 'ws';
import { unshared } from './spdy/unshared.ts';

/** Bytes that a session always may hold. Clients send messages of at most 32 KiB by default. */
const ownBytes = 256 * 1024;
const Mi = 1024 * 1024;
/** Bytes beyond these that the sessions to one container or pod, and all sessions, may hold. */
const usualLimits = { ofSubject: 32 * Mi, ofAll: 128 * Mi };

/** A message is passed on in pieces of this many bytes. */
const pieceBytes = 64 * 1024;

/** How long a client may take to read why its session ends. */
const goodbyeMs = 1000;

/** The memory of one session. */
interface HeldBytes {
  /** Sets how many bytes the session holds. Returns whether there is room for them. */
  set(bytes: number): boolean;
}

/**
 * Limits the memory that messages take until they are complete and a program reads them: one client may send
 * messages of 16 MiB in many sessions.
 */
export interface MessageRoom {
  /** @param subject the container or pod of the session */
  open(subject: string): HeldBytes;
}

export function createMessageRoom(limits: typeof usualLimits = usualLimits): MessageRoom {
  const bySubject = new Map<string, number>();
  let total = 0;
  return {
    open(subject) {
      let counted = 0;
      return {
        set(bytes) {
          const more = Math.max(0, bytes - ownBytes) - counted;
          const ofSubject = (bySubject.get(subject) ?? 0) + more;
          if (more > 0 && (ofSubject > limits.ofSubject || total + more > limits.ofAll)) return false;
          counted += more;
          total += more;
          if (ofSubject === 0) bySubject.delete(subject);
          else bySubject.set(subject, ofSubject);
          return true;
        },
      };
    },
  };
}

/**
 * Closes a session whose messages have no room. `ws` keeps a message until it is complete; then it is in the
 * buffer of its reader, who pauses the session meanwhile.
 * @param socket the connection below it
 */
export function limitMessages(webSocket: WebSocket, socket: Socket, held: HeldBytes): void {
  let [incomplete, unread, isOver] = [0, 0, false];
  const count = (): void => {
    if (isOver || held.set(incomplete + unread)) return;
    isOver = true;
    held.set(0);
    // RFC 6455, section 7.4.1: try again later.
    webSocket.close(1013, 'the clients send too many large messages at once: send smaller ones');
    // The rest is thrown away for a moment, because a reset would take the reason from the client.
    socket.removeAllListeners('data').on('data', () => undefined);
    socket.resume();
    setTimeout(() => webSocket.terminate(), goodbyeMs);
  };
  socket.on('data', ({ length }: Buffer) => {
    incomplete += length;
    count();
  });
  const isRead = (): void => {
    unread = 0;
    count();
  };
  webSocket.on('message', (data: Buffer) => {
    // The next message may have begun in the same chunk, which is small.
    [incomplete, unread] = [0, unread + data.length];
    setImmediate(() => {
      if (!webSocket.isPaused) isRead();
    });
  });
  const resume = webSocket.resume.bind(webSocket);
  webSocket.resume = () => {
    isRead();
    resume();
  };
  webSocket.on('close', () => {
    isOver = true;
    held.set(0);
  });
}

/**
 * Passes a message to `stream` in small pieces, so that the reader waits for its destination between them. A
 * destination that got the message as a whole would hold it, uncounted. The pieces have memory of their own.
 * @returns false if the session must pause until the stream is read
 */
export function pushMessage(stream: Pick<Readable, 'push'>, message: Buffer): boolean {
  let hasRoom = true;
  for (let start = 0; start < message.length; start += pieceBytes)
    hasRoom = stream.push(unshared(message.subarray(start, start + pieceBytes)));
  return hasRoom;
}
