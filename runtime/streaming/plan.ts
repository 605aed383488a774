import type { ExecScopes } from '../oci/exec-scope.ts';
import type { ExecTarget } from '../oci/start-command.ts';

/** Which streams a client asked for (cri-api ExecRequest, AttachRequest). */
export interface AskedStreams {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface ExecPlan {
  readonly kind: 'exec';
  readonly target: ExecTarget;
  readonly command: readonly string[];
  readonly streams: AskedStreams;
}

export interface AttachPlan {
  readonly kind: 'attach';
  readonly container: string;
  /** The monitor's socket. */
  readonly socket: string;
  /** The FIFO that takes the terminal's size. */
  readonly windowSize: string;
  /** The container's input stays open for the next client: a client that ends its own has nothing more to say, and goes. */
  readonly endsWithInput: boolean;
  readonly streams: AskedStreams;
}

export interface ForwardPlan {
  readonly kind: 'portforward';
  readonly sandbox: string;
  /** Pinned network namespace; absent: the host's. */
  readonly namespace?: string;
  /** As named in the request; a SPDY client names them with each stream. */
  readonly ports: readonly number[];
}

/** What one URL stands for. */
export type SessionPlan = ExecPlan | AttachPlan | ForwardPlan;
export type SessionKind = SessionPlan['kind'];

/** What the Worker is started with. */
export interface StreamingWorkerData {
  readonly address: string;
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly idleTimeoutMs: number;
  readonly maxSessions: number;
  readonly scopes: ExecScopes;
  /** Folder for console sockets: short, since a socket's path has 107 bytes. */
  readonly socketFolder: string;
}

/** From the Worker. A session is named by `id` from the moment that its token is taken until `ended`. */
export type FromWorker =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'failed'; readonly why: string }
  | { readonly type: 'take'; readonly id: number; readonly kind: SessionKind; readonly token: string }
  | { readonly type: 'ended'; readonly id: number; readonly how: SessionEnd };

/** How a session went, for the log. */
export interface SessionEnd {
  readonly protocol: string;
  readonly outcome: string;
  readonly ms: number;
}

/** To the Worker. */
export type ToWorker =
  | { readonly type: 'taken'; readonly id: number; readonly plan: SessionPlan }
  | { readonly type: 'refused'; readonly id: number; readonly status: 404 | 429; readonly why: string }
  | { readonly type: 'close' };
