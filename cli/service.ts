import { Option } from 'commander';
import type { Command } from 'commander';
import { append } from '../base/lists/index.ts';
import { formatProblems, listProblems } from '../base/schema/index.ts';
import { fieldText, linesOf, positionIn, readServices } from '../cni-plugins/index.ts';
import type { RefusedService, Service, ServiceList } from '../cni-plugins/index.ts';
import { askAdmin, withAdminSocket } from './options/admin-socket.ts';
import type { AdminFlags } from './options/admin-socket.ts';
import { exitCodes, print, printNote, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { collect } from './options/registry-options.ts';
import { sourcesOf } from './service/sources.ts';
import { serviceTable } from './service/table.ts';
import { withWide } from './output/terminal.ts';

interface Flags extends AdminFlags {
  readonly output: OutputFormat;
}

interface ApplyFlags extends Flags {
  readonly file?: readonly string[];
  readonly backend?: 'auto' | 'ipvs' | 'nftables';
  readonly check: boolean;
}

interface DrainFlags extends Flags {
  readonly undo: boolean;
}

/** `portcullis service`: virtual addresses that the daemon load balances over backends. */
export function register(program: Command): void {
  const service = program
    .command('service')
    .description('load-balanced virtual addresses: apply, list, drain, remove');
  withDaemon(
    service
      .command('apply')
      .description('apply the services of files to the kernel; other services stay as they are'),
  )
    .option(
      '-f, --file <file>',
      'a file, a folder of files, or - for standard input; may be repeated',
      collect,
    )
    .addOption(
      new Option('--backend <name>', 'load balancer to use until the next start of the daemon').choices([
        'auto',
        'ipvs',
        'nftables',
      ]),
    )
    .option('--check', 'only report what is wrong with the files', false)
    .addHelpText(
      'after',
      '\nA service with a problem is refused, with its place in the file; the others are applied. Exits with 1 when one was refused.\n\nExamples:\n  $ portcullis service apply -f web.yaml\n  $ portcullis service apply --backend ipvs',
    )
    .action((flags: ApplyFlags, command: Command) => {
      if (flags.file === undefined && flags.backend === undefined)
        command.error('error: give --file or --backend', { exitCode: exitCodes.usage });
      return run(flags.output, () => apply(flags));
    });
  withDaemon(
    withWide(service.command('ls'))
      .description('list services, their load balancer and the state of each backend')
      .argument('[name...]'),
  )
    .addHelpText(
      'after',
      '\nExits with 1 when a named service does not exist.\n\nExamples:\n  $ portcullis service ls\n  $ portcullis service ls shop/web -o yaml',
    )
    .action((names: string[], flags: Flags) => run(flags.output, () => list(names, flags)));
  withDaemon(
    service
      .command('drain')
      .description(
        'stop new connections to backends; existing ones end within the grace period of the service',
      )
      .argument('<service>', 'name of the service, such as shop/web')
      .argument('[address...]', 'addresses of backends; default: all of them'),
  )
    .option('--undo', 'undo an earlier drain', false)
    .addHelpText(
      'after',
      '\nA drain persists over restarts, and when the service is applied again, until --undo.\n\nExamples:\n  $ portcullis service drain shop/web 10.0.0.2\n  $ portcullis service drain shop/web 10.0.0.2 --undo',
    )
    .action((name: string, addresses: string[], flags: DrainFlags) =>
      run(flags.output, () => drain(name, addresses, flags)),
    );
  withDaemon(
    service
      .command('rm')
      .description(
        'remove services that were applied by command; their connections end within the grace period',
      )
      .argument('<service...>', 'names of services, such as shop/web'),
  )
    .addHelpText('after', '\nExamples:\n  $ portcullis service rm shop/web')
    .action((names: string[], flags: Flags) => run(flags.output, () => remove(names, flags)));
}

const withDaemon = (command: Command): Command => withOutput(withAdminSocket(command));

/** A request is split well below the limit of the admin API. */
const mostAsked = 1024 * 1024;

async function apply(flags: ApplyFlags): Promise<number> {
  const { file = [], backend, check } = flags;
  const { sources, unread } = await sourcesOf(file);
  const { described, problems } = readServices(sources);
  const wrong = [...unread, ...problems];
  const lines: string[] = [];
  if (file.length > 0 && described.length + wrong.length === 0)
    lines.push(`${file.join(', ')}: no service is described here`);
  const switched =
    backend === undefined || check
      ? undefined
      : await askAdmin(flags, 'services/switch', { balancer: backend });
  for (const refused of switched?.refused ?? [])
    lines.push(`${refused}: ${switched?.balancer ?? ''} cannot balance it`);
  const all = described.map(({ service }) => service);
  const { refused, applied, failure } = check
    ? { refused: [], applied: all.map(({ name }) => name) }
    : await applyInParts(all, flags);
  for (const one of refused)
    lines.push(
      lineOf(
        one,
        described.find(({ service }) => service.name === one.name),
      ),
    );
  printNote(`${listProblems(wrong)}${lines.map((line) => `${line}\n`).join('')}`);
  const verb = check ? 'valid' : 'applied';
  const balanced = switched === undefined ? '' : `balanced by ${switched.balancer}\n`;
  const value = {
    ...(switched !== undefined && { balancer: switched.balancer }),
    [verb]: applied,
    problems: [...linesOf(wrong), ...lines],
  };
  print(flags.output, value, `${balanced}${applied.map((name) => `${name} ${verb}\n`).join('')}`);
  if (failure !== undefined) throw failure;
  return wrong.length + lines.length === 0 ? exitCodes.yes : exitCodes.no;
}

interface Applied {
  readonly refused: readonly RefusedService[];
  readonly applied: readonly string[];
  /** Why the daemon was not asked for the rest. Services of the last request may be in force. */
  readonly failure?: Error;
}

/** @throws if the first request fails: nothing is known to be applied */
async function applyInParts(all: readonly Service[], flags: Flags): Promise<Applied> {
  const refused: RefusedService[] = [];
  const applied: string[] = [];
  for (const services of inParts(all))
    try {
      const answer = await askAdmin(flags, 'services/apply', { services });
      const not = new Set(answer.refused.map(({ name }) => name));
      append(refused, answer.refused);
      append(
        applied,
        services.flatMap(({ name }) => (not.has(name) ? [] : [name])),
      );
    } catch (thrown) {
      if (applied.length + refused.length === 0) throw thrown;
      return { refused, applied, failure: thrown as Error };
    }
  return { refused, applied };
}

type Described = ReturnType<typeof readServices>['described'][number];

function lineOf({ name, code, field, why }: RefusedService, described: Described | undefined): string {
  if (described === undefined) return `${name}: ${fieldText(field)}: ${why} [${code}]`;
  return formatProblems([
    {
      position: positionIn(described.written, field),
      path: `${name}: ${fieldText(field)}`,
      message: `${why} [${code}]`,
    },
  ]);
}

function inParts(services: readonly Service[]): Service[][] {
  const parts: Service[][] = [];
  let size = mostAsked;
  for (const service of services) {
    const length = JSON.stringify(service).length;
    if (size + length > mostAsked) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1)?.push(service);
    size += length;
  }
  return parts;
}

