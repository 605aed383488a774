import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { O_RDONLY, closeFd, openFile, sealedFile } from '../../base/kernel/index.ts';
import { killTree } from '../../base/process/index.ts';
import { fieldsOf } from '../spec/fields.ts';
import type { Problems } from '../spec/fields.ts';
import { readJson } from '../spec/json-text.ts';
import { readResult } from '../spec/result-versions.ts';
import type { CniResult } from '../spec/result.ts';
import type { Host } from '../namespaces/caller.ts';
import type { PluginCall } from '../calls/plugin-call.ts';

/**
 * Third-party IPAM plugins: programs in CNI_PATH, called as libcni's `invoke` package calls them (CNI
 * specification 1.1, section 4).
 */

export type ProgramCommand = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';

/** Such a program may query a server. */
const timeoutMs = 30_000;
const maxOutput = 1024 * 1024;

/**
 * Runs the program in the caller's network and mount namespaces. Its standard input is a real file. ADD
 * returns its result.
 * @throws NETWORK_IPAM_FAILED
 */
export async function runAddressProgram(
  type: string,
  command: ProgramCommand,
  call: PluginCall,
  host: Host,
): Promise<CniResult | undefined> {
  const program = find(type, command, call, host);
  const written = sealedFile('cni-stdin', Buffer.from(call.config));
  // The file is opened again, because the offset of the descriptor that wrote it is at its end.
  const input = openFile(`/proc/self/fd/${written}`, O_RDONLY);
  try {
    const environment = {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      ...call.environment,
      CNI_COMMAND: command,
      CNI_PATH: call.path.join(':'),
      ...(command === 'GC' || command === 'STATUS'
        ? {}
        : {
            CNI_CONTAINERID: call.key.containerId,
            CNI_NETNS: call.netns,
            CNI_IFNAME: call.key.interface,
            CNI_ARGS: Object.entries(call.args)
              .map(([name, value]) => `${name}=${value}`)
              .join(';'),
          }),
    };
    const [file, args] =
      host.pid === undefined
        ? [program, []]
        : ['nsenter', [`--mount=/proc/${host.pid}/ns/mnt`, `--root=/proc/${host.pid}/root`, '--', program]];
    // The child exists, in these namespaces, when spawn returns.
    const run = await ended(
      host.inside(() =>
        spawn(file, args, { stdio: [input, 'pipe', 'pipe'], env: environment, detached: true }),
      ),
      type,
      command,
    );
    if (run.status !== 0) throw pluginError(type, command, run.stdout, run.stderr, run.status, run.signal);
    return command === 'ADD' ? resultOf(type, run.stdout, call) : undefined;
  } finally {
    closeFd(input);
    closeFd(written);
  }
}

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A descendant of the program may keep the output open for ever. */
const drainMs = 1000;

/**
 * Collects the output of the child. A child that takes too long or writes too much is killed with all its
 * descendants.
 */
function ended(child: ChildProcess, type: string, command: ProgramCommand): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const texts = { stdout: '', stderr: '' };
    let over: string | undefined;
    const stop = (why: string): void => {
      over ??= why;
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
        killTree(child.pid);
    };
    const timer = setTimeout(() => stop(`it did not end within ${timeoutMs / 1000} s`), timeoutMs);
    for (const name of ['stdout', 'stderr'] as const)
      child[name]?.setEncoding('utf8').on('data', (text: string) => {
        if (texts[name].length + text.length > maxOutput) stop(`it printed more than ${maxOutput} bytes`);
        else texts[name] += text;
      });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(failed(type, command, error.message));
    });
    child.once('exit', () => {
      clearTimeout(timer);
      setTimeout(() => [child.stdout, child.stderr].forEach((stream) => stream?.destroy()), drainMs).unref();
    });
    child.once('close', (status, signal) => {
      if (over !== undefined) reject(failed(type, command, over));
      else resolve({ status, signal, ...texts });
    });
  });
}

function find(type: string, command: ProgramCommand, call: PluginCall, host: Host): string {
  for (const folder of call.path) {
    if (!isAbsolute(folder)) continue;
    const path = join(folder, type);
    const place = host.path(path);
    try {
      accessSync(place, constants.X_OK);
      return path;
    } catch {
      // Try the next folder of the path.
    }
  }
  throw failed(
    type,
    command,
    `there is no program of that name in ${call.path.length === 0 ? 'CNI_PATH, which is empty' : call.path.join(':')}`,
    { fix: "correct 'ipam.type', or install the program in a folder of CNI_PATH" },
  );
}

function resultOf(type: string, stdout: string, call: PluginCall): CniResult {
  const source = readJson(stdout);
  if ('message' in source)
    throw failed(type, 'ADD', `its result is not JSON: ${source.line}:${source.column}: ${source.message}`);
  const problems: Problems = [];
  const fields = fieldsOf(source.value, [], type, source, problems);
  const result = fields === undefined ? undefined : readResult(fields, versionOf(call.config));
  if (result === undefined || problems.length > 0)
    throw failed(type, 'ADD', `its result is wrong: ${problems.join('; ')}`);
  if (result.ips.length === 0) throw failed(type, 'ADD', 'its result has no address');
  return result;
}

function versionOf(config: string): string {
  const { cniVersion } = parseJson(config) as { readonly cniVersion?: unknown };
  return typeof cniVersion === 'string' && cniVersion !== '' ? cniVersion : '0.1.0';
}

/** Reads the error that a plugin reports on standard output. */
function pluginError(
  type: string,
  command: ProgramCommand,
  stdout: string,
  stderr: string,
  status: number | null,
  signal: string | null,
): PortcullisError {
  try {
    const { code, msg, details } = parseJson(stdout) as {
      readonly code?: number;
      readonly msg?: string;
      readonly details?: string;
    };
    if (typeof msg === 'string')
      return failed(
        type,
        command,
        details === undefined || details === '' ? msg : `${msg}; ${details}`,
        typeof code === 'number' ? { cniCode: code } : {},
      );
  } catch {
    // The output is not a CNI error.
  }
  const end = status === null ? `it was killed by ${signal ?? 'a signal'}` : `it ended with ${status}`;
  return failed(type, command, `${end}${stderr.trim() === '' ? '' : `: ${stderr.trim().slice(0, 1000)}`}`);
}

function failed(
  type: string,
  command: ProgramCommand,
  why: string,
  {
    cniCode,
    fix = 'see its output; it is a third-party program',
  }: { readonly cniCode?: number; readonly fix?: string } = {},
): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_IPAM_FAILED',
    kind: 'unavailable',
    attempted: `call ${command} of the address plugin`,
    on: type,
    why,
    fix,
    ...(cniCode === undefined ? {} : { details: { cniCode } }),
  });
}
