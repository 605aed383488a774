import { PortcullisError } from '../../../base/errors/index.ts';
import type { Caller, CallPlugin } from '../../calls/plugin-call.ts';
import { readCall } from '../../spec/call.ts';
import type { CheckedCall, RawCall } from '../../spec/call.ts';
import { cniCodes, cniErrorOf, writeCniError } from '../../spec/cni-error.ts';
import { versionAnswer } from '../../spec/cni-version.ts';
import { resultAs } from '../../spec/result-versions.ts';

/** The exit code and the output that a plugin's process returns to its caller. */
export interface PluginAnswer {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Answers one call, in the daemon or in a process without it. It never throws: a failure is an answer as
 * well.
 */
export async function answerCall(
  raw: RawCall,
  caller: Caller,
  callPlugin: CallPlugin,
): Promise<PluginAnswer> {
  const read = readCall(raw);
  if (read.kind === 'about') return { exitCode: 0, stdout: '', stderr: read.text };
  if (read.kind === 'version')
    return { exitCode: 0, stdout: `${JSON.stringify(versionAnswer)}\n`, stderr: '' };
  if (read.kind === 'error')
    return { exitCode: 1, stdout: writeCniError(read.error, read.version), stderr: '' };
  const { call, version } = read;
  try {
    const result = await callPlugin({ ...call, caller });
    if (call.verb !== 'add' || result === undefined) return { exitCode: 0, stdout: '', stderr: '' };
    const reported = resultAs(result, version);
    if (reported !== undefined)
      return { exitCode: 0, stdout: `${JSON.stringify(reported, null, 4)}\n`, stderr: '' };
    // The attachment exists but cannot be reported to the caller, so it must not stay.
    await undoAdd(call, caller, callPlugin);
    const msg = `a result of CNI ${version} must have an address, and this configuration gives none`;
    return {
      exitCode: 1,
      stdout: writeCniError({ code: cniCodes.incompatibleVersion, msg }, version),
      stderr: '',
    };
  } catch (thrown) {
    return { exitCode: 1, stdout: writeCniError(cniErrorOf(thrown), version), stderr: '' };
  }
}

/**
 * Takes back an ADD whose caller will never receive the result. Succeeds if there is nothing to remove.
 * @throws the errors of DEL
 */
export async function undoAdd(call: CheckedCall, caller: Caller, callPlugin: CallPlugin): Promise<void> {
  await callPlugin({ ...call, verb: 'del', caller });
}

/**
 * Answers for a daemon that ended in the middle of a call: takes back what the call left, and asks the
 * caller to try again.
 */
export async function answerLost(raw: RawCall, callPlugin: CallPlugin): Promise<PluginAnswer> {
  const read = readCall(raw);
  if (read.kind !== 'call') return answerCall(raw, {}, callPlugin);
  const lost = new PortcullisError({
    code: 'NETWORK_ENGINE_LOST',
    kind: 'unavailable',
    attempted: 'answer the call for the network',
    on: read.call.key.network,
    why: 'the daemon ended before it answered',
    fix: 'try again',
  });
  try {
    if (read.call.verb === 'add') await undoAdd(read.call, {}, callPlugin);
  } catch (thrown) {
    return { exitCode: 1, stdout: writeCniError(cniErrorOf(thrown), read.version), stderr: '' };
  }
  return { exitCode: 1, stdout: writeCniError(cniErrorOf(lost), read.version), stderr: '' };
}
