import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { findTool } from '../fixtures/tools.ts';

/** Another program that unpacks images. */
export interface Peer {
  readonly name: 'umoci' | 'containerd';
  /**
   * Calls `body` with the root of the whole tree of an image.
   * @param layout the folder of its OCI layout
   * @throws Error with the program's own words when it refuses the image
   */
  withTree<T>(layout: string, body: (root: string) => T): T;
  close(): Promise<void>;
}

/** The tag of the image in its layout, and its name for containerd. */
export const tag = 'tree';
export const imageName = 'example.com/tree:1';

function run(program: string, ...args: readonly string[]): void {
  try {
    execFileSync(program, args, { stdio: 'pipe', encoding: 'utf8' });
  } catch (thrown) {
    const { stderr = '' } = thrown as { stderr?: string };
    throw new Error(
      `${program.split('/').at(-1) ?? ''} ${args[0] ?? ''}: ${stderr.trim().split('\n').at(-1) ?? ''}`,
      { cause: thrown },
    );
  }
}

/** umoci of the Open Container Initiative: the reference for unpacking layers. @param folder an empty one */
export function openUmoci(folder: string): Peer {
  const { path, skip } = findTool('umoci');
  if (skip !== false) throw new Error(skip);
  let count = 0;
  return {
    name: 'umoci',
    withTree(layout, body) {
      const bundle = `${folder}/${(count += 1)}`;
      try {
        run(path, 'unpack', '--image', `${layout}:${tag}`, bundle);
        return body(`${bundle}/rootfs`);
      } finally {
        run('rm', '-rf', bundle);
      }
    },
    close: () => Promise.resolve(),
  };
}

const startMs = 60_000;

/**
 * containerd, with its snapshotter of overlayfs. @param folder an empty one, on a file system for overlays
 */
export async function openContainerd(folder: string): Promise<Peer> {
  const tools = ['containerd', 'ctr'].map(findTool);
  for (const { skip } of tools) if (skip !== false) throw new Error(skip);
  const [containerd = '', ctr = ''] = tools.map(({ path }) => path);
  const socket = `${folder}/containerd.sock`;
  const disabled = [
    'cri.v1.images',
    'cri.v1.runtime',
    'grpc.v1.cri',
    'nri.v1.nri',
    'snapshotter.v1.blockfile',
    'snapshotter.v1.erofs',
  ];
  writeFileSync(
    `${folder}/config.toml`,
    [
      'version = 3',
      `root = '${folder}/root'`,
      `state = '${folder}/state'`,
      `disabled_plugins = [${disabled.map((name) => `'io.containerd.${name}'`).join(', ')}]`,
      `[grpc]\n  address = '${socket}'`,
      `[ttrpc]\n  address = '${socket}.ttrpc'`,
      `[plugins.'io.containerd.internal.v1.opt']\n  path = '${folder}/opt'`,
    ].join('\n'),
  );
  const log = openSync(`${folder}/log`, 'a');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', containerd, '-c', `${folder}/config.toml`], {
    stdio: ['ignore', log, log],
  });
  const closed = once(child, 'close');
  for (const until = Date.now() + startMs; !existsSync(socket);) {
    if (Date.now() > until || child.exitCode !== null)
      throw new Error(`containerd does not start: see ${folder}/log`);
    await pause(50);
  }
  const images = (...args: readonly string[]): void => run(ctr, '-a', socket, 'images', ...args);
  return {
    name: 'containerd',
    withTree(layout, body) {
      const archive = `${layout}.tar`;
      const target = `${folder}/mounted`;
      execFileSync('tar', ['-C', layout, '-cf', archive, '.']);
      mkdirSync(target, { recursive: true });
      try {
        images('import', '--local', '--snapshotter', 'overlayfs', archive);
        images('mount', '--snapshotter', 'overlayfs', imageName, target);
        try {
          return body(target);
        } finally {
          images('unmount', '--rm', '--snapshotter', 'overlayfs', target);
        }
      } finally {
        run('rm', '-f', archive);
        images('rm', '--sync', imageName);
      }
    },
    async close() {
      child.kill('SIGTERM');
      await closed;
    },
  };
}
