import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { findContainer, runStreamedCommand } from '../runtime/index.ts';
import type { CriClient } from '../runtime/index.ts';
import { withClient, withSocket } from './options/endpoint.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly timeout: number;
  readonly interactive: boolean;
  readonly tty: boolean;
  readonly socket: string;
  readonly output: OutputFormat;
}

/** `portcullis exec`: runs a command in a container and exits with its exit code. */
export function register(program: Command): void {
  withSocket(withOutput(program.command('exec')))
    .description('run a command in a container; exits with the exit code of the command')
    .argument('<container>', 'its id, the beginning of its id, or its name')
    .argument('<command...>', 'the program and its arguments')
    .option('-i, --interactive', 'pass standard input to the command', false)
    .option('-t, --tty', 'give the command a terminal', false)
    .option('--timeout <seconds>', 'time limit; 0: none', seconds, 0)
    // Everything after the container, flags included, belongs to the command.
    .passThroughOptions()
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis exec web cat /etc/hosts\n  $ portcullis exec -it web sh\n  $ portcullis exec -i web tar -x -C /srv < files.tar\n  $ portcullis exec --timeout 5 web sh -c "ls -l /"\n\nThe output is printed as it arrives. It is printed at the end, and has at most 16 MiB, with\n--timeout, with --output json or yaml, and if the streaming server of the daemon cannot be reached from here.\n',
    )
    .action((container: string, given: string[], flags: Flags, command: Command) => {
      // kubectl separates the command by "--", which is never a program.
      const words = given[0] === '--' && given.length > 1 ? given.slice(1) : given;
      // Only a whole answer can be JSON or YAML, and only ExecSync has a time limit. Its output is limited.
      const streamed = flags.output === 'text' && flags.timeout === 0;
      const wrong = wrongUse(flags);
      if (wrong !== undefined) command.error(`error: ${wrong}`, { exitCode: exitCodes.usage });
      return run(flags.output, () =>
        withClient(flags.socket, async (client) => {
          const { id } = await findContainer(client, container);
          return streamed ? executeStreamed(client, id, words, flags) : execute(client, id, words, flags);
        }),
      );
    });
}

function wrongUse({ interactive, tty, timeout, output }: Flags): string | undefined {
  if (!interactive && !tty) return undefined;
  if (output !== 'text') return `--output ${output} cannot be combined with --interactive or --tty`;
  if (timeout > 0) return '--timeout cannot be combined with --interactive or --tty';
  // Without a terminal here, the command would wait for keys that nobody can press.
  return interactive && tty && !process.stdin.isTTY
    ? '--tty: standard input is not a terminal; leave out -t'
    : undefined;
}

async function execute(
  client: CriClient,
  containerId: string,
  cmd: string[],
  { timeout, output }: Flags,
): Promise<number> {
  const result = await client.runtime.execSync({ containerId, cmd, timeout });
  const stdout = Buffer.from(result.stdout);
  const stderr = Buffer.from(result.stderr);
  if (output !== 'text')
    print(output, { exitCode: result.exitCode, stdout: stdout.toString(), stderr: stderr.toString() }, '');
  else {
    process.stdout.write(stdout);
    process.stderr.write(stderr);
  }
  return result.exitCode;
}

async function executeStreamed(
  client: CriClient,
  containerId: string,
  cmd: string[],
  flags: Flags,
): Promise<number> {
  const { interactive, tty } = flags;
  const { stdin, stdout, stderr } = process;
  // A terminal has one output.
  const { url } = await client.runtime.exec({
    containerId,
    cmd,
    tty,
    stdin: interactive,
    stdout: true,
    stderr: !tty,
  });
  const raw = tty && interactive && stdin.isTTY;
  const size = {
    now: () => ({ columns: stdout.columns, rows: stdout.rows }),
    onChange: (listener: () => void) => stdout.on('resize', listener),
  };
  try {
    return await runStreamedCommand(url, {
      ...(interactive && { stdin }),
      stdout,
      stderr,
      ...(tty && stdout.isTTY && { size }),
      // The server of streams listens at an address of the daemon's network, which may be another one.
      ...(!interactive && !tty && { orElse: () => execute(client, containerId, cmd, flags) }),
      // From now on, keys such as Ctrl-C belong to the command.
      ...(raw && { onStart: () => void stdin.setRawMode(true) }),
    });
  } finally {
    if (raw) stdin.setRawMode(false);
    // An input that nobody reads any longer must not keep the process alive.
    if (interactive) stdin.destroy();
  }
}

function seconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of seconds.');
  return Number(text);
}
