import { parseJson } from '../base/json/index.ts';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { PortcullisError } from '../base/errors/index.ts';
import { askNetwork, defaultCniSocket } from '../cni-plugins/index.ts';
import type { AskedConnection, DenialExplanation, DenialQuestion } from '../cni-plugins/index.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';
import { shortId, table } from './table.ts';

type Peer = Omit<AskedConnection, 'direction'>;

interface Flags {
  readonly to?: Peer;
  readonly from?: Peer;
  readonly log?: LoggedDenial;
  readonly cniSocket: string;
  readonly output: OutputFormat;
}

/** What the daemon's log says of a denial, as far as it says whose. */
interface LoggedDenial {
  readonly sandbox: string;
  readonly direction: 'egress' | 'ingress';
  readonly rule: string;
}

/** As it comes over the socket: counts are texts. */
type Explained = Omit<DenialExplanation, 'denied'> & {
  readonly denied: readonly { readonly direction: 'egress' | 'ingress'; readonly rule: string; readonly packets: string }[];
};

/** `portcullis explain-denial`: what lets or denies a pod's connection, by the running daemon. */
export function register(program: Command): void {
  withOutput(program.command('explain-denial'))
    .description('say what lets or denies a pod’s connection, and what to write to allow it')
    .argument('[pod]', "NAMESPACE/NAME, NAME, or the beginning of the sandbox's id")
    .option('--to <PEER[:PORT[/PROTOCOL]]>', 'a connection that the pod begins; the peer is an address or a pod', peer)
    .option('--from <PEER[:PORT[/PROTOCOL]]>', "one that the peer begins; the port is the pod's own", peer)
    .option('--log <LINE>', "a line of the daemon's log about a denial: whose it was and by which rule", logged)
    .option('--cni-socket <path>', 'where the daemon answers (its setting cni.socket)', defaultCniSocket)
    .addHelpText(
      'after',
      `
Without a connection it says what was denied of the pod. A protocol is tcp (when none is said), udp or sctp; without a port the
question is about ping. It is answered from the records and the kernel's own tables; nothing is sent and nothing is changed.
Exits with 0 when the connection is let through, or nothing was denied; 1 when not; 3 when the tables are not as they were made.

Examples:
  portcullis explain-denial shop/web --to 10.0.0.5:5432/tcp
  portcullis explain-denial web --to '[fd00::53]:53/udp'
  portcullis explain-denial web --from default/client:80
  portcullis explain-denial shop/web
  portcullis explain-denial --log '{"sandbox":"4f2c","direction":"egress","rule":"network.egress"}'
`,
    )
    .action((pod: string | undefined, flags: Flags, command: Command) => {
      if ((pod === undefined) === (flags.log === undefined)) command.error('error: give a pod, or --log', { exitCode: exitCodes.usage });
      if ([flags.to, flags.from, flags.log].filter((each) => each !== undefined).length > 1)
        command.error('error: give one of --to, --from and --log', { exitCode: exitCodes.usage });
      return run(flags.output, () => explain(pod ?? flags.log?.sandbox ?? '', flags));
    });
}

const protocols = ['tcp', 'udp', 'sctp'] as const;
const form =
  /^(?:\[(?<bracketed>[^\]]+)\]|(?<plain>[^:[\]]+|[0-9a-fA-F]*:[0-9a-fA-F:.]+))(?::(?<port>\d{1,5})(?:\/(?<protocol>[a-z]+))?)?$/u;

