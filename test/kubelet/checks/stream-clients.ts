import { Agent, WebSocket } from 'undici';
import { patience } from '../../fixtures/kubelet/patience.ts';
import type { KubeletServer } from '../../fixtures/kubelet/server.ts';

/** Channels of v5.channel.k8s.io (k8s.io/apimachinery/pkg/util/remotecommand). */
const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

export interface Finished {
  readonly stdout: string;
  readonly stderr: string;
  /** The v1.Status of the error channel: how the command ended. */
  readonly status: {
    readonly status: string;
    readonly reason?: string;
    readonly details?: { readonly causes?: readonly Cause[] };
  };
}
interface Cause {
  readonly reason: string;
  readonly message: string;
}

/** Returns the exit code in a status (cause ExitCode of reason NonZeroExitCode). */
export function exitCodeOf({ status }: Finished): number {
  if (status.status === 'Success') return 0;
  return Number(status.details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message ?? NaN);
}

/**
 * Runs exec or attach through the kubelet, over a WebSocket like `kubectl`. The kubelet translates to SPDY
 * for the runtime.
 * @param path such as `/exec/NAMESPACE/POD/CONTAINER?command=…&output=1`
 * @param until ends the session once the output so far satisfies it, because an attached process may not
 *   end
 */
export function openStreams(
  server: KubeletServer,
  path: string,
  options: {
    readonly stdin?: string;
    readonly patienceMs?: number;
    readonly until?: (stdout: string) => boolean;
  } = {},
): Promise<Finished> {
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  const socket = new WebSocket(`wss://${server.host}:${server.port}${path}`, {
    protocols: 'v5.channel.k8s.io',
    dispatcher,
  });
  socket.binaryType = 'arraybuffer';
  const patienceMs = options.patienceMs ?? patience(20_000);
  const received = { stdout: '', stderr: '', error: '' };
  const send = (channel: number, bytes: Uint8Array): void =>
    socket.send(Buffer.concat([Buffer.from([channel]), bytes]));
  return new Promise<Finished>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`${path}: no end within ${patienceMs} ms: ${JSON.stringify(received)}`));
      socket.close();
    }, patienceMs);
    const finish = (): void => {
      clearTimeout(timer);
      const status =
        received.error === '' ? { status: 'Unknown' } : (JSON.parse(received.error) as Finished['status']);
      resolve({ stdout: received.stdout, stderr: received.stderr, status });
    };
    socket.addEventListener('open', () => {
      if (options.stdin === undefined) return;
      send(channels.stdin, Buffer.from(options.stdin));
      if (options.until === undefined) send(channels.close, Buffer.from([channels.stdin]));
    });
    socket.addEventListener('message', ({ data }) => {
      const bytes = Buffer.from(data as ArrayBuffer);
      const text = bytes.subarray(1).toString();
      if (bytes[0] === channels.stdout) received.stdout += text;
      if (bytes[0] === channels.stderr) received.stderr += text;
      if (bytes[0] === channels.error) received.error += text;
      if (options.until?.(received.stdout) === true) socket.close();
    });
    socket.addEventListener('close', finish);
    socket.addEventListener('error', ({ message }) => {
      clearTimeout(timer);
      reject(new Error(`${path}: ${message}`));
    });
    // oxlint-disable-next-line typescript/no-misused-promises -- finally waits for the promise
  }).finally(() => dispatcher.destroy());
}

/** Returns the query of an exec. */
export function execQuery(command: readonly string[], more = 'output=1&error=1'): string {
  return `${command.map((part) => `command=${encodeURIComponent(part)}`).join('&')}&${more}`;
}
