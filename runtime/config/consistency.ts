import { isIP } from 'node:net';
import { join } from 'node:path';
import { formatIp, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import { append } from '../../base/lists/index.ts';
import { ways } from '../findings/finding-codes.ts';
import { registryProblems } from './registry-rules.ts';
import type { DaemonConfig } from './types.ts';

/**
 * Checks the rules between parts of a configuration that a schema cannot express. Returns one sentence for
 * each problem.
 */
export function checkConsistency(config: DaemonConfig): string[] {
  const problems: string[] = [];
  if (!Object.hasOwn(config.runtimes, config.defaultRuntime)) {
    const known = Object.keys(config.runtimes).join(', ');
    problems.push(
      `defaultRuntime: ${config.defaultRuntime} is not among the runtimes (${known}); name one of them or add it with --runtime ${config.defaultRuntime}=PATH`,
    );
  }
  for (const [name, { type, runtimePath, configPath, writableCgroups }] of Object.entries(config.runtimes)) {
    if (type !== 'shim' && (runtimePath !== undefined || configPath !== undefined))
      problems.push(
        `runtimes.${name}: runtimePath and configPath are options of a shim; add \`type: shim\`, or leave them out`,
      );
    if (type === 'shim' && writableCgroups === true)
      problems.push(
        `runtimes.${name}: writableCgroups is an option of an OCI runtime, and this is a shim; leave it out`,
      );
  }
  if (config.root === '/' || config.state === '/')
    problems.push('root and state: / cannot be either; give each a folder of its own');
  if (within(config.root, config.state) || within(config.state, config.root)) {
    problems.push(
      `root and state: ${config.root} and ${config.state} overlap; give each a folder of its own`,
    );
  }
  append(problems, socketProblems(config));
  const { certFile, keyFile } = config.streaming.tls;
  if ((certFile === '') !== (keyFile === ''))
    problems.push('streaming.tls: certFile and keyFile belong together; give both or none');
  append(problems, registryProblems(config.registries));
  if (config.audit.required && config.audit.path === '')
    problems.push('audit.required: there is no audit.path; give one');
  if (config.nri.required.length > 0 && !config.nri.enabled)
    problems.push('nri.required: no plugin can connect without nri.enabled; set enabled: true');
  if (config.tracing.endpoint !== '' && !URL.canParse(config.tracing.endpoint))
    problems.push(`tracing.endpoint: ${config.tracing.endpoint} is not a URL`);
  if (config.network.pods?.from === 'node' && config.network.pods.kubeconfig === undefined)
    problems.push('network.pods: from: node needs a kubeconfig; give one');
  if (config.cluster?.policyFiles !== undefined && !config.cluster.policies)
    problems.push('cluster.policyFiles: it has no effect without cluster.policies; set policies: true');
  const names = config.network.kubernetes?.dns?.address;
  if (names !== undefined && !isUsable(names))
    problems.push(
      `network.kubernetes.dns.address: ${names} is not an address that pods can ask; give one such as 169.254.20.10`,
    );
  append(problems, servicesProblems(config.network.services));
  append(problems, fleetProblems(config.fleet));
  append(problems, enforcementProblems(config.enforcement));
  const port = Number(config.metrics.address.split(':').at(-1));
  if (port > 65_535) problems.push(`metrics.address: ${port} is not a port`);
  return problems;
}

/** The path of a unix socket has at most 107 bytes (unix(7)). */
function socketProblems({ socket, state, cni }: DaemonConfig): string[] {
  // The longest name of a socket in this folder.
  const longest = join(state, 'admin.sock');
  return Object.entries({ socket, state: longest, 'cni.socket': cni.socket ?? '' })
    .filter(([, path]) => Buffer.byteLength(path) > 107)
    .map(
      ([option, path]) =>
        `${option}: ${path} is longer than the 107 bytes that a unix socket's path may have`,
    );
}

/** Loopback, unspecified, multicast and link-local IPv6 addresses, in canonical form. */
const unusable = /^(?:0\.|127\.|2[2-5]\d\.|::1?$|::ffff:|ff|fe[89ab])/u;

function isUsable(text: string): boolean {
  const address = parseIp(text);
  return isIP(text) !== 0 && address !== undefined && !unusable.test(formatIp(address));
}

/** The host of a URL. `base/http` knows more forms, and is not loaded at the start. */
const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/u;

function servicesProblems({ kubernetes }: DaemonConfig['network']['services']): string[] {
  const problems: string[] = [];
  const { nodePortAddresses = [], podRanges = [], healthAddress = '' } = kubernetes ?? {};
  if (nodePortAddresses.includes('primary') && nodePortAddresses.length > 1)
    problems.push('network.services.kubernetes.nodePortAddresses: primary applies alone; remove the others');
  for (const text of nodePortAddresses)
    if (text !== 'primary' && parsePrefix(text) === undefined)
      problems.push(`network.services.kubernetes.nodePortAddresses: ${text} is neither primary nor a prefix`);
  for (const text of podRanges)
    if (parsePrefix(text) === undefined)
      problems.push(`network.services.kubernetes.podRanges: ${text} is not a prefix`);
  const host = healthAddress.slice(0, healthAddress.lastIndexOf(':')).replace(/^\[(.*)\]$/u, '$1');
  if (healthAddress !== '' && (isIP(host) === 0 || Number(healthAddress.split(':').at(-1)) > 65_535))
    problems.push(
      `network.services.kubernetes.healthAddress: ${healthAddress} is not an address with a port; give one such as 0.0.0.0:10256`,
    );
  return problems;
}

function fleetProblems({ endpoint, tokenFile, certFile, keyFile }: DaemonConfig['fleet']): string[] {
  const problems: string[] = [];
  if (endpoint !== '' && !URL.canParse(endpoint)) problems.push(`fleet.endpoint: ${endpoint} is not a URL`);
  if ((certFile === '') !== (keyFile === ''))
    problems.push('fleet: certFile and keyFile belong together; give both or none');
  const { protocol, hostname } = URL.parse(endpoint) ?? { protocol: 'https:', hostname: '' };
  if (protocol === 'http:' && tokenFile !== '' && !loopback.test(hostname))
    problems.push('fleet.endpoint: a token is not sent over plain HTTP to another machine; use https');
  return problems;
}

function enforcementProblems({ admitted, refused, accept }: DaemonConfig['enforcement']): string[] {
  const problems: string[] = [];
  if ((admitted === '') !== (refused === ''))
    problems.push('enforcement: admitted and refused belong together; give both or none');
  else if (admitted !== '' && admitted === refused)
    problems.push('enforcement: admitted and refused name the same image; plant two');
  for (const code of accept)
    if (!Object.hasOwn(ways, code))
      problems.push(`enforcement.accept: ${code} is not a code of a finding; docs/enforcement.md lists them`);
  return problems;
}

function within(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}