/** An IPv6 address with a port stands in brackets. */
function peer(text: string): Peer {
  // An address of colons alone has no port.
  const bare = /^[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*$/u.test(text);
  const { bracketed, plain, port, protocol = 'tcp' } = bare ? { plain: text } : (form.exec(text)?.groups ?? {});
  const name = bracketed ?? plain;
  if (name === undefined)
    throw new InvalidArgumentError('It must be a peer, and a port behind a colon: 10.0.0.5:5432/tcp, [fd00::5]:53/udp, shop/web:80.');
  if (port === undefined) return { peer: name, protocol: 'icmp' };
  const known = protocols.find((each) => each === protocol);
  if (known === undefined) throw new InvalidArgumentError(`A protocol is one of ${protocols.join(', ')}.`);
  if (Number(port) > 65_535 || Number(port) === 0) throw new InvalidArgumentError('A port is a number from 1 to 65535.');
  return { peer: name, protocol: known, port: Number(port) };
}

function logged(line: string): LoggedDenial {
  const read = parsed(line.slice(Math.max(0, line.indexOf('{'))));
  const { sandbox, direction, rule } = read;
  if (typeof sandbox !== 'string' || sandbox === '' || typeof rule !== 'string' || (direction !== 'egress' && direction !== 'ingress'))
    throw new InvalidArgumentError('It must be a line of the log about a denial: JSON with sandbox, direction and rule.');
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

async function explain(pod: string, { to, from, log, cniSocket, output }: Flags): Promise<number> {
  const connection: AskedConnection | undefined =
    to !== undefined ? { direction: 'egress', ...to } : from !== undefined ? { direction: 'ingress', ...from } : undefined;
  const question: DenialQuestion = { pod, ...(connection !== undefined && { connection }) };
  const answer = await askNetwork<Explained>(cniSocket, 'explain', JSON.stringify(question));
  if ('why' in answer) throw answer.failure ?? noAnswer(cniSocket, answer.why);
  const found: Explained =
    log === undefined
      ? answer.value
      : { ...answer.value, denied: answer.value.denied.filter(({ direction, rule }) => direction === log.direction && rule === log.rule) };
  print(output, found, found.outcome === undefined ? deniedText(found, log) : connectionText(found));
  if (found.outcome === undefined) return found.denied.length === 0 && log === undefined ? exitCodes.yes : exitCodes.no;
  return { allowed: exitCodes.yes, denied: exitCodes.no, unknown: exitCodes.undecided }[found.outcome];
}

const headOf = ({ id, pod, network, addresses, class: linkClass }: Explained): string =>
  `${pod.namespace}/${pod.name} (${shortId(id)}) on ${network}: ${addresses.join(', ')}, class ${linkClass === 'deny' ? 'none, no container was started' : linkClass}\n`;

const problemsOf = ({ problems }: Explained): string => problems.map((problem) => `not as it was made: ${problem}\n`).join('');

const verdicts = { allowed: 'let through', denied: 'denied', unknown: 'not known' } as const;

function connectionText(found: Explained): string {
  const { connection, outcome = 'unknown', steps } = found;
  const spoken = connection === undefined ? '' : connection.protocol === 'icmp' ? 'ping' : `${connection.port}/${connection.protocol}`;
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
  return `${headOf(found)}${connection?.from ?? ''} to ${connection?.to ?? ''}, ${spoken}: ${verdicts[outcome]}\n\n${table(
    ['POD', 'DIRECTION', 'RULE', 'SAYS', 'WHY'],
    rows,
  )}${allowances.join('')}${problemsOf(found)}`;
}

const indented = (text: string): string => `${text.replaceAll(/^/gmu, '  ')}\n`;

/** docs/networking.md, Denied traffic */
const meanings: Readonly<Record<string, string>> = {
  'network.none': 'the class of the link: its containers’ profiles have no network, or none was started',
  'network.address': 'sent with a MAC or IP address that is not the pod’s, or no IP: no rule allows that',
  'network.egress': 'no rule of peers of its profiles grants what it began',
  'network.ingress': 'no rule of peers of its profiles grants what others began',
};

function deniedText(found: Explained, log: LoggedDenial | undefined): string {
  const nothing =
    log === undefined
      ? 'nothing was denied since its rules were made\n'
      : 'nothing was denied by that rule since it was made: it was changed\n';
  const rows = found.denied.map(({ direction, rule, packets }) => [
    direction,
    rule,
    packets,
    meanings[rule] ?? 'what none of these policies grants',
  ]);
  const more = '\nWhich peer a packet was of is not recorded: ask with --to or --from for one, and for what to write.\n';
  const counted = rows.length === 0 ? nothing : `${table(['DIRECTION', 'RULE', 'PACKETS', 'MEANS'], rows)}${more}`;
  return `${headOf(found)}${counted}${problemsOf(found)}`;
}

function noAnswer(socket: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_DAEMON_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'ask the daemon at',
    on: socket,
    why,
    fix: 'start portcullisd, or name its socket with --cni-socket',
  });
}
