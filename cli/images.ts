import { text as readAll } from 'node:stream/consumers';
import { parseJson } from '../base/json/index.ts';
import { Option } from 'commander';
import type { Command } from 'commander';
import { PortcullisError } from '../base/errors/index.ts';
import type { CriClient } from '../runtime/client.ts';
import { besideSocket } from './options/admin-socket.ts';
import { fromVariable, withClient, withSocket } from './options/endpoint.ts';
import { registerCarry } from './images/carry.ts';
import { registerCopy } from './images/copy.ts';
import { registerEvidence } from './images/evidence.ts';
import { followPull } from './images/follow-pull.ts';
import { registerImport } from './images/import.ts';
import { registerUpkeep } from './images/upkeep.ts';
import { print, printIds, printNote, run, withOutput, withQuiet } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { withProgress } from './output/progress.ts';
import { size } from './output/size.ts';
import { shortId, table } from './output/table.ts';
import { withWide } from './output/terminal.ts';

type Image = Awaited<ReturnType<CriClient['image']['listImages']>>['images'][number];

interface Options {
  readonly socket: string;
  readonly output: OutputFormat;
}
interface ListOptions extends Options {
  readonly quiet?: boolean;
}
interface PullOptions extends Options {
  readonly namespace: string;
  readonly username?: string;
  readonly adminSocket?: string;
}

/** `portcullis images`: the images of the running daemon. */
export function register(program: Command): void {
  const images = program
    .command('images')
    .description(
      'list, pull, inspect, copy, compare, push, export, import, check, repair, prune and remove images',
    );
  registerCopy(images);
  registerEvidence(images);
  registerCarry(images);
  registerImport(images);
  registerUpkeep(images);
  images.addHelpText(
    'after',
    '\nExamples:\n  $ portcullis images ls\n  $ portcullis images pull registry.example.com/app:1 --namespace pay\n',
  );

  withQuiet(withSocket(withOutput(withWide(images.command('ls')))))
    .description('list images')
    .addHelpText('after', '\nExamples:\n  $ portcullis images ls\n  $ portcullis images ls --output json\n')
    .action((options: ListOptions) => perform(options, (client) => list(client, options)));

  withSocket(withOutput(images.command('pull')))
    .description(
      'verify an image and pull it; exits 1 when the policy refuses it, 3 when it could not be decided',
    )
    .argument('<image>', 'name, with a tag or a digest')
    .option('-n, --namespace <name>', 'namespace to decide for', 'default')
    .addOption(
      fromVariable(
        new Option(
          '--admin-socket <path>',
          'where the daemon reports progress; default: admin.sock in the folder of --socket',
        ),
        'PORTCULLIS_ADMIN_SOCKET',
      ),
    )
    .option('-u, --username <name>', 'user at the registry; the password is read from standard input')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis images pull registry.example.com/app:1\n  $ portcullis images pull -u robot registry.example.com/app:1 < password\n\nCredentials: --username, with the password on standard input; for a mirror, its authFile in the configuration of the daemon.\nWithout them the daemon pulls anonymously: it reads no credential files of users.\n',
    )
    .action((image: string, options: PullOptions) =>
      perform(options, (client) => pull(client, image, options)),
    );

  withSocket(withOutput(images.command('rm')))
    .description('remove images, each with all its names; a name that is unknown removes nothing')
    .argument('<image...>', 'name, digest, id or the beginning of one')
    .addHelpText('after', '\nExamples:\n  $ portcullis images rm registry.example.com/app:1\n')
    .action((names: string[], options: Options) =>
      perform(options, (client) => remove(client, names, options.output)),
    );

  withSocket(withOutput(images.command('inspect')))
    .description('show what is recorded about an image: configuration, digests, verdict, evidence')
    .argument('<image>', 'name, digest, id or the beginning of one')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis images inspect registry.example.com/app:1 --output json\n',
    )
    .action((image: string, options: Options) =>
      perform(options, (client) => inspect(client, image, options.output)),
    );
}

function perform(options: Options, body: (client: CriClient) => Promise<number>): Promise<void> {
  return run(options.output, () => withClient(options.socket, body));
}

async function list(client: CriClient, { output, quiet = false }: ListOptions): Promise<number> {
  const { images } = await client.image.listImages({});
  if (quiet) {
    printIds(images);
    return 0;
  }
  const decides = await decidesAboutImages(client);
  const listed = images.map((image) => ({ image, verified: decides ? isVerified(image) : null }));
  print(output, listed.map(asJson), asTable(listed));
  return 0;
}

/** A proxy lists the images of its backend, also those that the backend pulled without a verdict. */
async function decidesAboutImages(client: CriClient): Promise<boolean> {
  try {
    return (await client.runtime.version({})).runtimeName === 'portcullis';
  } catch {
    return false;
  }
}

