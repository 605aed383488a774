import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { resolve } from 'node:path';
import type { CriClient } from '../../runtime/client.ts';

/** Adds `--socket`, the option of every command that talks to a running daemon. */
export function withSocket(command: Command): Command {
  const option = new Option('--socket <path>', 'unix socket of the running daemon');
  const named = fromVariable(option, 'PORTCULLIS_SOCKET').argParser(socketPath);
  return command.addOption(named.default('/run/portcullis/portcullis.sock'));
}

/**
 * Takes the value of an option from a variable of the environment. An empty variable, such as a pipeline
 * gives for an unset one, counts as unset.
 */
export function fromVariable(option: Option, name: string): Option {
  return process.env[name] === '' ? option : option.env(name);
}

/**
 * Returns the path of a socket that may be written as a URL: `unix:///run/portcullis/portcullis.sock`.
 * @throws InvalidArgumentError if it is empty or another URL
 */
export function socketPath(socket: string): string {
  const path = socket.replace(/^unix:(\/\/)?/, '');
  if (path !== '' && !/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) return path;
  throw new InvalidArgumentError('It must be the path of a unix socket.');
}

/** Runs `body` with a client of the daemon behind `socket`, a path with or without `unix://`. */
export async function withClient<T>(socket: string, body: (client: CriClient) => Promise<T>): Promise<T> {
  // gRPC takes 30 ms to load. A command that does not call the daemon, or fails before, does not need it.
  const { createCriClient } = await import('../../runtime/client.ts');
  const client = createCriClient(resolve(socketPath(socket)));
  try {
    return await body(client);
  } finally {
    client.close();
  }
}
