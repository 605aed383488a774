import { parseJson } from '../../../base/json/index.ts';
import { PortcullisError, reasonOf, orThrow } from '../../../base/errors/index.ts';
import type { StartProgram } from '../../../base/reactor/index.ts';
import { fieldsOf } from '../../spec/fields.ts';
import type { Problems } from '../../spec/fields.ts';
import { readJson } from '../../spec/json-text.ts';
import { readResult } from '../../spec/result-versions.ts';
import type { CniResult } from '../../spec/result.ts';
import { findProgram, runProgram } from './run-program.ts';
import type { Ran } from './run-program.ts';
import { argumentsOf } from './step.ts';
import type { Command, RunStep } from './step.ts';

export interface ExecOptions {
  readonly startProgram: StartProgram;
  /** Folders that contain plugins, in search order. */
  readonly binDirs: readonly string[];
  readonly timeoutMs: number;
}

/**
 * Calls plugins as programs (CNI specification 1.1, section 4). They act in the network and mount namespace
 * of this process.
 * @throws NETWORK_PLUGIN_MISSING · NETWORK_PLUGIN_FAILED (`details.cniCode` if the plugin reported one) ·
 * NETWORK_PLUGIN_TIMEOUT
 */
export function execStep(options: ExecOptions): RunStep {
  return async ({ command, plugin: { type }, config, version, of }) => {
    const ran = await runPlugin(options, type, command, config, {
      CNI_CONTAINERID: of?.pod.id,
      CNI_NETNS: of?.pod.netns,
      CNI_IFNAME: of?.interface,
      CNI_ARGS: of === undefined ? undefined : pairs(argumentsOf(of.pod)),
    });
    return command === 'ADD' ? resultOf(type, ran.stdout, version) : undefined;
  };
}

/**
 * Returns the versions that a plugin supports (VERSION, section 3). A plugin from before 0.2.0 does not know
 * the command, and supports only 0.1.0.
 */
export async function versionsOf(options: ExecOptions, type: string): Promise<readonly string[]> {
  try {
    const { stdout } = await runPlugin(options, type, 'VERSION', '{"cniVersion":"1.1.0"}\n', {
      CNI_CONTAINERID: 'dummy',
      CNI_NETNS: 'dummy',
      CNI_IFNAME: 'dummy',
    });
    const { supportedVersions } = parseJson(stdout) as { readonly supportedVersions?: unknown };
    if (Array.isArray(supportedVersions)) return supportedVersions.map(String);
  } catch (thrown) {
    if (!(thrown instanceof PortcullisError) || thrown.code !== 'NETWORK_PLUGIN_FAILED') throw thrown;
    // As libcni: the oldest plugins report an unknown command with this sentence.
    if (!thrown.failure.why.includes('unknown CNI_COMMAND: VERSION')) throw thrown;
  }
  return ['0.1.0'];
}

async function runPlugin(
  { startProgram, binDirs, timeoutMs }: ExecOptions,
  type: string,
  command: Command | 'VERSION',
  stdin: string,
  variables: Readonly<Record<string, string | undefined>>,
): Promise<Ran> {
  const program = await findProgram(type, binDirs);
  if (program === undefined) throw missing(type, binDirs);
  const environment = { ...inherited(), CNI_COMMAND: command, CNI_PATH: binDirs.join(':'), ...variables };
  const ran: Ran = await orThrow(
    () => runProgram(startProgram, { program, environment, stdin, timeoutMs }),
    (thrown) => failed(type, command, `it could not be started: ${reasonOf(thrown)}`),
  );
  if ('over' in ran.end) throw late(type, command, ran.end.over);
  if (ran.end.exitCode !== 0) throw pluginFailure(type, command, ran, ran.end.exitCode);
  return ran;
}

/**
 * Returns the environment that a plugin of libcni inherits from its runtime, without the variables that are
 * meant for this program alone.
 */
function inherited(): Record<string, string | undefined> {
  const own = /^(?:CNI_|NODE_|PORTCULLIS_|NOTIFY_SOCKET$|LISTEN_)/u;
  const kept = Object.entries(process.env).filter(([name]) => !own.test(name));
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ...Object.fromEntries(kept),
  };
}

const pairs = (args: Readonly<Record<string, string>>): string =>
  Object.entries(args)
    .map(([name, value]) => `${name}=${value}`)
    .join(';');

function resultOf(type: string, stdout: string, version: string): CniResult {
  const source = readJson(stdout);
  if ('message' in source)
    throw failed(type, 'ADD', `its result is not JSON: ${source.line}:${source.column}: ${source.message}`);
  const problems: Problems = [];
  const fields = fieldsOf(source.value, [], type, source, problems);
  const result = fields === undefined ? undefined : readResult(fields, version);
  if (result === undefined || problems.length > 0)
    throw failed(type, 'ADD', `its result is wrong: ${problems.join('; ')}`);
  return result;
}

const mostErrors = 1000;

/** Reads the error that a plugin reports on standard output (section 5, "Error"). */
function pluginFailure(
  type: string,
  command: string,
  { stdout, stderr }: Ran,
  exitCode: number,
): PortcullisError {
  try {
    const { code, msg, details } = parseJson(stdout) as {
      readonly code?: unknown;
      readonly msg?: unknown;
      readonly details?: unknown;
    };
    if (typeof msg === 'string' && msg !== '') {
      const more = typeof details === 'string' && details !== '' ? `; ${details}` : '';
      return failed(
        type,
        command,
        `${msg}${more}`.slice(0, mostErrors),
        typeof code === 'number' ? code : undefined,
      );
    }
  } catch {
    // The output is not a CNI error.
  }
  const said = [stderr, stdout].map((text) => text.trim().slice(0, mostErrors)).filter((text) => text !== '');
  const end = exitCode > 128 ? `it was killed by signal ${exitCode - 128}` : `it ended with ${exitCode}`;
  return failed(type, command, [end, ...said].join(': '));
}

function failed(type: string, command: string, why: string, cniCode?: number): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_FAILED',
    kind: 'unavailable',
    attempted: `call ${command} of the network plugin`,
    on: type,
    why,
    fix: 'see its output; it is a third-party program',
    details: { plugin: type, ...(cniCode !== undefined && { cniCode }) },
  });
}

function late(type: string, command: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_TIMEOUT',
    kind: 'deadline',
    attempted: `call ${command} of the network plugin`,
    on: type,
    why: `${why}, and was killed with all processes that it had started`,
    fix: "find out what it waits for; the time limit is the setting 'network.pluginTimeout'",
    details: { plugin: type },
  });
}

function missing(type: string, binDirs: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_MISSING',
    kind: 'precondition',
    attempted: 'find the network plugin',
    on: type,
    why: `no program of that name is in ${binDirs.join(', ')}`,
    fix: "install it there, or name its folder in 'cni.binDirs'",
    details: { plugin: type },
  });
}