async function pull(
  client: CriClient,
  image: string,
  { namespace, username, output, socket, adminSocket = besideSocket(socket) }: PullOptions,
): Promise<number> {
  const auth =
    username === undefined
      ? {}
      : { auth: { username, password: (await readAll(process.stdin)).replace(/\r?\n$/, '') } };
  const request = { image: { image }, sandboxConfig: { metadata: { namespace } }, ...auth };
  const { imageRef } = await withProgress(output, 'pulled', (report) =>
    followPull({ adminSocket }, image, report, client.image.pullImage(request)),
  );
  const { info } = await client.image.imageStatus({ image: { image: imageRef }, verbose: true });
  const { verdictId, digest, unverified } = factsOf(info);
  const lines = [`pulled  ${image}`, `id      ${imageRef}`, `digest  ${digest}`, `verdict ${verdictId}`];
  if (unverified) lines.push('UNVERIFIED: a rule allows this image without any proof');
  print(output, { image, id: imageRef, digest, verdictId, unverified }, `${lines.join('\n')}\n`);
  return 0;
}

async function remove(client: CriClient, names: readonly string[], output: OutputFormat): Promise<number> {
  // All names are looked up first: a wrong name removes nothing. Two names may belong to one image.
  const found = new Map<string, Image>();
  for (const name of names) {
    const image = await find(client, name, 'remove image');
    found.set(image.id, image);
  }
  const removed = [...found.keys()];
  for (const id of removed) await client.image.removeImage({ image: { image: id } });
  print(output, removed, removed.map((id) => `${id}\n`).join(''));
  // Other tools remove only the name that is given, if the image has more names.
  const others = [...found.values()].flatMap(({ repoTags }) =>
    repoTags.length > 1 ? repoTags.filter((tag) => !names.includes(tag)) : [],
  );
  if (others.length > 0 && output === 'text')
    printNote(`removed with all its names, also ${others.join(', ')}\n`);
  return 0;
}

async function inspect(client: CriClient, name: string, output: OutputFormat): Promise<number> {
  const { image, info } = await client.image.imageStatus({ image: { image: name }, verbose: true });
  if (image === undefined) throw unknown(name, 'inspect image');
  const details: unknown = parseJson(info['info'] ?? '{}');
  const { verdictId, digest, unverified } = factsOf(info);
  const rows = [
    ['id', image.id],
    ...image.repoTags.map((tag) => ['name', tag]),
    ...image.repoDigests.map((each) => ['digest', each]),
    ['index', digest],
    ['size', size(image.size)],
    ['verdict', verdictId],
    ...(unverified ? [['UNVERIFIED', 'a rule allows this image without any proof']] : []),
  ];
  print(
    output,
    { ...asJson({ image, verified: verdictId === '' ? null : isVerified(image) }), details },
    rows.map(([key = '', value = '']) => `${key.padEnd(10)}  ${value}\n`).join(''),
  );
  return 0;
}

async function find(client: CriClient, name: string, attempted: string): Promise<Image> {
  const { image } = await client.image.imageStatus({ image: { image: name } });
  if (image === undefined) throw unknown(name, attempted);
  return image;
}

function unknown(name: string, attempted: string): PortcullisError {
  return new PortcullisError({
    code: 'CLI_NO_SUCH_IMAGE',
    kind: 'not-found',
    attempted,
    on: name,
    why: 'the daemon has no such image',
    fix: 'list the images of the daemon with portcullis images ls',
  });
}

interface Facts {
  readonly verdictId: string;
  readonly digest: string;
  readonly unverified: boolean;
}

/** Reads the daemon's verbose answer. The texts are empty when another runtime answers. */
function factsOf(info: Readonly<Record<string, string>>): Facts {
  const value: unknown = parseJson(info['info'] ?? '{}');
  const fields = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '');
  return { verdictId: text('verdictId'), digest: text('digest'), unverified: fields['unverified'] === true };
}

interface Listed {
  readonly image: Image;
  /** Null: the runtime at the socket does not decide about images. */
  readonly verified: boolean | null;
}

const isVerified = ({ spec }: Image): boolean => spec?.annotations['portcullis.dev/unverified'] !== 'true';

function asTable(listed: readonly Listed[]): string {
  const rows = listed.flatMap(({ image, verified }) => {
    const names = image.repoTags.length > 0 ? image.repoTags : image.repoDigests;
    const mark = verified === null ? 'not known' : verified ? 'yes' : 'no';
    return names.map((name) => [name, shortId(image.id), size(image.size), mark]);
  });
  return table(['IMAGE', 'ID', 'SIZE', 'VERIFIED'], rows);
}

function asJson({ image: { id, repoTags, repoDigests, size: bytes, pinned }, verified }: Listed): object {
  return { id, repoTags, repoDigests, size: bytes, pinned, verified };
}
