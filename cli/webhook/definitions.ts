import type { Command } from 'commander';
import { formatYaml } from './yaml.ts';
import { customResourceDefinitions } from '../../admission/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

/** `portcullis webhook definitions`: prints the CustomResourceDefinitions. */
export function registerDefinitions(webhook: Command): void {
  withOutput(
    webhook
      .command('definitions')
      .description('print the CustomResourceDefinitions of TrustPolicy and EntitlementProfile'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis webhook definitions | kubectl apply -f -\n\nExit status: 0 printed.',
    )
    .action((flags: { readonly output: OutputFormat }) =>
      run(flags.output, () => {
        const definitions = customResourceDefinitions();
        // kubectl reads several objects as one JSON value only in a list.
        print(flags.output, { apiVersion: 'v1', kind: 'List', items: definitions }, formatYaml(definitions));
        return Promise.resolve(exitCodes.yes);
      }),
    );
}
