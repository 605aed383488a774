import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Scene } from './scene/scene.ts';

/**
 * Databases are compared through their effects (names, services, statuses); logs of the daemon and of
 * verdicts grow by design, and so do the ballast and the results of proofs of profiles, which are stored by
 * content.
 */
const growing =
  /\.db(-wal|-shm|-journal|\.lock|\.policies)?$|\/daemon\.log$|\/verdict-log\.key(\.pub)?$|\/root\/ballast$|\/entitlements\/[0-9a-f]{64}$/u;

interface File {
  readonly type: string;
  readonly text: string;
  readonly path: string;
}

/** find ignores names that vanish while it searches, except in its exit code. */
function find(folders: readonly string[], words: readonly string[], format: string): File[] {
  let text: string;
  try {
    text = execFileSync('find', [...folders, '-xdev', ...words, '-printf', `${format}\\t%p\\0`], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch (thrown) {
    text = (thrown as { readonly stdout?: string }).stdout ?? '';
  }
  return text
    .split('\0')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll('\n', '\\n'))
    .map((line) => {
      const [said = '', path = ''] = line.split('\t');
      return { type: said.slice(0, 1), text: said, path };
    });
}

function contentOf(path: string): string {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);
  } catch {
    return 'unreadable';
  }
}

/**
 * Returns files of the host, of the daemon and of other pods: type, mode, owner, target of a link; the
 * contents of small files.
 */
export function lookAtFiles({ stage, host, kubeletRoot }: Scene): string[] {
  const { folder, root, state } = stage.folders;
  // The contents of the image store follow from its digests: names are enough.
  const store = find([root], [], '%y').filter(({ path }) => !growing.test(path));
  const plain = find(
    [folder, host, kubeletRoot],
    ['(', '-path', root, '-prune', ')', '-o'],
    '%y %m %U:%G %l',
  ).filter(({ path }) => !growing.test(path) && path !== root);
  const system = find(['/etc', '/var/lib/cni'], [], '%y %m %U:%G %l');
  // The machine's devices are shared: programs outside this suite change their owners.
  const devices = find(
    ['/dev'],
    ['(', '-path', '/dev/pts', '-o', '-path', '/dev/shm', ')', '-prune', '-o'],
    '%y %m',
  );
  const contents = [
    ...plain,
    ...system.filter(({ path }) =>
      /^\/etc\/(hosts|resolv\.conf|hostname|passwd|shadow|cni|portcullis)/u.test(path),
    ),
  ]
    .filter(({ type, path }) => type === 'f' && !path.endsWith('.log') && !path.startsWith(`${state}/ns/`))
    .map(({ path }) => `content ${contentOf(path)}\t${path}`);
  // The logs of others are compared too: no other program writes there.
  const logs = plain
    .filter(({ type, path }) => type === 'f' && path.endsWith('.log'))
    .map(({ path }) => `content ${contentOf(path)}\t${path}`);
  return [
    ...[...store, ...plain, ...system, ...devices].map(({ text, path }) => `file ${text}\t${path}`),
    ...contents,
    ...logs,
  ];
}