/** Number of services that the daemon returns per request. */
const page = 500;

async function listAll(names: readonly string[], flags: Flags): Promise<Omit<ServiceList, 'next'>> {
  const asked = { most: page, ...(names.length > 0 && { names }) };
  const { next: more, ...first } = await askAdmin(flags, 'services/list', asked);
  const services = [...first.services];
  for (let after = more; after !== undefined;) {
    const { next, services: some } = await askAdmin(flags, 'services/list', { ...asked, after });
    append(services, some);
    after = next;
  }
  return { ...first, services };
}

async function list(names: readonly string[], flags: Flags): Promise<number> {
  const all = await listAll(names, flags);
  const services =
    names.length === 0 ? all.services : all.services.filter(({ name }) => names.includes(name));
  const problems = all.problems.map((problem) => `refused: ${problem}\n`).join('');
  const former =
    all.retiring === undefined
      ? ''
      : `${all.retiring.kind} still has ${all.retiring.connections} connections from before\n`;
  print(flags.output, { ...all, services }, `${serviceTable(services)}${former}${problems}`);
  const missing = names.filter((name) => !services.some((one) => one.name === name));
  for (const name of missing) printNote(`${name}: there is no service of that name\n`);
  return missing.length === 0 ? exitCodes.yes : exitCodes.no;
}

async function drain(name: string, addresses: readonly string[], flags: DrainFlags): Promise<number> {
  const answer = await askAdmin(flags, 'services/drain', { name, addresses, is: !flags.undo });
  const words = flags.undo
    ? 'takes connections again'
    : `is draining; existing connections end within ${answer.graceSeconds} s`;
  const none = flags.undo ? `no backend of ${name} is drained\n` : `${name} has no backend\n`;
  print(
    flags.output,
    answer,
    answer.backends.length === 0 ? none : answer.backends.map((address) => `${address} ${words}\n`).join(''),
  );
  return exitCodes.yes;
}

async function remove(names: readonly string[], flags: Flags): Promise<number> {
  await askAdmin(flags, 'services/remove', { names });
  print(flags.output, { removed: names }, names.map((name) => `${name} removed\n`).join(''));
  return exitCodes.yes;
}
