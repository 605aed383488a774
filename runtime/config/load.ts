import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, resolve } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { formatProblems, parseDocuments, validate } from '../../base/schema/index.ts';
import type { Document } from '../../base/schema/index.ts';
import { checkConsistency } from './consistency.ts';
import { withDefaults } from './defaults.ts';
import { applyFlags } from './flags.ts';
import type { FlagValues } from './flags.ts';
import { configSchema, defaultConfigFile } from './schema.ts';
import type { DaemonConfig } from './types.ts';

export interface LoadConfigInput {
  /** Default: /etc/portcullis/config.yaml, which need not exist. A file that is named must. */
  readonly file?: string;
  readonly flags?: FlagValues;
  /** What relative paths of flags are relative to. Default: the working folder. */
  readonly workingFolder?: string;
}

/**
 * The effective configuration: flags over file over defaults.
 * Throws CONFIG_INVALID with every problem, one a line, as file:line:column or by flag; `details.problems` is the list.
 */
export async function loadDaemonConfig(input: LoadConfigInput = {}): Promise<DaemonConfig> {
  const workingFolder = input.workingFolder ?? process.cwd();
  const file = resolve(workingFolder, input.file ?? defaultConfigFile);
  const problems: string[] = [];
  const written = await readDocument(file, input.file !== undefined, problems);
  const complete = withDefaults(configSchema, absolutePaths(written, dirname(file)));
  const flagged = applyFlags(complete, input.flags ?? {}, (path) => resolve(workingFolder, path));
  problems.push(...flagged.problems, ...checkFlagged(flagged.value));
  const config = flagged.value as unknown as DaemonConfig;
  if (problems.length === 0) problems.push(...checkConsistency(config));
  if (problems.length > 0) {
    throw new PortcullisError({
      code: 'CONFIG_INVALID',
      kind: 'invalid',
      attempted: 'load configuration',
      on: file,
      why: problems.length === 1 ? String(problems[0]) : `${problems.length} problems:\n  ${problems.join('\n  ')}\n`,
      fix: 'correct each; docs/configuration.md lists every option',
      details: { problems },
    });
  }
  return config;
}

async function readDocument(file: string, mustExist: boolean, problems: string[]): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    if (mustExist || (thrown as NodeJS.ErrnoException).code !== 'ENOENT') problems.push(`${file}: cannot be read: ${reasonOf(thrown)}`);
    return {};
  }
  const parsed = parseDocuments(text, file);
  const [document, second] = parsed.documents;
  const found = [...parsed.problems];
  if (second !== undefined) {
    found.push({ position: second.positionOf([]), path: '', message: 'a second document', fix: 'keep one document in the file' });
  }
  if (document === undefined || document.value === null) {
    problems.push(...lines(found));
    return {};
  }
  found.push(...validate(document, configSchema));
  problems.push(...lines(found));
  return found.length === 0 ? (document.value as Record<string, unknown>) : {};
}

function lines(found: Parameters<typeof formatProblems>[0]): string[] {
  return found.length === 0 ? [] : formatProblems(found).split('\n');
}

/** Flags are checked by the same schema; their problems have no place in a file. */
function checkFlagged(value: Record<string, unknown>): string[] {
  const nowhere = { file: 'flags', line: 0, column: 0 };
  const document: Document = { value, file: 'flags', positionOf: () => nowhere };
  return validate(document, configSchema).map(
    ({ path, message, fix }) => `flags: ${path}: ${message}${fix === undefined ? '' : `; ${fix}`}`,
  );
}

/** Paths of the file are relative to its folder. */
function absolutePaths(value: Readonly<Record<string, unknown>>, folder: string): Record<string, unknown> {
  const absolute = (path: unknown): unknown => (typeof path === 'string' && !isAbsolute(path) ? resolve(folder, path) : path);
  const changed = structuredClone(value) as Record<string, unknown>;
  for (const key of ['socket', 'root', 'state', 'kubeletRoot']) if (key in changed) changed[key] = absolute(changed[key]);
  if (Array.isArray(changed.policy)) changed.policy = changed.policy.map(absolute);
  const cni = changed.cni as { confDir?: unknown; binDirs?: unknown; socket?: unknown } | undefined;
  if (cni?.confDir !== undefined) cni.confDir = absolute(cni.confDir);
  if (Array.isArray(cni?.binDirs)) cni.binDirs = cni.binDirs.map(absolute);
  if (cni?.socket !== undefined) cni.socket = absolute(cni.socket);
  const network = changed.network as Record<string, unknown> | undefined;
  for (const key of ['dockerDriver', 'dockerSocket', 'policies']) if (network && key in network) network[key] = absolute(network[key]);
  const services = network?.['services'] as { folder?: unknown; kubernetes?: { kubeconfig?: unknown } } | undefined;
  if (services?.folder !== undefined) services.folder = absolute(services.folder);
  if (services?.kubernetes?.kubeconfig !== undefined) services.kubernetes.kubeconfig = absolute(services.kubernetes.kubeconfig);
  const etcd = (network?.['overlay'] as { etcd?: Record<string, unknown> } | undefined)?.etcd;
  for (const key of ['ca', 'cert', 'key']) if (etcd && key in etcd) etcd[key] = absolute(etcd[key]);
  const cdi = changed.cdi as { specDirs?: unknown } | undefined;
  if (Array.isArray(cdi?.specDirs)) cdi.specDirs = cdi.specDirs.map(absolute);
  const tls = (changed.streaming as { tls?: { certFile?: unknown; keyFile?: unknown } } | undefined)?.tls;
  if (tls?.certFile) tls.certFile = absolute(tls.certFile);
  if (tls?.keyFile) tls.keyFile = absolute(tls.keyFile);
  const registries = changed.registries as { certificates?: unknown; mirrors?: Record<string, { authFile?: unknown }> } | undefined;
  if (Array.isArray(registries?.certificates)) registries.certificates = registries.certificates.map(absolute);
  for (const mirror of Object.values(registries?.mirrors ?? {})) if ('authFile' in mirror) mirror.authFile = absolute(mirror.authFile);
  const audit = changed.audit as { path?: unknown } | undefined;
  if (audit?.path !== undefined && audit.path !== '') audit.path = absolute(audit.path);
  for (const handler of Object.values((changed.runtimes ?? {}) as Record<string, { path: unknown }>)) handler.path = absolute(handler.path);
  return changed;
}
