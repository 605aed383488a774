import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, fileReason } from '../../../base/errors/index.ts';
import { parseDocuments } from '../../../base/schema/index.ts';
import { readUnit } from './unit-file.ts';

/** The setup of this machine's kubelet: its flags, and the KubeletConfiguration files that they name. */
export interface KubeletSettings {
  /** Where the flags were found. */
  readonly source: string;
  /** Flags by name without dashes. A flag without a value is `true`. The last occurrence counts. */
  readonly flags: ReadonlyMap<string, string>;
  /** The configuration file, merged with its drop-ins. */
  readonly configuration: Readonly<Record<string, unknown>>;
  /** Files that cannot be read, each with the reason. */
  readonly problems: readonly string[];
}

/** kubeadm's files (kubernetes.io/docs/setup/production-environment/tools/kubeadm/kubelet-integration). */
const kubeadm = {
  configuration: 'var/lib/kubelet/config.yaml',
  flags: ['var/lib/kubelet/kubeadm-flags.env', 'etc/default/kubelet', 'etc/sysconfig/kubelet'],
};

/**
 * Reads the settings of the running kubelet, else of the one that systemd would start, else of the one that
 * kubeadm configured. Returns undefined when there is none.
 * @param root the root of the file system, `/`
 */
export function readKubelet(root: string): KubeletSettings | undefined {
  const running = runningKubelet(root);
  if (running !== undefined) return withConfiguration(`process ${running.pid}`, flagsOf(running.args), root);
  const unit = readUnit('kubelet.service', root);
  const configuration = join(root, kubeadm.configuration);
  if (unit === undefined && !existsSync(configuration)) return undefined;
  const said = (unit?.directives.get('Service.EnvironmentFile') ?? []).map((file) => file.replace(/^-/, ''));
  const files = [...new Set([...said, ...kubeadm.flags.map((file) => `/${file}`)])];
  const lines = [
    ...(unit?.directives.get('Service.ExecStart') ?? []),
    ...(unit?.directives.get('Service.Environment') ?? []),
    ...files.flatMap((file) =>
      existsSync(join(root, file)) ? [readFileSync(join(root, file), 'utf8')] : [],
    ),
  ];
  const flags = flagsOf(
    lines.flatMap((line) => line.split(/[\s"'=]*(?=--)|[\s"']+/)).filter((word) => word !== ''),
  );
  if (!flags.has('config') && existsSync(configuration)) flags.set('config', `/${kubeadm.configuration}`);
  return withConfiguration(unit?.files[0] ?? configuration, flags, root);
}

/** Parses `--name=value`, `--name value` and `--name`. One dash is equivalent to two. */
export function flagsOf(words: readonly string[]): Map<string, string> {
  const flags = new Map<string, string>();
  for (const [index, word] of words.entries()) {
    const [, name, value] = /^--?([a-z][a-z0-9-]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) continue;
    const next = words[index + 1];
    flags.set(name, value ?? (next === undefined || next.startsWith('-') ? 'true' : next));
  }
  return flags;
}

function runningKubelet(
  root: string,
): { readonly pid: string; readonly args: readonly string[] } | undefined {
  for (const pid of namesIn(join(root, 'proc')).filter((name) => /^\d+$/.test(name))) {
    try {
      const args = readFileSync(join(root, 'proc', pid, 'cmdline'), 'utf8').split('\0');
      if (/(^|\/)kubelet$/.test(args[0] ?? '')) return { pid, args: args.slice(1, -1) };
    } catch {
      // The process has ended.
    }
  }
  return undefined;
}

function withConfiguration(
  source: string,
  flags: ReadonlyMap<string, string>,
  root: string,
): KubeletSettings {
  const problems: string[] = [];
  const folder = flags.get('config-dir');
  const dropIns =
    folder === undefined
      ? []
      : namesIn(join(root, folder))
          .filter((name) => name.endsWith('.conf'))
          .sort();
  const files = [flags.get('config'), ...dropIns.map((name) => join(folder ?? '', name))].filter(
    (file) => file !== undefined,
  );
  let configuration: Record<string, unknown> = {};
  for (const file of files) {
    const read = readConfiguration(join(root, file));
    if (typeof read === 'string') problems.push(`${file}: ${read}`);
    else configuration = { ...configuration, ...read };
  }
  return { source, flags, configuration, problems };
}

function readConfiguration(file: string): Record<string, unknown> | string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (thrown) {
    return fileReason(thrown, file);
  }
  const { documents, problems } = parseDocuments(text, file);
  const value = documents[0]?.value;
  if (problems[0] !== undefined) return problems[0].message;
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)
    : 'it is not a KubeletConfiguration';
}

function namesIn(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? [];
}
