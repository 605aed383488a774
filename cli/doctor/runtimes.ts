import { spawnSync } from 'node:child_process';
import { isDeepStrictEqual } from 'node:util';
import {
  defaultRuntimes,
  openAdvisories,
  readHandlerFeatures,
  runtimeBehindShim,
} from '../../runtime/index.ts';
import type { DaemonConfig, HandlerFeatures } from '../../runtime/index.ts';
import type { Finding } from './finding.ts';
import { debianPackageIsAtLeast, ociRuntimes } from './programs.ts';

/**
 * Reports each OCI runtime that the configuration names, by its path: the version that this program states,
 * its open vulnerabilities, and the features that the daemon detected (Status, runtime_handlers).
 */
export async function runtimeFindings(config: DaemonConfig): Promise<readonly Finding[]> {
  const seen = await readHandlerFeatures(config.root);
  // Nobody configured the second default handler: without it, only a pod that names it is refused.
  const isBuiltIn = isDeepStrictEqual(config.runtimes, defaultRuntimes);
  return Object.entries(config.runtimes).map(([name, runtime]): Finding => {
    const { path } = runtime;
    const behind = runtime.type === 'shim' ? runtimeBehindShim(runtime) : undefined;
    const isDefault = name === config.defaultRuntime;
    const topic = `handler ${name}`;
    const shim = askVersion(path, runtime.type === 'shim' ? '-v' : '--version');
    // For a shim, the version of its runtime counts.
    const answer = 'why' in shim || behind === undefined ? shim : askVersion(behind);
    const place = `${path}${isDefault ? ', the default' : ''}`;
    const unusable = (why: string, fix: string): Finding => ({
      topic,
      state: isBuiltIn && !isDefault ? 'degraded' : 'missing',
      found: place,
      meaning: [
        why,
        isDefault ? 'the daemon does not start' : `a pod that names the handler ${name} is refused`,
      ],
      fix,
      ...(!isDefault && { partial: true }),
    });
    if ('why' in answer)
      return unusable(
        'why' in shim || behind === undefined
          ? answer.why
          : `the runtime of the shim, ${behind}: ${answer.why}`,
        `install it (\`portcullis doctor --fix\` installs crun and runc), or correct runtimes.${name}.${'why' in shim ? 'path' : 'runtimePath'}`,
      );
    const { kind, version } = answer;
    const open = openAdvisories(
      kind,
      version,
      (fix) => !config.strict && debianPackageIsAtLeast(kind, path, fix),
    );
    const found = `${version === '' ? 'version unknown' : version}  ${place}`;
    if (config.strict && open.length > 0) {
      const names = open.map(({ cve }) => cve).join(', ');
      return {
        ...unusable(
          `${names} are open in ${version}, and \`strict: true\` refuses this runtime`,
          newer(kind),
        ),
        found,
      };
    }
    return judged({ topic, found, kind, open, isShim: runtime.type === 'shim', features: seen[path] });
  });
}

const newer = (kind: string): string =>
  `install a version of ${kind} in which they are fixed; \`strict: true\` refuses a runtime with open ones`;

function judged({ topic, found, kind, open, isShim, features }: Judged): Finding {
  const lacks =
    features === undefined
      ? []
      : [
          ...(features.userNamespaces
            ? []
            : [`no user namespaces (hostUsers: false): ${features.whyNoUserNamespaces}`]),
          ...(features.recursiveReadOnlyMounts
            ? []
            : ['no recursive read-only mounts: a pod that requires them is refused']),
          ...(features.idmappedMounts ? [] : ['no idmapped mounts']),
        ];
  const fixes = [
    ...(open.length === 0 ? [] : [newer(kind)]),
    ...(lacks.length === 0
      ? []
      : [
          'install a newer version or use another handler; the daemon checks its features again at its next start',
        ]),
  ];
  if (fixes.length === 0) {
    const known = isShim
      ? 'a shim, without user namespaces, idmapped and recursive read-only mounts'
      : features === undefined
        ? 'no daemon has detected its features yet'
        : 'user namespaces, idmapped and recursive read-only mounts';
    return { topic, state: 'fine', found: `${found}: ${known}` };
  }
  return {
    topic,
    state: 'degraded',
    found,
    meaning: [...open.map((advisory) => `${advisory.cve}: ${advisory.what}; ${advisory.guard}`), ...lacks],
    ...(open.length > 0 && { open: open.map((advisory) => advisory.cve) }),
    fix: fixes.join('; '),
  };
}

interface Judged {
  readonly topic: string;
  readonly found: string;
  readonly kind: string;
  readonly open: ReturnType<typeof openAdvisories>;
  readonly isShim: boolean;
  readonly features: HandlerFeatures | undefined;
}

/**
 * Asks the program for its version, as the daemon does at its start. The first word of the answer is its
 * kind, because a file may have any name.
 * @param option `-v` for a shim (containerd, core/runtime/v2/README.md): the shim of gVisor has no other
 */
function askVersion(
  path: string,
  option: '--version' | '-v' = '--version',
): { readonly kind: string; readonly version: string } | { readonly why: string } {
  const { status, signal, stdout, stderr, error } = spawnSync(path, [option], {
    encoding: 'utf8',
    timeout: 5000,
    killSignal: 'SIGKILL',
    maxBuffer: 65_536,
  });
  if (error !== undefined)
    return {
      why:
        reasons[(error as NodeJS.ErrnoException).code ?? ''] ??
        `it does not answer ${option}: ${error.message}`,
    };
  if (status !== 0)
    return {
      why: `\`${path} ${option}\` ended with ${signal ?? status}: ${stderr.trim().split('\n')[0]?.slice(0, 200) ?? ''}`,
    };
  const line = stdout.split('\n')[0] ?? '';
  return {
    kind: ociRuntimes.find((name) => line.startsWith(name)) ?? 'other',
    version: /version (\S+)/.exec(line)?.[1]?.slice(0, 100) ?? '',
  };
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such program',
  EACCES: 'the file is not executable',
  ENOEXEC: 'the file is not a program for this machine',
  ETIMEDOUT: 'it did not report its version within 5 s',
};
