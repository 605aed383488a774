import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { findContainer } from '../runtime/index.ts';
import { withClient, withSocket } from './endpoint.ts';
import { print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';

/** `portcullis exec`: runs a command in a container and exits with its exit code. */
export function register(program: Command): void {
  withSocket(withOutput(program.command('exec')))
    .description('run a command in a container; exits with the exit code of the command')
    .argument('<container>', 'its id, the beginning of its id, or its name')
    .argument('<command...>', 'the program and its arguments')
    .option('--timeout <seconds>', 'time limit; 0: none', seconds, 0)
    // Everything after the container, flags included, belongs to the command.
    .passThroughOptions()
    .addHelpText('after', '\nExamples:\n  portcullis exec web cat /etc/hosts\n  portcullis exec --timeout 5 web sh -c "ls -l /"\n')
    .action((container: string, command: string[], options: { timeout: number; socket: string; output: OutputFormat }) =>
      run(options.output, () =>
        withClient(options.socket, async (client) => {
          const { id } = await findContainer(client, container);
          const result = await client.runtime.execSync({ containerId: id, cmd: command, timeout: options.timeout });
          const stdout = Buffer.from(result.stdout);
          const stderr = Buffer.from(result.stderr);
          if (options.output === 'json')
            print('json', { exitCode: result.exitCode, stdout: stdout.toString(), stderr: stderr.toString() }, '');
          else {
            process.stdout.write(stdout);
            process.stderr.write(stderr);
          }
          return result.exitCode;
        }),
      ),
    );
}

function seconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of seconds.');
  return Number(text);
}
