import { resolve } from 'node:path';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { createFileAtomic, makeFolder } from '../../base/storage/index.ts';
import { dirname } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import { readInputFile } from '../files/input-file.ts';
import { collect, withRegistries, withRegistry } from '../options/registry-options.ts';
import type { RegistryFlags } from '../options/registry-options.ts';
import { exitCodes, print, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { countOf, withChannel } from './release-options.ts';

interface SubscribeFlags extends RegistryFlags {
  readonly rootDigest: string;
  readonly rootFile: string;
  readonly channel: string;
  readonly releases?: string;
  readonly interval: number;
  readonly node?: string;
  readonly label: readonly string[];
  readonly onStale: string;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis policy subscribe oci://registry.example.com/fleet/policy --root-digest sha256:9f2c… 
  $ portcullis policy subscribe https://policy.example.com/fleet --root-digest sha256:9f2c… --label policy-stage=canary

Fetches the newest release for this node and loads it, as a check, but puts nothing in force. Then it writes
the first root, and prints the section to add to config.yaml in place of "policy". "portcullis policy publish"
prints the digest of the first root: obtain it in another way than from the service.

Exit status: 0 the release can be followed; 1 it is refused; 3 the source does not answer.`;

/** `portcullis policy subscribe`. */
export function registerSubscribe(policy: Command): void {
  const command = policy
    .command('subscribe')
    .description('check that this node can follow the releases of a policy, and print its configuration')
    .argument('<service>', 'oci://REGISTRY/REPOSITORY, or the URL of the metadata')
    .requiredOption('--root-digest <digest>', 'sha256:… of the first root')
    .option('--root-file <file>', 'where the first root is stored', '/etc/portcullis/policy-root.json')
    .option('--releases <place>', 'where the archives are, if they are not beside the metadata')
    .option('--interval <seconds>', 'time between two checks for a release', countOf(1), 300)
    .option('--node <name>', 'name of the node; default: name of the machine')
    .option('--label <key=value>', 'label of the node, for stages; may be repeated', collect, [])
    .option('--on-stale <what>', 'deny, keep or previouslyAdmitted', 'deny')
    .addHelpText('after', examples);
  withOutput(withRegistries(withChannel(command))).action((service: string, flags: SubscribeFlags) => {
    const wrong = (text: string): never => command.error(`error: ${text}`, { exitCode: exitCodes.usage });
    if (!/^(?:https?|oci):\/\/[^\s?#]+$/u.test(service))
      return wrong('the service is oci://REGISTRY/REPOSITORY, https://… or http://…');
    if (!/^sha256:[0-9a-f]{64}$/u.test(flags.rootDigest)) return wrong('--root-digest is sha256:HEX');
    if (!['deny', 'keep', 'previouslyAdmitted'].includes(flags.onStale))
      return wrong('--on-stale is deny, keep or previouslyAdmitted');
    const labels = flags.label.map((text) => /^([^=\s]+)=(\S*)$/u.exec(text));
    if (labels.includes(null)) return wrong('--label is KEY=VALUE');
    const pairs = Object.fromEntries(labels.map((match) => [match?.[1] ?? '', match?.[2] ?? '']));
    return withRegistry(flags, async (registries) => {
      const { trySubscription } = await import('../../runtime/index.ts');
      const tried = await trySubscription({
        ...{ service, releases: flags.releases, channel: flags.channel, registries },
        node: { ...(flags.node === undefined ? {} : { name: flags.node }), labels: pairs },
        rootDigest: flags.rootDigest,
      });
      const rootFile = resolve(flags.rootFile);
      await writeRoot(rootFile, tried.root);
      const policySubscription = configOf(service, rootFile, flags, pairs);
      const { number, revision } = tried.release;
      const rules = `${tried.rules} rule${tried.rules === 1 ? '' : 's'}`;
      const head = `release ${number} of ${flags.channel} is valid: ${rules}, revision ${revision}`;
      print(
        flags.output,
        { release: tried.release, rootFile, config: { policySubscription } },
        `${head}\nfirst root: ${rootFile}\nadd this to config.yaml in place of \`policy\`, and restart portcullisd:\n\n${stringify({ policySubscription })}`,
      );
      return exitCodes.yes;
    });
  });
}

function configOf(
  service: string,
  root: string,
  flags: SubscribeFlags,
  labels: Readonly<Record<string, string>>,
): object {
  return {
    ...{ service, root },
    ...(flags.releases === undefined ? {} : { releases: flags.releases }),
    ...{ channel: flags.channel, interval: flags.interval },
    ...(flags.node === undefined ? {} : { node: flags.node }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    onStale: flags.onStale,
  };
}

/** Writes the first root unless the same root exists. */
async function writeRoot(file: string, root: Buffer): Promise<void> {
  await makeFolder(dirname(file), 0o755);
  if (await createFileAtomic(file, root, { mode: 0o644 })) return;
  if ((await readInputFile(file)).equals(root)) return;
  throw new PortcullisError({
    code: 'CLI_FILE_UNWRITABLE',
    kind: 'precondition',
    attempted: 'write file',
    on: file,
    why: 'it exists, and contains another root',
    fix: 'name another place with --root-file',
  });
}
