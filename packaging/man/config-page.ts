import { configOptions } from '../../runtime/config/generate-reference.ts';
import { defaultConfigFile } from '../../runtime/config/schema.ts';
import { bold, heading, literal, prose, roff } from './roff.ts';
import type { PageHeading } from './roff.ts';

/** Returns `portcullis-config(5)`: every option of the daemon's configuration, from its schema. */
export function configPage(title: PageHeading): string {
  const parts = [
    heading(title),
    `.SH NAME\n${roff(title.name)} \\- configuration of the daemon portcullisd`,
    `.SH SYNOPSIS\n.I ${roff(defaultConfigFile)}`,
    '.SH DESCRIPTION',
    'The daemon reads this YAML file, or the file that its option \\fB\\-\\-config\\fR names. Every option has a default, so the file need not exist.',
    '.PP\nA key with dots is a path of maps, NAME is any key, and [] is an element of a list. Relative paths are relative to the folder of the file.',
    '.PP\nIf the file has a mistake, the daemon does not start: it exits with status 2 and reports every problem with its line. SIGHUP reads the policy and the pinned images again. The log names the other options that have changed: they apply when the daemon is restarted.',
    '.SH OPTIONS',
    ...configOptions().map(({ name, type, value, meaning }) =>
      [
        `.TP\n${bold(name)} (${prose(type)})`,
        prose(meaning),
        ...(value === undefined ? [] : [`Default: ${bold(value)}`]),
      ].join('\n'),
    ),
    '.SH EXAMPLES',
    literal([
      'policy: [/etc/portcullis/policy]',
      'registries:',
      '  mirrors:',
      "    registry.k8s.io: { url: 'https://mirror.example.com', origin: false }",
      'defaultRuntime: crun',
    ]),
    '.PP\n\\fBportcullisd \\-\\-print\\-config\\fR prints the configuration in force, which is itself a valid file.',
    '.SH SEE ALSO\n\\fBportcullisd\\fR(8), \\fBportcullis\\-setup\\fR(1), \\fBportcullis\\-config\\fR(1)',
  ];
  return `${parts.join('\n')}\n`;
}
