import { writeFileSync } from 'node:fs';
import { configFlags } from './flags.ts';
import { configSchema, defaultConfigFile } from './schema.ts';
import type { ConfigSchema } from './config-schema.ts';

/** `docs/configuration.md`, from the schema and the flags. */
export function configurationReference(): string {
  const rows = describe(configSchema, '');
  const flagRows = configFlags.map(
    (flag) =>
      `| \`${flag.name} ${flag.value.replaceAll('|', '\\|')}\`${flag.repeatable ? ' (repeatable)' : ''} | \`${flag.sets}\` | ${flag.help} |`,
  );
  return `<!-- Generated from runtime/config/schema.ts by runtime/config/generate-reference.ts. Do not edit. -->

# Configuration

The daemon reads \`${defaultConfigFile}\`, or the file given with \`--config\`. It is YAML; every option has a default, so the default file need not exist.
Flags win over the file. \`portcullis daemon --print-config\` prints the effective configuration, itself a valid file, and exits.
A wrong file stops the start with status 2 and names every problem as \`file:line:column\`.
Relative paths in the file are relative to its folder; those of flags, to the working folder.

## Options

| option | type | default | meaning |
| --- | --- | --- | --- |
${rows.join('\n')}

## Flags of \`portcullis daemon\`

| flag | sets | meaning |
| --- | --- | --- |
${flagRows.join('\n')}

\`--registry-mirror\` implies \`origin: false\`. \`--runtime\` adds a handler or replaces the one of that name; \`runtimes\` in the file replaces the default ones.

## Example

\`\`\`yaml
policy: [/etc/portcullis/policy]
registries:
  mirrors:
    registry.k8s.io: { url: 'https://mirror.example.com', origin: false }
runtimes:
  crun: { path: /usr/bin/crun }
  runc: { path: /usr/sbin/runc }
defaultRuntime: crun
\`\`\`
`;
}

function describe(schema: ConfigSchema, prefix: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, property]) => {
    const name = `${prefix}${key}`;
    const row = `| \`${name}\` | ${typeText(property)} | ${defaultText(property)} | ${property.description} |`;
    if (property.properties !== undefined) return [row, ...describe(property, `${name}.`)];
    const entry = property.type === 'object' ? (property.additionalProperties as ConfigSchema) : undefined;
    return entry === undefined ? [row] : [row, ...describe(entry, `${name}.NAME.`)];
  });
}

function typeText(schema: ConfigSchema): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (schema.type === 'array') return `list of ${(schema.items as ConfigSchema).type}s`;
  if (schema.type === 'integer') return `integer, ${String(schema.minimum)} to ${String(schema.maximum)}`;
  return schema.type === 'object' ? 'map' : schema.type;
}

function defaultText(schema: ConfigSchema): string {
  return schema.default === undefined ? '' : `\`${typeof schema.default === 'string' ? schema.default : JSON.stringify(schema.default)}\``;
}

// Run as a program it writes docs/configuration.md.
if (import.meta.main) writeFileSync(new URL('../../docs/configuration.md', import.meta.url), configurationReference());
