import { parseJson } from '../base/json/index.ts';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { AdminResponse, AskedConnection, DenialQuestion } from '../cni-plugins/index.ts';
import { askAdmin, withAdminSocket } from './options/admin-socket.ts';
import type { AdminFlags } from './options/admin-socket.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { shortId, table } from './output/table.ts';
import { withWide } from './output/terminal.ts';

type Peer = Omit<AskedConnection, 'direction'>;

interface Flags extends AdminFlags {
  readonly to?: Peer;
  readonly from?: Peer;
  readonly log?: LoggedDenial;
  readonly output: OutputFormat;
}

/** The fields of a denial in the daemon's log. */
interface LoggedDenial {
  readonly sandbox: string;
  readonly direction: 'egress' | 'ingress';
  readonly rule: string;
}

type Explained = AdminResponse<'links/explain'>;

/** `portcullis explain-denial`: asks the running daemon what allows or denies a pod's connection. */
export function register(program: Command): void {
  withAdminSocket(withOutput(withWide(program.command('explain-denial'))))
    .description('explain what allows or denies a connection of a pod, and how to allow it')
    .argument('[pod]', "NAMESPACE/NAME, NAME, or the beginning of the sandbox's id")
    .option(
      '--to <PEER[:PORT[/PROTOCOL]]>',
      'a connection that the pod opens; the peer is an address or a pod',
      peer,
    )
    .option(
      '--from <PEER[:PORT[/PROTOCOL]]>',
      "a connection that the peer opens; the port is the pod's own",
      peer,
    )
    .option('--log <LINE>', "a line of the daemon's log about a denial: names the pod and the rule", logged)
    .addHelpText(
      'after',
      `
Without a connection, the command lists what was denied for the pod. The protocol is tcp (the default), udp or
sctp; without a port the question is about ping. The answer comes from the daemon's records and the kernel's
tables; nothing is sent or changed. Exits with 0 if the connection is allowed, or nothing was denied; 1 if
not; 3 if the table of the network class in the kernel differs from the records.

Examples:
  $ portcullis explain-denial shop/web --to 10.0.0.5:5432/tcp
  $ portcullis explain-denial web --to '[fd00::53]:53/udp'
  $ portcullis explain-denial web --from default/client:80
  $ portcullis explain-denial shop/web
  $ portcullis explain-denial --log '{"sandbox":"4f2c","direction":"egress","rule":"network.egress"}'
`,
    )
    .action((pod: string | undefined, flags: Flags, command: Command) => {
      if ((pod === undefined) === (flags.log === undefined))
        command.error('error: give a pod, or --log', { exitCode: exitCodes.usage });
      if ([flags.to, flags.from, flags.log].filter((each) => each !== undefined).length > 1)
        command.error('error: give one of --to, --from and --log', { exitCode: exitCodes.usage });
      return run(flags.output, () => explain(pod ?? flags.log?.sandbox ?? '', flags));
    });
}

const protocols = ['tcp', 'udp', 'sctp'] as const;
const form =
  /^(?:\[(?<bracketed>[^\]]+)\]|(?<plain>[^:[\]]+|[0-9a-fA-F]*:[0-9a-fA-F:.]+))(?::(?<port>\d{1,5})(?:\/(?<protocol>[a-z]+))?)?$/u;

