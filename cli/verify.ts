import type { Command } from 'commander';
import { explainVerdict, loadPolicy, openRegistries, policyOfKey, saveRecording, verifyImage } from '../trust/index.ts';
import type { Verdict } from '../trust/index.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';
import { collect, withRegistries } from './registry-options.ts';
import type { RegistryFlags } from './registry-options.ts';

interface VerifyFlags extends RegistryFlags {
  readonly policy?: readonly string[];
  readonly key?: string;
  readonly namespace: string;
  readonly saveDossier?: string;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis verify registry.example.com/team/app:1 --policy policy.yaml
  $ portcullis verify registry.example.com/team/app:1 --policy policy.yaml --namespace team-a --output json
  $ portcullis verify 127.0.0.1:5000/app:1 --key cosign.pub

Exit status: 0 admitted, 1 denied, 2 wrong use, 3 undecided (evidence could not be asked for), 4 failed.`;

export function register(program: Command): void {
  const command = program
    .command('verify')
    .description('decide whether an image may run, and say why')
    .argument('<image>', 'reference of the image')
    .option('--policy <path>', 'policy file or folder; may be repeated', collect)
    .option('--key <file>', 'public key that must have signed the image, instead of a policy')
    .option('--namespace <name>', 'Kubernetes namespace; without it, rules for namespaces do not match', '')
    .option('--save-dossier <file>', 'keep evidence and verdict in a new file, for policy test, simulate and replays')
    .addHelpText('after', examples);
  withOutput(withRegistries(command)).action((image: string, flags: VerifyFlags) => {
    if ((flags.policy === undefined) === (flags.key === undefined))
      command.error('error: name --policy FILE or --key FILE', { exitCode: exitCodes.usage });
    // Without the registry there is no evidence: no decision, not a broken command.
    return run(
      flags.output,
      () => verify(image, flags),
      (error) => (['unavailable', 'denied', 'deadline'].includes(error.kind) ? exitCodes.undecided : undefined),
    );
  });
}

async function verify(reference: string, flags: VerifyFlags): Promise<number> {
  const policy = flags.key === undefined ? (await loadPolicy({ paths: flags.policy ?? [] })).policy : await policyOfKey(flags.key);
  const registry = await openRegistries({ mirrors: flags.registryMirror, insecureHosts: flags.insecureRegistry });
  try {
    const { verdict, dossier } = await verifyImage({ reference, namespace: flags.namespace, policy, registry, now: new Date() });
    if (flags.saveDossier !== undefined && dossier !== undefined) await saveRecording(flags.saveDossier, verdict, dossier);
    print(flags.output, verdict, explainVerdict(verdict));
    return outcomeCodes[verdict.outcome];
  } finally {
    await registry.close();
  }
}

const outcomeCodes: Readonly<Record<Verdict['outcome'], number>> = {
  admit: exitCodes.yes,
  deny: exitCodes.no,
  undecided: exitCodes.undecided,
};
