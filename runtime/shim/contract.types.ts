// Generated from contract.json by generate-types.ts. Do not edit.

export const TaskStatus = {
  UNKNOWN: 0,
  CREATED: 1,
  RUNNING: 2,
  STOPPED: 3,
  PAUSED: 4,
  PAUSING: 5,
} as const;
export type TaskStatus = (typeof TaskStatus)[keyof typeof TaskStatus];

export type Empty = Readonly<Record<never, never>>;

export interface Any {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

export interface Timestamp {
  readonly seconds: number;
  readonly nanos: number;
}

export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

export interface CreateTaskRequest {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly checkpoint: string;
  readonly parentCheckpoint: string;
  readonly options?: Any;
}

export interface CreateTaskResponse {
  readonly pid: number;
}

export interface DeleteRequest {
  readonly id: string;
  readonly execId: string;
}

export interface DeleteResponse {
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAt?: Timestamp;
}

export interface ExecProcessRequest {
  readonly id: string;
  readonly execId: string;
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly spec?: Any;
}

export interface ResizePtyRequest {
  readonly id: string;
  readonly execId: string;
  readonly width: number;
  readonly height: number;
}

export interface StateRequest {
  readonly id: string;
  readonly execId: string;
}

export interface StateResponse {
  readonly id: string;
  readonly bundle: string;
  readonly pid: number;
  readonly status: TaskStatus;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  readonly exitStatus: number;
  readonly exitedAt?: Timestamp;
  readonly execId: string;
}

export interface KillRequest {
  readonly id: string;
  readonly execId: string;
  readonly signal: number;
  readonly all: boolean;
}

export interface CloseIORequest {
  readonly id: string;
  readonly execId: string;
  readonly stdin: boolean;
}

export interface PidsRequest {
  readonly id: string;
}

export interface ProcessInfo {
  readonly pid: number;
  readonly info?: Any;
}

export interface PidsResponse {
  readonly processes: readonly ProcessInfo[];
}

export interface CheckpointTaskRequest {
  readonly id: string;
  readonly path: string;
  readonly options?: Any;
}

export interface UpdateTaskRequest {
  readonly id: string;
  readonly resources?: Any;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface StartRequest {
  readonly id: string;
  readonly execId: string;
}

export interface StartResponse {
  readonly pid: number;
}

export interface WaitRequest {
  readonly id: string;
  readonly execId: string;
}

export interface WaitResponse {
  readonly exitStatus: number;
  readonly exitedAt?: Timestamp;
}

export interface StatsRequest {
  readonly id: string;
}

export interface StatsResponse {
  readonly stats?: Any;
}

export interface ConnectRequest {
  readonly id: string;
}

export interface ConnectResponse {
  readonly shimPid: number;
  readonly taskPid: number;
  readonly version: string;
}

export interface ShutdownRequest {
  readonly id: string;
  readonly now: boolean;
}

export interface PauseRequest {
  readonly id: string;
}

export interface ResumeRequest {
  readonly id: string;
}

export interface Task {
  state: { request: StateRequest; response: StateResponse; stream: false };
  create: { request: CreateTaskRequest; response: CreateTaskResponse; stream: false };
  start: { request: StartRequest; response: StartResponse; stream: false };
  delete: { request: DeleteRequest; response: DeleteResponse; stream: false };
  pids: { request: PidsRequest; response: PidsResponse; stream: false };
  pause: { request: PauseRequest; response: Empty; stream: false };
  resume: { request: ResumeRequest; response: Empty; stream: false };
  checkpoint: { request: CheckpointTaskRequest; response: Empty; stream: false };
  kill: { request: KillRequest; response: Empty; stream: false };
  exec: { request: ExecProcessRequest; response: Empty; stream: false };
  resizePty: { request: ResizePtyRequest; response: Empty; stream: false };
  closeIO: { request: CloseIORequest; response: Empty; stream: false };
  update: { request: UpdateTaskRequest; response: Empty; stream: false };
  wait: { request: WaitRequest; response: WaitResponse; stream: false };
  stats: { request: StatsRequest; response: StatsResponse; stream: false };
  connect: { request: ConnectRequest; response: ConnectResponse; stream: false };
  shutdown: { request: ShutdownRequest; response: Empty; stream: false };
}
