import { Command } from 'commander';

interface Entry {
  readonly name: string;
  readonly load: () => Promise<{ register(program: Command, commands: readonly Entry[]): void }>;
}

/** Commands of other tools that have one counterpart here. */
const counterparts = new Map(
  Object.entries({
    version: '--version',
    rmi: 'images rm',
    image: 'images',
    container: 'ps',
    containers: 'ps',
    load: 'images import',
    save: 'images export',
    'generate-key-pair': 'sign --generate-key',
    'verify-attestation': 'verify',
    'sign-blob': 'sigstore-sign-bundle',
    'verify-blob': 'sigstore-verify-bundle',
    initialize: 'sigstore-root update',
    tree: 'images evidence',
    triangulate: 'images evidence',
  }),
);

/** Commands that Portcullis leaves to other programs. */
const otherPrograms = new Map(
  Object.entries({
    ...Object.fromEntries(
      [
        ...['attach', 'checkpoint', 'imagefsinfo', 'info', 'inspecti', 'inspectp', 'port-forward', 'rmp'],
        ...['run', 'runp', 'start', 'stats', 'statsp', 'stop', 'stopp'],
      ].map((verb) => [verb, `crictl ${verb}`]),
    ),
    kill: 'crictl stop --timeout 0',
    top: 'crictl stats',
    login: 'podman login or docker login',
    logout: 'podman logout or docker logout',
  }),
);

/** Names of other tools for commands of groups that have another name here. */
const otherNames = new Map(
  Object.entries({
    list: 'ls',
    remove: 'rm',
    delete: 'rm',
    validate: 'check',
    lint: 'check',
  }),
);

/** The commands that list, in groups without `ls`. */
const listing = ['status', 'nodes'] as const;

/** More names than this do not help. */
const most = 5;

/**
 * Returns what a user probably meant by a first word that is no command: commands of groups with this name,
 * as in `pull` for `images pull`, or a command of another tool.
 * @param entries every command; their modules are loaded
 */
export async function knownElsewhere(word: string, entries: readonly Entry[]): Promise<readonly string[]> {
  const counterpart = counterparts.get(word);
  if (counterpart !== undefined) return [counterpart];
  const found = await Promise.all(
    entries.map(async ({ name, load }) => {
      const program = new Command().enablePositionalOptions();
      (await load()).register(program, entries);
      const inGroup = program.commands.find((one) => one.name() === name)?.commands ?? [];
      const wanted = [word, otherNames.get(word)];
      return inGroup.filter((one) => wanted.includes(one.name())).map((one) => `${name} ${one.name()}`);
    }),
  );
  const names = found.flat();
  return names.length > most ? [] : names;
}

/** Returns the command of a group that has another name in other tools: `rm` for `images delete`. */
export function renamedIn(group: Command | undefined, word: string | undefined): readonly string[] {
  const names = group?.commands.map((one) => one.name()) ?? [];
  if (word === undefined || names.includes(word)) return [];
  const other = otherNames.get(word) ?? word;
  const meant = [other, ...(other === 'ls' ? listing : [])].find((one) => names.includes(one));
  return meant === undefined ? [] : [meant];
}

/** Returns the error about a command that another program has, or undefined. */
export function commandElsewhere(word: string): string | undefined {
  const other = otherPrograms.get(word);
  return other === undefined ? undefined : `error: unknown command '${word}'\n(use ${other})`;
}

/** Returns the error about an unknown command, as commander writes such errors. */
export function unknownCommand(word: string, meant: readonly string[]): string {
  const names = meant.join(', ');
  return `error: unknown command '${word}'\n(Did you mean ${meant.length === 1 ? '' : 'one of '}${names}?)`;
}
