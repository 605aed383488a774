/**
 * Opens connections and keeps as many open as it can; floods.ts runs it in a separate process with its plan
 * as JSON.
 */
import { connect } from 'node:net';
import type { NetConnectOpts } from 'node:net';

interface Plan {
  readonly to: NetConnectOpts;
  readonly connections: number;
  /** base64; sent at once. */
  readonly sends: string;
  /** Sent after that byte by byte, one per second. */
  readonly dribble: string;
  readonly reads: boolean;
}

const { to, connections, sends, dribble, reads } = JSON.parse(process.argv[2] ?? '{}') as Plan;
const slow = Buffer.from(dribble, 'latin1');
let begun = 0;
let open = 0;

/**
 * A connection that the server ends is opened again after this time, in ms, so that the flood lasts and does
 * not spin.
 */
const againMs = 2_000;

function come(first: boolean): void {
  const socket = connect(to);
  let timer: NodeJS.Timeout | undefined;
  const counted = (): void => {
    if (first) begun += 1;
    first = false;
    if (begun === connections) process.stdout.write(`ready ${open}\n`);
    if (begun === connections) begun += 1;
  };
  socket.once('connect', () => {
    open += 1;
    socket.once('close', () => (open -= 1));
    counted();
    if (sends !== '') socket.write(Buffer.from(sends, 'base64'));
    let at = 0;
    if (slow.length > 0)
      timer = setInterval(
        () => socket.write(slow.subarray(at % slow.length, (at++ % slow.length) + 1)),
        1000,
      );
    if (!reads) socket.pause();
  });
  if (reads) socket.resume();
  socket.on('error', () => counted());
  socket.once('close', () => {
    clearInterval(timer);
    setTimeout(() => come(false), againMs + Math.random() * againMs);
  });
}

let started = 0;
const starting = setInterval(() => {
  for (let count = 0; count < 50 && started < connections; count += 1, started += 1) come(true);
  if (started >= connections) clearInterval(starting);
}, 10);
