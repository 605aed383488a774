/**
 * Runs the tutorials as a reader does: the `sh` blocks of each, in order, in one bash, with a real registry,
 * daemon and crictl. Each tutorial has private namespaces (PID, mounts, network), and must remove all that it
 * creates.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { findTool } from '../fixtures/tools.ts';

const root = join(import.meta.dirname, '../..');
const folder = join(root, 'docs/tutorials');
const crictl = findTool('crictl');
const kubelet = findTool('kubelet');
/** Where `test/peers/get nginx` puts Debian's package. */
const nginx = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'nginx');
/** A reader needs ten minutes. A command that hangs makes the test fail. */
const limitMs = 300_000;

interface Block {
  readonly line: number;
  readonly text: string;
  /**
   * The block runs only with a kubelet, whose build takes ten minutes: `<!-- needs kubelet -->` is above it.
   */
  readonly needsKubelet: boolean;
}

function blocksOf(document: string): Block[] {
  return [...document.matchAll(/^(<!-- needs kubelet -->\n\n)?```sh\n([^]*?)^```$/gm)].map(
    ({ index, 1: mark = '', 2: text = '' }) => ({
      line: document.slice(0, index + mark.length).split('\n').length,
      text,
      needsKubelet: mark !== '',
    }),
  );
}

/**
 * Joins the blocks to a script that ends at the first failure, and writes a line to descriptor 3 after each
 * block.
 */
function scriptOf(blocks: readonly Block[]): string {
  return `set -euo pipefail\n${blocks.map(({ line, text }) => `${text}echo ${line} >&3\n`).join('')}`;
}

interface Run {
  readonly done: ReadonlySet<number>;
  readonly output: string;
  readonly left: readonly string[];
}

async function run(blocks: readonly Block[]): Promise<Run> {
  const own = mkdtempSync(join(tmpdir(), 'pc-tutorial-'));
  try {
    const [script, temporary] = [join(own, 'tutorial.sh'), mkdtempSync(join(own, 'tmp-'))];
    writeFileSync(script, scriptOf(blocks));
    // When the shell ends, the PID namespace ends everything that is left.
    const child = spawn(
      'unshare',
      ['--pid', '--fork', '--kill-child', '--mount-proc', 'timeout', `${limitMs / 1000}`, 'bash', script],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
        env: {
          ...process.env,
          TMPDIR: temporary,
          NGINX: nginx,
          KUBELET: kubelet.path,
          PATH: [dirname(crictl.path), process.env['PATH'] ?? ''].join(delimiter),
        },
      },
    );
    let [output, marks] = ['', ''];
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stdio[3]?.on('data', (chunk: Buffer) => (marks += chunk.toString()));
    await once(child, 'close');
    const failed = readdirSync(temporary).flatMap((name) => logsOf(join(temporary, name, 'logs')));
    return {
      done: new Set(marks.trim().split('\n').map(Number)),
      output: [output, ...failed].join('\n'),
      left: readdirSync(temporary),
    };
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

/** The ends of the logs that a failed tutorial left. */
function logsOf(logs: string): string[] {
  try {
    return readdirSync(logs).map((name) => `${name}: ${readFileSync(join(logs, name), 'utf8').slice(-3000)}`);
  } catch {
    return [];
  }
}

function skipOf(name: string): string | false {
  const needsNginx = readFileSync(join(folder, name), 'utf8').includes('$NGINX');
  return crictl.skip !== false
    ? crictl.skip
    : needsNginx && !existsSync(nginx)
      ? 'no nginx: test/peers/get nginx'
      : false;
}

for (const name of readdirSync(folder).filter((file) => file.endsWith('.md')))
  describe(`the tutorial ${name}`, { skip: skipOf(name) }, () => {
    const blocks = blocksOf(readFileSync(join(folder, name), 'utf8'));
    let ran: Run;
    before(async () => {
      if (blocks.some(isRun) && blocks.some(({ needsKubelet }) => needsKubelet)) prepareNode();
      ran = await run(blocks.filter(isRun));
    });
    after(() => {
      for (const cgroup of cgroupsLeft()) removeCgroup(cgroup);
    });
    it('has commands', () => {
      assert.ok(blocks.length > 0);
    });
    for (const block of blocks)
      it(
        `line ${block.line}: ${block.text.split('\n')[0] ?? ''}`,
        { skip: isRun(block) ? false : kubelet.skip },
        () => {
          assert.ok(ran.done.has(block.line), ran.output.slice(-8000));
        },
      );
    it('leaves nothing behind', () => {
      assert.deepEqual([...ran.left, ...cgroupsLeft()], [], ran.output.slice(-8000));
    });
  });

function isRun({ needsKubelet }: Block): boolean {
  return !needsKubelet || kubelet.skip === false;
}

/**
 * Prepares what a kubelet expects of a machine: a default route, and a folder for its links to logs of
 * containers.
 */
function prepareNode(): void {
  const ip = (...args: string[]): void => void execFileSync('ip', args);
  ip('link', 'add', 'node0', 'type', 'veth', 'peer', 'name', 'node1');
  ip('addr', 'add', '10.212.0.2/24', 'dev', 'node0');
  for (const name of ['node0', 'node1']) ip('link', 'set', name, 'up');
  ip('route', 'add', 'default', 'via', '10.212.0.1');
  execFileSync('mount', ['-t', 'tmpfs', 'tutorial-log', '/var/log']);
}

function cgroupsLeft(): string[] {
  const hierarchies = [
    '/sys/fs/cgroup',
    ...readdirSync('/sys/fs/cgroup').map((one) => `/sys/fs/cgroup/${one}`),
  ];
  return hierarchies.flatMap((one) => {
    try {
      return readdirSync(one)
        .filter((found) => found.startsWith('portcullis-tutorial'))
        .map((found) => join(one, found));
    } catch {
      return [];
    }
  });
}

/** The files of a cgroup cannot be removed: only folders are, from the innermost on. */
function removeCgroup(cgroup: string): void {
  for (const entry of readdirSync(cgroup, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroup(join(cgroup, entry.name));
  rmdirSync(cgroup);
}
