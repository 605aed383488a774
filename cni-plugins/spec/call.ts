import { readCniArgs } from './cni-args.ts';
import { cniCodes } from './cni-error.ts';
import type { CniError } from './cni-error.ts';
import { currentVersion, isAtLeast, parseVersion, supportedVersions } from './cni-version.ts';
import { fieldsOf } from './fields.ts';
import type { Fields, Problems } from './fields.ts';
import { isInterfaceName } from './interface-name.ts';
import { readConfigurationJson } from './json-text.ts';
import type { CniResult } from './result.ts';
import { readResult } from './result-versions.ts';

/**
 * The input of a CNI plugin: environment and standard input (CNI specification 1.1, sections 2 and 4). The
 * checks, their order, codes and messages are those of libcni's pkg/skel, so that a caller that handles
 * skel's errors handles ours; the details name the variable. Pure.
 */
export interface RawCall {
  /** Name of the program, without its folder. */
  readonly name: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
}

export type Verb = 'add' | 'del' | 'check' | 'gc' | 'status';

/** A call that conforms to the protocol. The plugin checks what its configuration means. */
export interface CheckedCall {
  readonly verb: Verb;
  readonly type: string;
  readonly key: { readonly network: string; readonly containerId: string; readonly interface: string };
  readonly netns: string;
  /** CNI_NETNS_OVERRIDE: the pod's namespace may be the caller's own. */
  readonly netnsOverride: boolean;
  readonly args: Readonly<Record<string, string>>;
  readonly path: readonly string[];
  readonly config: string;
  readonly prevResult?: CniResult;
  readonly valid?: readonly { readonly containerId: string; readonly interface: string }[];
  readonly environment: Readonly<Record<string, string>>;
}

export type ReadCall =
  /** No command was given: a person called the plugin by hand. The text goes to standard error. */
  | { readonly kind: 'about'; readonly text: string }
  | { readonly kind: 'version' }
  /** `beforeInput`: the environment alone causes the error; standard input is not read. */
  | {
      readonly kind: 'error';
      readonly error: CniError;
      readonly version: string;
      readonly beforeInput?: true;
    }
  | { readonly kind: 'call'; readonly call: CheckedCall; readonly version: string };

/** Larger than any real configuration: a GC of 10,000 attachments is 2 MB. */
export const maxStdin = 4 * 1024 * 1024;

export function readCall({ name, environment, stdin }: RawCall): ReadCall {
  const get = (variable: string): string =>
    Object.hasOwn(environment, variable) ? (environment[variable] ?? '') : '';
  const type = name.replace(/^portcullis-/u, '');
  const command = get('CNI_COMMAND');
  if (command === '') {
    return {
      kind: 'about',
      text: `CNI plugin ${name} of Portcullis\nCNI protocol versions supported: ${supportedVersions.join(', ')}\n`,
    };
  }
  const fail = (code: number, msg: string, details?: string, version = currentVersion): ReadCall => ({
    kind: 'error',
    error: { code, msg, ...(details === undefined ? {} : { details }) },
    version,
  });

  const wrong = checkEnvironment(command, get);
  if (wrong !== undefined) return { kind: 'error', error: wrong, version: currentVersion, beforeInput: true };
  if (command === 'VERSION') return { kind: 'version' };

  if (stdin.length > maxStdin)
    return fail(cniCodes.ioFailure, `error reading from stdin: it is larger than ${maxStdin} bytes`);
  const config = Buffer.from(stdin.buffer, stdin.byteOffset, stdin.byteLength).toString('utf8');
  const source = readConfigurationJson(config);
  if ('message' in source)
    return fail(
      cniCodes.decodingFailure,
      `error unmarshall network config: stdin:${source.line}:${source.column}: ${source.message}`,
    );
  const problems: Problems = [];
  const fields = fieldsOf(source.value, [], 'stdin', source, problems);
  const network = fields?.text('name') ?? '';
  const declared = fields?.text('cniVersion') ?? '';
  if (fields === undefined || problems.length > 0)
    return fail(cniCodes.decodingFailure, `error unmarshall network config: ${problems.join('; ')}`);
  const version = declared === '' ? '0.1.0' : declared;
  // A caller must be able to read the error in the version that it supports. For an unsupported version, the
  // error uses our current version.
  const answered = supportedVersions.includes(version) ? version : currentVersion;
  const refuse = (code: number, msg: string, details?: string): ReadCall =>
    fail(code, msg, details, answered);

  if (network === '') return refuse(cniCodes.invalidConfig, 'missing network name');
  if (!namePattern.test(network))
    return refuse(cniCodes.invalidConfig, 'invalid characters found in network name', network);
  if (network.length > longestName)
    return refuse(cniCodes.invalidConfig, 'network name is too long', `at most ${longestName} characters`);
  const verb = verbs[command];
  if (verb === undefined) return refuse(cniCodes.invalidEnvironment, `unknown CNI_COMMAND: ${command}`);
  const since = firstVersion[verb];
  if (since !== undefined) {
    const parsed = parseVersion(version);
    if (typeof parsed === 'string') return refuse(cniCodes.decodingFailure, parsed);
    if (!isAtLeast(parsed, since))
      return refuse(cniCodes.incompatibleVersion, `config version does not allow ${command}`);
  }
  if (!supportedVersions.includes(version)) {
    const details = `config is ${JSON.stringify(version)}, plugin supports [${supportedVersions.map((each) => JSON.stringify(each)).join(' ')}]`;
    return refuse(cniCodes.incompatibleVersion, 'incompatible CNI versions', details);
  }

  const ofAttachment = verb === 'add' || verb === 'check' || verb === 'del';
  const { args, problem } = readCniArgs(get('CNI_ARGS'), ofAttachment && readsArgs(type, fields));
  if (problem !== undefined) return refuse(cniCodes.invalidEnvironment, problem);
  const previous = ofAttachment ? fields.object('prevResult') : undefined;
  const prevResult = previous === undefined ? undefined : readResult(previous, version);
  const valid = verb === 'gc' ? readValid(fields) : undefined;
  if (problems.length > 0)
    return refuse(cniCodes.invalidConfig, `invalid network config: ${problems.join('; ')}`);

  const override = get('CNI_NETNS_OVERRIDE').toUpperCase();
  return {
    kind: 'call',
    version,
    call: {
      verb,
      type,
      key: {
        network,
        containerId: ofAttachment ? get('CNI_CONTAINERID') : '',
        interface: ofAttachment ? get('CNI_IFNAME') : '',
      },
      netns: ofAttachment ? get('CNI_NETNS') : '',
      netnsOverride: override === 'TRUE' || override === '1',
      args,
      path: get('CNI_PATH')
        .split(':')
        .filter((folder) => folder !== ''),
      config,
      ...(prevResult === undefined ? {} : { prevResult }),
      ...(valid === undefined ? {} : { valid }),
      environment: Object.fromEntries(
        handedOn.flatMap((variable) => (get(variable) === '' ? [] : [[variable, get(variable)]])),
      ),
    },
  };
}

