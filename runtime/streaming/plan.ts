import type { ExecScopes } from '../oci/exec-scope.ts';
import type { ExecTarget } from '../oci/start-command.ts';

/** The streams that a client asked for (cri-api ExecRequest, AttachRequest). */
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
  /** The FIFO that receives the terminal's size. */
  readonly windowSize: string;
  /** The bundle of a container whose terminal a shim has. */
  readonly shimBundle?: string;
  /**
   * The container's input stays open for the next client. A client that ends its own input is finished, and
   * its session ends.
   */
  readonly endsWithInput: boolean;
  readonly streams: AskedStreams;
}

export interface ForwardPlan {
  readonly kind: 'portforward';
  readonly sandbox: string;
  /** The pinned network namespace. Absent: the host network namespace. */
  readonly namespace?: string;
  /** The ports that the request names. A SPDY client names them with each stream. */
  readonly ports: readonly number[];
}

/** The session that one URL starts. */
export type SessionPlan = ExecPlan | AttachPlan | ForwardPlan;
export type SessionKind = SessionPlan['kind'];

/** The data that the Worker is started with. */
export interface StreamingWorkerData {
  readonly address: string;
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly idleTimeoutMs: number;
  readonly maxSessions: number;
  readonly scopes: ExecScopes;
  /**
   * The folder for console sockets. Its path must be short, because a socket's path has at most 107 bytes.
   */
  readonly socketFolder: string;
}

/** Messages from the Worker. `id` names a session from the moment that its token is taken until `ended`. */
export type FromWorker =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'failed'; readonly why: string }
  | { readonly type: 'take'; readonly id: number; readonly kind: SessionKind; readonly token: string }
  | { readonly type: 'ended'; readonly id: number; readonly how: SessionEnd };

/** The result of a session, for the log. */
export interface SessionResult {
  readonly protocol: string;
  readonly outcome: string;
}

export interface SessionEnd extends SessionResult {
  readonly ms: number;
}

/** Messages to the Worker. */
export type ToWorker =
  | { readonly type: 'taken'; readonly id: number; readonly plan: SessionPlan }
  | { readonly type: 'refused'; readonly id: number; readonly status: 404 | 429; readonly why: string }
  | { readonly type: 'close' };
