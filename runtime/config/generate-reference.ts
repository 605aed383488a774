import { configFlags } from './flags.ts';
import { configSchema, defaultConfigFile } from './schema.ts';
import type { ConfigSchema } from './config-schema.ts';

/** Returns `docs/schemas/configuration.json`: the schema by which the daemon checks its file, for editors. */
export function publishedSchema(): object {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://portcullis.dev/schemas/v1alpha1/configuration.json',
    title: 'Portcullis Configuration',
    ...configSchema,
  };
}

/** Returns `docs/configuration.md`, generated from the schema and the flags. */
export function configurationReference(): string {
  const rows = configOptions().map(
    ({ name, type, value, meaning }) =>
      `| \`${name}\` | ${type} | ${value === undefined ? '' : `\`${value}\``} | ${meaning} |`,
  );
  const flagRows = configFlags.map(
    (flag) =>
      `| \`${flag.name} ${flag.value.replaceAll('|', '\\|')}\`${flag.repeatable ? ' (repeatable)' : ''} | \`${flag.sets}\` | ${flag.help} |`,
  );
  return `<!-- Generated from runtime/config/schema.ts by test/house/config-reference.ts. Do not edit. -->

# Configuration

The daemon reads its options from \`${defaultConfigFile}\`, or from the file given with \`--config\`. The file is YAML. Every option has a default, so the default file need not exist.

- Flags take precedence over the file.
- \`portcullis setup\` with flags of the daemon writes the file, if it does not exist ([kubelet.md](kubelet.md#portcullis-setup)).
- \`portcullis daemon --print-config\` prints the effective configuration, which is itself a valid file, and exits.
- If the file has a mistake, the daemon does not start. It exits with status 2 and reports every problem as \`file:line:column\`.
- If every user may write to the file, the daemon does not start: the file names programs that run as root. \`portcullis doctor\` also reports a file that belongs to another user than root.
- The file is UTF-8. Other bytes are a mistake, because a path would become another path.
- The daemon reads the file when it starts. At SIGHUP it reads the file again, and applies \`images.pinned\`. It logs the names of the other options that have changed: they apply when the daemon is restarted. If the file then has a mistake, nothing of it applies, and the log names the mistake.
- The daemon runs as root. As another user it says so, exits with status 4 and changes nothing.
- \`portcullis doctor\` reads the same file, judges the runtimes that it names, and exits with status 1 while no pod can start.
- \`portcullis config import\` converts configurations of containerd and CRI-O, and \`registries.conf\`. It exits with status 1 if it leaves something out ([kubelet.md](kubelet.md#moving-a-node)).
- Relative paths in the file are relative to its folder. Relative paths in flags are relative to the working folder. A path that begins with \`~\` is refused, because only a shell knows the home folders.

## Options

| option | type | default | meaning |
| --- | --- | --- | --- |
${rows.join('\n')}

## Flags of \`portcullis daemon\`

| flag | sets | meaning |
| --- | --- | --- |
${flagRows.join('\n')}

\`--registry-mirror\` implies \`origin: false\`. \`--runtime\` adds a handler or replaces the handler of that name. \`runtimes\` in the file replaces the default handlers.

## Proxies, authorities and redirects

The daemon and the commands take proxies and authorities from these variables of their environment. The variables apply to all requests over HTTP: to registries, trust and TUF
repositories, signing services, lookaside stores, OCSP, CRL, time stamps and the Kubernetes API.

| variable | meaning |
| --- | --- |
| \`HTTPS_PROXY\`, \`HTTP_PROXY\` | The proxy for https and for plain HTTP: \`http://HOST:PORT\` or \`https://…\`, which may hold a user and a password. You can leave out \`http://\`. Portcullis refuses any other type of proxy, and then sends no request. |
| \`NO_PROXY\` | The hosts that Portcullis contacts directly, separated by commas: \`*\`, an address, a network such as \`10.0.0.0/8\`, a name with all names below it, or \`.name\` for only the names below it. Addresses and names may have a port. Networks and addresses are compared with addresses in URLs, not with the addresses that names resolve to. |
| \`SSL_CERT_FILE\` | A file of authorities (PEM) instead of the system’s, such as \`/etc/ssl/certs/ca-certificates.crt\`. |
| \`SSL_CERT_DIR\` | Folders of authorities, separated by colons, instead of \`/etc/ssl/certs\` and \`/etc/pki/tls/certs\`. |

A variable in upper case takes precedence over the same variable in lower case, as in Kubernetes’ own programs. Portcullis never contacts loopback through a proxy. With systemd, set the variables by \`systemctl edit portcullisd\`.

Portcullis trusts a server by these authorities: Node’s, those of \`NODE_EXTRA_CA_CERTS\`, those of the system, and those of the server’s own folder in \`registries.certificates\`. If the kubeconfig names an authority, Portcullis trusts
the API server by that authority only. It finds changed files within 30 seconds. It leaves out a file or certificate that it cannot read, and logs a warning.

Portcullis follows at most five redirects of a GET or HEAD. It never follows a redirect:

- from https to plain HTTP
- to an address that holds a user
- to a loopback, link-local, multicast or metadata address, in any spelling and also behind a name, unless the server itself is on loopback (or link-local) and so is the target

The same rules apply to token services that a registry names. Credentials stay at the scheme, host and port that they are for. Private networks are not excluded. Behind a proxy, the proxy
resolves names, so Portcullis judges only addresses in the URL. Portcullis follows no redirects of signing services, time stamp authorities, OCSP, CRL, TUF repositories and the Kubernetes API.

This section does not apply to etcd (\`network.overlay\`) and the exporter of traces, which have their own clients.

## Example

\`\`\`yaml
policy: [/etc/portcullis/policy]
registries:
  mirrors:
    registry.k8s.io: { url: 'https://mirror.example.com', origin: false }
  prefixes:
    '*.untrusted.example': { blocked: true }
    docker.io/library:
      mirrors:
        - { url: 'https://cache.example.com/hub/library', tags: false }
        - { url: 'https://mirror.example.com/library', authFile: /etc/portcullis/mirror.json }
runtimes:
  crun: { path: /usr/bin/crun }
  runc: { path: /usr/sbin/runc }
defaultRuntime: crun
\`\`\`
`;
}

