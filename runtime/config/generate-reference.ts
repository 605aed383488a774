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

## Proxies, authorities and redirects

Everything that is asked over HTTP (registries, trust and TUF repositories, signing services, lookaside stores, OCSP, CRL, time stamps, the Kubernetes API) takes these from
the environment of the daemon or command:

| variable | meaning |
| --- | --- |
| \`HTTPS_PROXY\`, \`HTTP_PROXY\` | The proxy for https and for plain HTTP: \`http://HOST:PORT\` or \`https://…\`, which may hold a user and a password; \`http://\` may be left out. Other kinds are refused, and nothing is asked. |
| \`NO_PROXY\` | What is asked directly, separated by commas: \`*\`, an address, a network such as \`10.0.0.0/8\`, a name with all names below it, \`.name\` for those below it alone. Addresses and names may have a port. Networks and addresses are compared with addresses in URLs, not with what names resolve to. |
| \`SSL_CERT_FILE\` | A file of authorities (PEM) instead of the system’s, such as \`/etc/ssl/certs/ca-certificates.crt\`. |
| \`SSL_CERT_DIR\` | Folders of authorities, separated by colons, instead of \`/etc/ssl/certs\` and \`/etc/pki/tls/certs\`. |

Upper case counts before lower case, as in Kubernetes’ own programs. Loopback is never asked through a proxy. With systemd, set the variables by \`systemctl edit portcullisd\`.

A server is believed by Node’s authorities, those of \`NODE_EXTRA_CA_CERTS\`, those of the system, and those of its own folder in \`registries.certificates\`; the API server by the
authority of its kubeconfig alone, where that names one. Changed files are found within 30 seconds. A file or certificate that cannot be read is left out with a warning.

A redirect of a GET or HEAD is followed at most five times, never from https to plain HTTP, never to an address that holds a user, and never to loopback, link-local, multicast or
metadata addresses, in whatever spelling and also behind a name, unless the server itself is on loopback (or link-local) and so is the target. The same holds for token services that a
registry names. Credentials stay at the scheme, host and port they are for. Private networks are not excluded. Behind a proxy, names are resolved by the proxy: there only addresses in
the URL are judged. Signing services, time stamp authorities, OCSP, CRL, TUF repositories and the Kubernetes API are asked without following redirects.

etcd (\`network.overlay\`) and the exporter of traces have clients of their own, to which this section does not apply.

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