/** Parses a peer. An IPv6 address with a port is written in brackets. */
function peer(text: string): Peer {
  // An IPv6 address without brackets has no port.
  const bare = /^[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*$/u.test(text);
  const {
    bracketed,
    plain,
    port,
    protocol = 'tcp',
  } = bare ? { plain: text } : (form.exec(text)?.groups ?? {});
  const name = bracketed ?? plain;
  if (name === undefined)
    throw new InvalidArgumentError(
      'It must be a peer, and a port behind a colon: 10.0.0.5:5432/tcp, [fd00::5]:53/udp, shop/web:80.',
    );
  if (port === undefined) return { peer: name, protocol: 'icmp' };
  const known = protocols.find((each) => each === protocol);
  if (known === undefined) throw new InvalidArgumentError(`A protocol is one of ${protocols.join(', ')}.`);
  if (Number(port) > 65_535 || Number(port) === 0)
    throw new InvalidArgumentError('A port is a number from 1 to 65535.');
  return { peer: name, protocol: known, port: Number(port) };
}

function logged(line: string): LoggedDenial {
  const read = parsed(line.slice(Math.max(0, line.indexOf('{'))));
  const { sandbox, direction, rule } = read;
  if (
    typeof sandbox !== 'string' ||
    sandbox === '' ||
    typeof rule !== 'string' ||
    (direction !== 'egress' && direction !== 'ingress')
  )
    throw new InvalidArgumentError(
      'It must be a line of the log about a denial: JSON with sandbox, direction and rule.',
    );
  return { sandbox, direction, rule };
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = parseJson(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

async function explain(pod: string, { to, from, log, adminSocket, output }: Flags): Promise<number> {
  const connection: AskedConnection | undefined =
    to !== undefined
      ? { direction: 'egress', ...to }
      : from !== undefined
        ? { direction: 'ingress', ...from }
        : undefined;
  const question: DenialQuestion = { pod, ...(connection !== undefined && { connection }) };
  const answer = await askAdmin({ adminSocket }, 'links/explain', question);
  const found: Explained =
    log === undefined
      ? answer
      : {
          ...answer,
          denied: answer.denied.filter(
            ({ direction, rule }) => direction === log.direction && rule === log.rule,
          ),
        };
  print(output, found, found.outcome === undefined ? deniedText(found, log) : connectionText(found));
  if (found.outcome === undefined)
    return found.denied.length === 0 && log === undefined ? exitCodes.yes : exitCodes.no;
  return { allowed: exitCodes.yes, denied: exitCodes.no, unknown: exitCodes.undecided }[found.outcome];
}

const headOf = ({ id, pod, network, addresses, class: linkClass }: Explained): string =>
  `${pod.namespace}/${pod.name} (${shortId(id)}) on ${network}: ${addresses.join(', ')}, class ${linkClass === 'deny' ? 'none, no container was started' : linkClass}\n`;

const problemsOf = ({ problems }: Explained): string =>
  problems.map((problem) => `problem: ${problem}\n`).join('');

function connectionText(found: Explained): string {
  const { connection, outcome = 'unknown', steps } = found;
  const spoken =
    connection === undefined
      ? ''
      : connection.protocol === 'icmp'
        ? 'ping'
        : `${connection.port}/${connection.protocol}`;
  const rows = steps.map(({ pod, direction, rule, says, by, why }) => [
    pod,
    direction,
    rule,
    says === 'nothing' ? '-' : says,
    by === undefined ? why : `${why}: ${by}`,
  ]);
  const allowances = steps.flatMap(({ pod, rule, allow }) =>
    allow === undefined ? [] : [`\nTo allow it at ${pod} (${rule}):\n${indented(allow)}`],
  );
  return `${headOf(found)}${connection?.from ?? ''} to ${connection?.to ?? ''}, ${spoken}: ${outcome === 'unknown' ? 'not known' : outcome}\n\n${table(
    ['POD', 'DIRECTION', 'RULE', 'EFFECT', 'WHY'],
    rows,
  )}${allowances.join('')}${problemsOf(found)}`;
}

const indented = (text: string): string => `${text.replaceAll(/^/gmu, '  ')}\n`;

/** The meaning of each rule (docs/networking.md, "Denied traffic"). */
const meanings: Readonly<Record<string, string>> = {
  'network.none':
    'the class of the link: the profiles of its containers have no network, or no container was started',
  'network.address': 'sent with a MAC or IP address that is not the pod’s, or not IP: no rule can allow that',
  'network.egress': 'no peer rule of its profiles allows the connections that it opened',
  'network.ingress': 'no peer rule of its profiles allows the connections that others opened to it',
};

function deniedText(found: Explained, log: LoggedDenial | undefined): string {
  const nothing =
    log === undefined
      ? 'nothing was denied since its rules were created\n'
      : 'the rule was replaced after the logged denial, and has denied nothing since then\n';
  const rows = found.denied.map(({ direction, rule, packets }) => [
    direction,
    rule,
    packets,
    meanings[rule] ?? 'none of these policies allows it',
  ]);
  const more =
    '\nThe peer of a packet is not recorded. Ask about one connection with --to or --from, which also says what to write.\n';
  const counted =
    rows.length === 0 ? nothing : `${table(['DIRECTION', 'RULE', 'PACKETS', 'MEANS'], rows)}${more}`;
  return `${headOf(found)}${counted}${problemsOf(found)}`;
}