/**
 * Returns whether the answer depends on standard input, by name and environment alone. A person who calls a
 * plugin by hand gives no input, and VERSION needs none.
 */
export function needsInput(call: Omit<RawCall, 'stdin'>): boolean {
  const read = readCall({ ...call, stdin: new Uint8Array() });
  return read.kind === 'call' || (read.kind === 'error' && read.beforeInput !== true);
}

const verbs: Readonly<Record<string, Verb | undefined>> = {
  ADD: 'add',
  DEL: 'del',
  CHECK: 'check',
  GC: 'gc',
  STATUS: 'status',
};
const firstVersion: Readonly<Partial<Record<Verb, readonly [number, number, number]>>> = {
  check: [0, 4, 0],
  gc: [1, 1, 0],
  status: [1, 1, 0],
};
const handedOn = ['TRACEPARENT', 'TRACESTATE', 'BAGGAGE'];
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u;

/** The name is a folder name in host-local's store and part of a file name in libcni's cache. */
const longestName = 255;

/** Checks the environment in skel's order: an invalid value is reported before a missing one. */
function checkEnvironment(command: string, get: (variable: string) => string): CniError | undefined {
  const missing: string[] = [];
  for (const { variable, needed, check } of variables) {
    const value = get(variable);
    if (!needed.includes(command)) continue;
    if (value === '') missing.push(variable);
    else {
      const wrong = check?.(value, command);
      if (wrong !== undefined) return wrong;
    }
  }
  if (missing.length === 0) return undefined;
  return { code: cniCodes.invalidEnvironment, msg: `required env variables [${missing.join(',')}] missing` };
}

const ofOneContainer = ['ADD', 'CHECK', 'DEL'];
const variables: readonly {
  readonly variable: string;
  readonly needed: readonly string[];
  readonly check?: (value: string, command: string) => CniError | undefined;
}[] = [
  {
    variable: 'CNI_CONTAINERID',
    needed: ofOneContainer,
    check: (id) =>
      namePattern.test(id)
        ? undefined
        : {
            code: cniCodes.invalidEnvironment,
            msg: 'invalid characters in containerID',
            details: `CNI_CONTAINERID=${id}`,
          },
  },
  { variable: 'CNI_NETNS', needed: ['ADD', 'CHECK'] },
  { variable: 'CNI_IFNAME', needed: ofOneContainer, check: checkInterfaceName },
  { variable: 'CNI_PATH', needed: ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS'] },
];

function checkInterfaceName(name: string, command: string): CniError | undefined {
  const wrong = (msg: string, why?: string): CniError => ({
    code: cniCodes.invalidEnvironment,
    msg,
    details: `CNI_IFNAME=${name}${why === undefined ? '' : `: ${why}`}`,
  });
  if (Buffer.byteLength(name) > 15)
    return wrong('interface name is too long', 'interface name should be less than 16 characters');
  if (name === '.' || name === '..') return wrong('interface name is . or ..');
  // Go's unicode.IsSpace includes NEL.
  if (/[/:\s\u0085]/u.test(name)) return wrong('interface name contains / or : or whitespace characters');
  // Only ADD: the DEL that follows a refused ADD succeeds.
  if (command === 'ADD' && !isInterfaceName(name))
    return wrong('the kernel has no interface of this name', 'choose another interface name');
  return undefined;
}

/**
 * Returns whether the upstream plugin of this type, or its IPAM plugin, reads CNI_ARGS. Only these plugins
 * refuse unknown arguments.
 */
function readsArgs(type: string, config: Fields): boolean {
  return ['bridge', 'macvlan', 'tuning', 'static', 'ipam', 'host-local'].includes(type) || config.has('ipam');
}

/**
 * Reads both names: the specification's, and the name that an earlier text of it used
 * (containernetworking/cni issue 1101).
 */
function readValid(config: Fields): { containerId: string; interface: string }[] {
  const name = ['cni.dev/valid-attachments', 'cni.dev/attachments'].find((each) => config.has(each));
  if (name === undefined) return [];
  return config.objects(name).flatMap((entry) => {
    const [containerId, ifname] = [entry.text('containerID'), entry.text('ifname')];
    if (containerId === undefined || ifname === undefined)
      entry.problem('', "'containerID' and 'ifname' are needed");
    return containerId === undefined || ifname === undefined ? [] : [{ containerId, interface: ifname }];
  });
}
