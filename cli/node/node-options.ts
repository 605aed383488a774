import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { nodeControllers } from '../../node/index.ts';
import type { Controller } from '../../node/index.ts';
import { createCriClient, loadPolicySet } from '../../runtime/index.ts';
import type { CriClient } from '../../runtime/index.ts';
import { withAdminSocket } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import { socketPath, withSocket } from '../options/endpoint.ts';
import { withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { withNetworkFlags } from '../options/network-flags.ts';

/** Where the parts of a node are, for every `node` command of one node. */
export interface NodeFlags extends AdminFlags {
  readonly state: string;
  readonly socket: string;
  readonly confDir: string;
  readonly root: string;
  readonly plugins: 'auto' | 'exec';
  readonly policyFolder?: string;
  readonly podLogs: string;
  readonly output: OutputFormat;
}

const defaultState = '/var/lib/portcullis/node';

export function withState(command: Command): Command {
  return withOutput(command).option(
    '--state <dir>',
    'folder of the desired state and of the records of created items',
    defaultState,
  );
}

export function withNode(command: Command): Command {
  return withNetworkFlags(withAdminSocket(withSocket(withState(command))))
    .option(
      '--policy-folder <path>',
      'the policy path of the daemon: a symbolic link that this command makes (default: policy in the folder of --state)',
    )
    .option('--pod-logs <dir>', 'folder of the logs of static pods', '/var/log/pods');
}

/** Runs `body` with the controllers of this node, and with the client of the daemon that they use. */
export async function withControllers<T>(
  flags: NodeFlags,
  body: (controllers: readonly Controller[], cri: CriClient) => Promise<T>,
): Promise<T> {
  const cri = createCriClient(resolve(socketPath(flags.socket)));
  try {
    return await body(controllersOf(flags, cri), cri);
  } finally {
    cri.close();
  }
}

/**
 * Runs `body` with controllers that read and check documents. They contact no node, so it does not matter
 * where its parts are.
 */
export const withDocumentControllers = <T>(
  output: OutputFormat,
  body: (controllers: readonly Controller[]) => Promise<T>,
): Promise<T> =>
  withControllers(
    {
      ...{ output, state: defaultState, socket: '/run/portcullis/portcullis.sock', plugins: 'auto' },
      ...{
        adminSocket: '/run/portcullis/admin.sock',
        confDir: '/etc/cni/net.d',
        root: '/var/lib/portcullis',
      },
      podLogs: '/var/log/pods',
    },
    body,
  );

function controllersOf(flags: NodeFlags, cri: CriClient): readonly Controller[] {
  return nodeControllers({
    daemon: { cri, adminSocket: flags.adminSocket },
    networks: {
      databasePath: join(resolve(flags.root), 'network.db'),
      confDir: resolve(flags.confDir),
      choice: { plugins: flags.plugins, maxConfigs: 1 },
    },
    policyFolder: resolve(flags.policyFolder ?? join(flags.state, 'policy')),
    podLogs: resolve(flags.podLogs),
    loadPolicy: (paths) => loadPolicySet({ paths }),
  });
}