export interface ConfigOption {
  /** The path in the file, such as `cni.confDir`. `NAME` is any key, and `[]` an element of a list. */
  readonly name: string;
  readonly type: string;
  /** The default, as it is written in the file. */
  readonly value?: string;
  readonly meaning: string;
}

/**
 * Returns every option of the file, in the order of the schema. Words in backquotes are literal.
 *
 * @throws Error for an option of the type integer without a minimum or a maximum
 */
export function configOptions(schema = configSchema): readonly ConfigOption[] {
  return describe(schema, '');
}

function describe(schema: ConfigSchema, prefix: string): ConfigOption[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, property]) => {
    const name = `${prefix}${key}`;
    const option = {
      name,
      type: typeText(property, name),
      ...defaultOf(property),
      meaning: property.description,
    };
    if (property.properties !== undefined) return [option, ...describe(property, `${name}.`)];
    const item = property.type === 'array' ? (property.items as ConfigSchema) : undefined;
    if (item?.properties !== undefined) return [option, ...describe(item, `${name}[].`)];
    const entry = property.type === 'object' ? (property.additionalProperties as ConfigSchema) : undefined;
    return entry === undefined ? [option] : [option, ...describe(entry, `${name}.NAME.`)];
  });
}

function typeText(schema: ConfigSchema, name: string): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (schema.type === 'array') return `list of ${(schema.items as ConfigSchema).type}s`;
  if (schema.type === 'integer') {
    const { minimum, maximum } = schema;
    if (typeof minimum !== 'number' || typeof maximum !== 'number')
      throw new Error(`the option ${name} has no minimum or no maximum: add both to the schema`);
    return `integer, ${minimum} to ${maximum}`;
  }
  return schema.type === 'object' ? 'map' : schema.type;
}

function defaultOf(schema: ConfigSchema): { readonly value?: string } {
  if (schema.default === undefined) return {};
  if (schema.default === '') return { value: "''" };
  return { value: typeof schema.default === 'string' ? schema.default : JSON.stringify(schema.default) };
}
