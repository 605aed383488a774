import { lstat, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { failure, meansGone } from '../../base/errors/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { startResult } from './start-messages.ts';
import type { StartResult } from './start-messages.ts';

/** Where a shim listens. */
export interface ShimAddress {
  /** Absolute path of its socket. */
  readonly socket: string;
  /** Version of the task API. */
  readonly version: number;
}

/** The record by which a later daemon reaches a shim again. Kept in the folder of the pod's shim. */
export interface ShimRecord extends ShimAddress {
  readonly process: ProcessIdentity;
}

const fileName = 'shim.json';

/** Writes the record of a shim, or the address of its shim beside a container. */
export async function writeShimRecord(folder: string, record: ShimAddress | ShimRecord): Promise<void> {
  await writeFile(join(folder, fileName), JSON.stringify(record), { mode: 0o600 });
}

/** Removes the record in a folder. No record is a success. */
export async function forgetShim(folder: string): Promise<void> {
  await rm(join(folder, fileName), { force: true });
}

/** Returns the record in a folder. Undefined when there is none, or the write of it was cut off. */
export async function readShimRecord(
  folder: string,
): Promise<(ShimAddress & Partial<ShimRecord>) | undefined> {
  try {
    return parseJson(await readFile(join(folder, fileName), 'utf8')) as ShimAddress & Partial<ShimRecord>;
  } catch (cause) {
    if (meansGone(cause) || cause instanceof SyntaxError) return undefined;
    throw cause;
  }
}

/**
 * Removes the socket of a shim that has ended. The shim alone has named the path: another file stays, and so
 * does a socket at which a process listens.
 */
export async function removeDeadSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket() === true && (await isRefused(path))) await rm(path, { force: true });
}

function isRefused(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

const longestSocketPath = 107;

/**
 * Reads the answer of a shim's `start`: a protobuf message (containerd 2.3 and newer, bootstrap.proto), JSON
 * (version 3), or the address alone (version 2).
 * @throws PortcullisError SHIM_BAD_ANSWER, SHIM_UNSUPPORTED for a shim that speaks gRPC or listens elsewhere
 */
export function parseStartAnswer(answer: Buffer, shim: string): ShimAddress {
  const { version, address, protocol } = fieldsOf(answer) ??
    jsonOf(answer) ?? { version: 2, address: answer.toString('utf8').trim(), protocol: 'ttrpc' };
  const refuse = (code: string, why: string): Error =>
    failure(code, 'precondition', 'start shim', shim, why, 'use a shim that serves ttrpc on a Unix socket');
  if (protocol !== 'ttrpc')
    throw refuse('SHIM_UNSUPPORTED', `it uses the protocol ${JSON.stringify(protocol.slice(0, 40))}`);
  if (version < 2 || version > 3) throw refuse('SHIM_UNSUPPORTED', `its version is ${version}`);
  const socket = address.replace(/^unix:\/\//, '');
  if (!socket.startsWith('/') || socket.includes('\0') || Buffer.byteLength(socket) > longestSocketPath)
    throw refuse('SHIM_BAD_ANSWER', `its address is ${JSON.stringify(address.slice(0, 200))}`);
  return { socket, version };
}

function jsonOf(answer: Buffer): StartResult | undefined {
  try {
    const value = parseJson(answer.toString('utf8')) as Partial<StartResult> | null;
    const { version, address, protocol } = value ?? {};
    return typeof version === 'number' && typeof address === 'string' && typeof protocol === 'string'
      ? { version, address, protocol }
      : undefined;
  } catch {
    return undefined;
  }
}

function fieldsOf(answer: Buffer): StartResult | undefined {
  try {
    const { version, address, protocol } = startResult.decode(answer);
    return version > 0 && address !== '' ? { version, address, protocol } : undefined;
  } catch {
    return undefined;
  }
}
