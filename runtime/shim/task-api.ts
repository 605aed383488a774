import { connect } from 'node:net';
import { methodKey, parseDeclaration } from '../../base/protobuf/index.ts';
import type { Contract, Init } from '../../base/protobuf/index.ts';
import { failure, reasonOf } from '../../base/errors/index.ts';
import { createTtrpcClient, ttrpcMethods } from '../../base/ttrpc/index.ts';
import type { CallOptions, TtrpcClient, TtrpcMethod } from '../../base/ttrpc/index.ts';
import declaration from './contract.json' with { type: 'json' };
import type { Task } from './contract.types.ts';
import type { ShimAddress } from './shim-record.ts';

/** The namespace that every call names: shims keep their state apart by it. */
export const shimNamespace = 'portcullis';

type TaskCall<Method extends { readonly request: unknown; readonly response: unknown }> = (
  request: Init<Method['request']>,
  options?: CallOptions,
) => Promise<Method['response']>;

/** The task API of one shim (containerd, api/runtime/task/v2 and v3, shim.proto), as one open connection. */
export type TaskApi = { readonly [Name in keyof Task]: TaskCall<Task[Name]> } & {
  /** Resolves when the connection ended. Never rejects. */
  readonly closed: Promise<unknown>;
  close(): void;
};

/** Both versions of the API have the same messages. */
const contracts: Readonly<Record<number, Contract>> = {
  2: parseDeclaration({ ...declaration, package: 'containerd.task.v2' }),
  3: parseDeclaration(declaration),
};

const connectMs = 10_000;
/** How long a shim may take for a call that names no other time. */
export const callTimeoutMs = 30_000;
const metadata = { 'containerd-namespace-ttrpc': [shimNamespace] };

/**
 * Connects to a shim.
 * @throws PortcullisError SHIM_UNREACHABLE when no shim listens at the address, SHIM_UNSUPPORTED for a
 * version of the API that this client does not speak
 */
export async function openTaskApi({ socket, version }: ShimAddress): Promise<TaskApi> {
  const contract = contracts[version];
  if (contract === undefined)
    throw failure(
      'SHIM_UNSUPPORTED',
      'unimplemented',
      'connect to the shim at',
      socket,
      `it uses version ${version} of the task API`,
      'use a shim that supports version 2 or 3',
    );
  const client = createTtrpcClient(await connection(socket), { name: socket });
  const method = ttrpcMethods(contract);
  const calls = Object.fromEntries(
    (contract.services.get('Task') ?? []).map(({ name }) => [
      methodKey(name),
      callOf(client, method('Task', name)),
    ]),
  );
  return { ...calls, closed: client.closed, close: client.close } as TaskApi;
}

/**
 * Lets a process get the end of its input. A shim keeps a pipe of the input open for writing itself, so that
 * several clients can write one after the other. Here, the monitor or the session of the command does this.
 * A shim that closes the input only when it has passed all of it on answers late.
 */
export function leaveInput(
  api: Pick<TaskApi, 'closeIO'>,
  process: { readonly id: string; readonly execId?: string },
): void {
  void api.closeIO({ ...process, stdin: true }, { timeoutMs: Infinity }).catch(() => undefined);
}

function callOf(client: TtrpcClient, method: TtrpcMethod<unknown, unknown>): TaskCall<never> {
  return (request: object, options: CallOptions = {}) =>
    client.call(method, request, { timeoutMs: callTimeoutMs, ...options, metadata }) as Promise<never>;
}

async function connection(path: string): Promise<ReturnType<typeof connect>> {
  const socket = connect(path);
  const opened = Promise.withResolvers<undefined>();
  const timer = setTimeout(
    () => opened.reject(new Error(`it did not answer within ${connectMs} ms`)),
    connectMs,
  );
  socket.once('connect', () => opened.resolve(undefined)).once('error', opened.reject);
  try {
    await opened.promise;
    return socket;
  } catch (cause) {
    socket.destroy();
    throw failure(
      'SHIM_UNREACHABLE',
      'unavailable',
      'connect to the shim at',
      path,
      reasonOf(cause),
      'remove the pod, because its shim has ended',
    );
  } finally {
    clearTimeout(timer);
  }
}
