import { createHash } from 'node:crypto';
import { Option } from 'commander';
import type { Command } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { createHttpClient, isLoopback } from '../../base/http/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { readInputFile } from '../files/input-file.ts';
import { mayBeEmpty } from '../options/refuse-empty.ts';
import { countOf } from '../options/server-options.ts';
import { withSince } from '../options/since-option.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { table } from '../output/table.ts';
import { withWide } from '../output/terminal.ts';

interface ListFlags {
  readonly server: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
  readonly node?: string;
  readonly outcome?: string;
  readonly namespace?: string;
  readonly image?: string;
  readonly reason?: string;
  readonly since?: string;
  readonly most: string;
  readonly output: OutputFormat;
}

type Entry = Readonly<Record<string, unknown>>;

const requestMs = 30_000;
const mostBytes = 32 * 1024 * 1024;
/** The aggregator returns at most this many entries. */
const mostListed = 1000;
const help = `
Exit status: 0 listed; 2 wrong use; 3 the aggregator did not answer; 4 failed.`;

/** `portcullis fleet nodes`, `verdicts` and `alerts`: ask an aggregator. */
export function registerList(fleet: Command): void {
  withServer(fleet.command('nodes').description('list nodes, and what is wrong with each')).action(
    (flags: ListFlags) =>
      run(flags.output, () =>
        list(flags, 'nodes', { most: flags.most }, ['NODE', 'SEEN', 'ROWS', 'RUNNING', 'ALERTS'], (one) => [
          ...[one['name'], one['seen'], one['rows'], one['running'] ?? '-'].map(String),
          (one['alerts'] as readonly string[]).join(' '),
        ]),
      ),
  );
  withServer(fleet.command('alerts').description('list what an operator should look at')).action(
    (flags: ListFlags) =>
      run(flags.output, () =>
        list(flags, 'alerts', {}, ['NODE', 'CODE', 'DETAIL'], (one) =>
          [one['node'], one['code'], one['text']].map(String),
        ),
      ),
  );
  withSince(
    withServer(fleet.command('verdicts').description('list verdicts of all nodes, the newest first')),
    'verdicts',
  )
    .option('--node <name>', 'only of this node')
    .addOption(
      new Option('--outcome <outcome>', 'only those with this outcome').choices([
        'admit',
        'deny',
        'undecided',
      ]),
    )
    .addOption(
      mayBeEmpty(new Option('--namespace <name>', "only of this namespace; '' for those without one")),
    )
    .option('--image <text>', 'a part of the reference or of the digest')
    .option('--reason <code>', 'a code of the reasons')
    .action((flags: ListFlags) => {
      const { node, outcome, namespace, image, reason, since, most } = flags;
      return run(flags.output, () =>
        list(
          flags,
          'verdicts',
          { node, outcome, namespace, image, reason, since, most },
          ['TIME', 'NODE', 'OUTCOME', 'NAMESPACE', 'IMAGE', 'VERDICT'],
          (one) => [
            ...[one['time'], one['node'], one['outcome'], one['namespace'], one['reference']].map(String),
            String(one['verdict']).slice(0, 19),
          ],
        ),
      );
    });
}

function withServer(command: Command): Command {
  return withOutput(withWide(command))
    .requiredOption('--server <url>', 'URL of the aggregator')
    .option('--token-file <file>', 'token of a reader')
    .option('--ca-file <file>', 'PEM certificates of authorities for the server, in addition to the system’s')
    .option('--most <count>', `maximum number of entries to list, 1 to ${mostListed}`, '100')
    .addHelpText(
      'after',
      `\nExamples:\n  $ portcullis fleet ${command.name()} --server http://127.0.0.1:4319\n${help}`,
    );
}

async function list(
  flags: ListFlags,
  name: string,
  query: Readonly<Record<string, string | undefined>>,
  header: readonly string[],
  row: (entry: Entry) => readonly string[],
): Promise<number> {
  const most = countOf('ask the aggregator', '--most', flags.most, { most: mostListed, example: 100 });
  const answer = (await ask(flags, name, query)) as Readonly<Record<string, unknown>>;
  const all = (answer[name] ?? []) as readonly Entry[];
  // The aggregator returns all alerts at once.
  const shown = all.slice(0, most);
  print(flags.output, { ...answer, [name]: shown }, table(header, shown.map(row)));
  if (shown.length < all.length || answer['next'] !== undefined)
    process.stderr.write(
      `portcullis: these are the first ${shown.length} entries (--most); there are more\n`,
    );
  return exitCodes.yes;
}

async function ask(
  { server, tokenFile, caFile }: ListFlags,
  name: string,
  query: Readonly<Record<string, string | undefined>>,
): Promise<unknown> {
  const url = URL.parse(`${server.replace(/\/+$/u, '')}/v1/${name}`);
  // `fleet.example.com:4319` is a URL too, with the scheme fleet.example.com.
  if (url === null || !/^https?:$/u.test(url.protocol))
    throw failure(server, 'invalid', 'it is not an http or https URL', 'name --server https://HOST:PORT');
  if (tokenFile !== undefined && url.protocol === 'http:' && !isLoopback(url.hostname))
    throw failure(server, 'invalid', 'a token is not sent over plain HTTP to another machine', 'use https');
  for (const [key, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(key, value);
  const token = tokenFile === undefined ? undefined : await readToken(tokenFile);
  const ca = caFile === undefined ? undefined : (await readInputFile(caFile)).toString('utf8');
  const http = createHttpClient();
  try {
    const answer = await http.send({
      url,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      totalMs: requestMs,
      tls: () =>
        Promise.resolve(
          ca === undefined ? undefined : { id: createHash('sha256').update(ca).digest('base64'), ca: [ca] },
        ),
    });
    const text = (await answer.bytes(mostBytes)).toString('utf8');
    if (answer.status === 200) return parseJson(text);
    const isOurs = answer.status >= 400 && answer.status < 500;
    throw failure(
      server,
      answer.status === 400 ? 'invalid' : isOurs ? 'precondition' : 'unavailable',
      `it answered ${answer.status}: ${text.slice(0, 512)}`,
      isOurs ? 'correct the request or the token' : 'see the output of the aggregator',
    );
  } finally {
    await http.close();
  }
}

/** As many bytes are more than any token has. */
const mostTokenBytes = 64 * 1024;

/** Reads a token for the header of a request, which takes no line ends and no letters outside ASCII. */
async function readToken(file: string): Promise<string> {
  const token = (await readInputFile(file, mostTokenBytes)).toString('utf8').trim();
  if (/^[\x21-\x7e]+$/u.test(token)) return token;
  throw failure(
    file,
    'invalid',
    'it is not a token alone',
    'write only the token into the file, on one line',
  );
}

function failure(on: string, kind: 'invalid' | 'precondition' | 'unavailable', why: string, fix: string) {
  return new PortcullisError({
    code: 'CLI_FLEET_REFUSED',
    kind,
    attempted: 'ask the aggregator',
    on,
    why,
    fix,
  });
}
