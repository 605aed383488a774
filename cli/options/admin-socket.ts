import { dirname, join, resolve } from 'node:path';
import { fromVariable, socketPath } from './endpoint.ts';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { callAdmin } from '../../cni-plugins/index.ts';
import type { AdminApi, AdminOperation, AdminResponse } from '../../cni-plugins/index.ts';

/** Where the daemon answers commands. */
export interface AdminFlags {
  readonly adminSocket: string;
}

const defaultAdminSocket = '/run/portcullis/admin.sock';

/**
 * Adds `--admin-socket`, and the flag that earlier versions had for it. Without them, a user who names the
 * socket of the CRI, by `--socket` or PORTCULLIS_SOCKET, means the same daemon: `admin.sock` is beside it.
 */
export function withAdminSocket(command: Command): Command {
  return command
    .addOption(
      fromVariable(
        new Option(
          '--admin-socket <path>',
          'where the daemon answers commands: admin.sock in its folder `state`; beside the socket in PORTCULLIS_SOCKET, if that is set',
        ),
        'PORTCULLIS_ADMIN_SOCKET',
      )
        .argParser(socketPath)
        .default(defaultAdminSocket),
    )
    .addOption(
      new Option('--cni-socket <path>', 'the socket of CNI plugins; admin.sock is beside it').hideHelp(),
    )
    .hook('preAction', (_, called) => {
      if (called.getOptionValueSource('adminSocket') !== 'default') return;
      const isNamed = called.getOptionValueSource('socket') === 'cli';
      const socket: unknown = isNamed ? called.getOptionValue('socket') : process.env['PORTCULLIS_SOCKET'];
      const cniSocket: unknown = called.getOptionValue('cniSocket');
      if (typeof cniSocket === 'string')
        called.setOptionValue('adminSocket', join(dirname(cniSocket), 'admin.sock'));
      else if (typeof socket === 'string' && socket !== '')
        called.setOptionValue('adminSocket', besideNamed(socket, called));
    });
}

function besideNamed(socket: string, command: Command): string {
  try {
    return besideSocket(socket);
  } catch (thrown) {
    if (!(thrown instanceof InvalidArgumentError)) throw thrown;
    return command.error(`error: PORTCULLIS_SOCKET '${socket}' is invalid. ${thrown.message}`, thrown);
  }
}

/**
 * Returns the path of the admin socket beside another socket of the daemon.
 * @param socket a path with or without `unix://`
 */
export function besideSocket(socket: string): string {
  return join(dirname(resolve(socketPath(socket))), 'admin.sock');
}

/**
 * Asks the daemon.
 * @param timeoutMs time until the complete answer, in ms
 * @throws the daemon's own error · CLI_NO_DAEMON
 */
export async function askAdmin<Name extends AdminOperation>(
  { adminSocket }: AdminFlags,
  operation: Name,
  fields: AdminApi[Name]['request'],
  timeoutMs?: number,
): Promise<AdminResponse<Name>> {
  const answer = await callAdmin(adminSocket, operation, fields, timeoutMs);
  if ('value' in answer) return answer.value;
  throw answer.failure ?? noDaemon(answer.why);
}

/** @param why names the socket */
const noDaemon = (why: string): PortcullisError =>
  new PortcullisError({
    code: 'CLI_NO_DAEMON',
    kind: 'unavailable',
    attempted: 'ask the daemon',
    on: '',
    why,
    fix: 'start portcullisd, or name admin.sock in its folder `state` by --admin-socket or PORTCULLIS_ADMIN_SOCKET',
  });
