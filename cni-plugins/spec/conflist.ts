import { fieldsOf } from './fields.ts';
import type { Fields, Problems } from './fields.ts';
import { isInterfaceName } from './interface-name.ts';
import { readJson } from './json-text.ts';
import type { BridgeConfig, ChainedPlugin, NetworkConfig } from './network-config.ts';
import { readRangeSets, readRoutes } from './ranges.ts';
import { readServiceRules, serviceRuleFields } from './service-rules.ts';

/**
 * Reads a CNI network configuration list (`.conflist`), or a single plugin's configuration (`.conf`, `.json`)
 * as a list of one. Sources: CNI specification 1.1, section 1; libcni's conf.go for what it refuses; the
 * fields of the plugins bridge, host-local and portmap. Pure.
 */
export type ReadConflist =
  /** libcni would load the list, and this engine can run it. */
  | { readonly outcome: 'ok'; readonly network: NetworkConfig }
  /** libcni would not load the list: the next file is tried. */
  | { readonly outcome: 'malformed'; readonly problems: Problems }
  /** libcni would load the list, but its plugins would refuse it. */
  | { readonly outcome: 'invalid'; readonly name: string; readonly problems: Problems }
  | { readonly outcome: 'unsupported'; readonly name: string; readonly problems: Problems };

/** Plugins that change the interface after bridge and portmap have set it up, in their order. */
const chainedPlugins = ['bandwidth', 'tuning', 'firewall', 'sbr'];
const supportedPlugins = ['bridge', 'portmap', 'loopback', ...chainedPlugins];
const addressPlugins = ['host-local', 'ipam'];

/** Conflists may also name our plugins by their binaries. */
const typeOf = (plugin: Fields): string => (plugin.text('type') ?? '').replace(/^portcullis-/u, '');
const supportedVersions = /^(?:0\.[1-4]\.\d+|1\.[01]\.\d+)$/u;
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u;

export function readConflist(text: string, file: string): ReadConflist {
  const source = readJson(text);
  if ('message' in source)
    return { outcome: 'malformed', problems: [`${file}:${source.line}:${source.column}: ${source.message}`] };
  const problems: Problems = [];
  const root = fieldsOf(source.value, [], file, source, problems);
  const plugins = root === undefined ? [] : file.endsWith('.conflist') ? root.objects('plugins') : [root];
  const name = root?.text('name') ?? '';
  if (root !== undefined) checkForm(root, plugins, name);
  if (root === undefined || problems.length > 0) return { outcome: 'malformed', problems };

  const version = root.text('cniVersion') ?? '0.1.0';
  if (!supportedVersions.test(version))
    root.problem(
      'cniVersion',
      `CNI version ${JSON.stringify(version)} is not supported, only 0.1.0 to 1.1.0`,
    );
  for (const plugin of plugins) {
    if (!supportedPlugins.includes(typeOf(plugin)))
      plugin.problem(
        'type',
        `plugin type ${JSON.stringify(plugin.text('type'))} is not supported, only ${supportedPlugins.join(', ')}`,
      );
  }
  const bridges = plugins.filter((plugin) => typeOf(plugin) === 'bridge');
  if (problems.length === 0 && bridges.length !== 1)
    root.problem('plugins', `exactly one bridge plugin is supported, found ${bridges.length}`);
  const plugin = bridges[0];
  const ipam = plugin?.object('ipam');
  const ipamType = ipam === undefined ? '' : typeOf(ipam);
  if (plugin !== undefined && !addressPlugins.includes(ipamType)) {
    (ipam ?? plugin).problem(
      ipam === undefined ? '' : 'type',
      `address plugin ${JSON.stringify(ipamType)} is not supported, only host-local`,
    );
  }
  for (const entry of bridges) refuseUnsupportedFields(entry);
  for (const entry of plugins) if (typeOf(entry) === 'portmap') refusePortmapFields(entry);
  if (problems.length > 0 || plugin === undefined || ipam === undefined)
    return { outcome: 'unsupported', name, problems };

  const bridge = readBridge(plugin);
  const rangeSets = readRangeSets(ipam);
  const routes = readRoutes(ipam);
  const portMap = readPortMap(plugins.find((entry) => typeOf(entry) === 'portmap'));
  const named = plugin.object('capabilities')?.flag('aliases', false) === true;
  const serviceRules = readServiceRules(entryOf(source.value, plugins.indexOf(plugin)));
  if ('problem' in serviceRules)
    plugin.problem(serviceRules.field.split('.')[0] ?? '', `${serviceRules.field}: ${serviceRules.problem}`);
  if ('problem' in serviceRules || problems.length > 0) return { outcome: 'invalid', name, problems };
  return {
    outcome: 'ok',
    network: {
      name,
      cniVersion: version,
      file,
      bridge,
      rangeSets,
      routes,
      ...(portMap === undefined ? {} : { portMap }),
      ...(named && { named }),
      ...(serviceRuleFields.some((field) => plugin.has(field)) && { serviceRules }),
      chained: chainedIn(source.value, plugins, name, version),
    },
  };
}

/** Returns the plugin as written: the list entry at the index, or the whole document if it is not a list. */
function entryOf(document: unknown, index: number): Readonly<Record<string, unknown>> {
  const { plugins } = document as { readonly plugins?: readonly Record<string, unknown>[] };
  return plugins?.[index] ?? (document as Record<string, unknown>);
}

/** Returns the chained plugins, each with the configuration that libcni would pass to it. */
function chainedIn(
  document: unknown,
  plugins: readonly Fields[],
  name: string,
  version: string,
): ChainedPlugin[] {
  const { plugins: entries } = document as { readonly plugins?: readonly Record<string, unknown>[] };
  return plugins.flatMap((plugin, index) => {
    const type = typeOf(plugin);
    if (!chainedPlugins.includes(type)) return [];
    return [{ type, config: JSON.stringify({ ...entries?.[index], name, cniVersion: version }) }];
  });
}

/** Checks what libcni itself requires of a file before it calls any plugin. */
function checkForm(root: Fields, plugins: readonly Fields[], name: string): void {
  if (name === '') root.problem('name', "'name' is missing or empty");
  else if (!namePattern.test(name))
    root.problem(
      'name',
      `${JSON.stringify(name)} is not a network name: letters, digits, '_', '.', '-', the first a letter or digit`,
    );
  if (plugins.length === 0) root.problem('plugins', "'plugins' is missing or empty");
  for (const plugin of plugins)
    if ((plugin.text('type') ?? '') === '') plugin.problem('type', "'type' is missing or empty");
}

/**
 * Refuses fields of the bridge plugin that change the behaviour of a link and that this engine does not
 * support. They are never ignored.
 */
function refuseUnsupportedFields(plugin: Fields): void {
  if ((plugin.whole('vlan') ?? 0) !== 0) plugin.problem('vlan', 'VLANs are not supported');
  if (plugin.has('vlanTrunk')) plugin.problem('vlanTrunk', 'VLANs are not supported');
  if (plugin.flag('disableContainerInterface', false))
    plugin.problem('disableContainerInterface', 'disableContainerInterface is not supported');
  if (plugin.flag('portIsolation', false)) plugin.problem('portIsolation', 'portIsolation is not supported');
}

/** Refuses fields of portmap that only the plugin itself supports: the list is then run as a chain. */
function refusePortmapFields(plugin: Fields): void {
  for (const name of ['backend', 'conditionsV4', 'conditionsV6', 'externalSetMarkChain', 'masqAll'])
    if (plugin.has(name)) plugin.problem(name, `${name} is not supported`);
}

function readBridge(plugin: Fields): BridgeConfig {
  const name = plugin.text('bridge') ?? 'cni0';
  if (!isInterfaceName(name)) plugin.problem('bridge', `${JSON.stringify(name)} is not an interface name`);
  const mtu = plugin.whole('mtu') ?? 0;
  if (mtu !== 0 && (mtu < 68 || mtu > 65535))
    plugin.problem('mtu', `${mtu} is not an MTU: 68 to 65535, or 0`);
  const isDefaultGateway = plugin.flag('isDefaultGateway', false);
  const promiscuous = plugin.flag('promiscMode', false);
  // As upstream: the combination would deliver every frame twice.
  if (plugin.flag('hairpinMode', false) && promiscuous)
    plugin.problem('promiscMode', 'hairpinMode and promiscMode exclude each other');
  return {
    name,
    isGateway: isDefaultGateway || plugin.flag('isGateway', false),
    isDefaultGateway,
    ipMasq: plugin.flag('ipMasq', false),
    promiscuous,
    ...(mtu === 0 ? {} : { mtu }),
  };
}

/** Fields of portmap that only this engine knows, and not the plugin. */
export const hostPortFields = ['privilegedPorts', 'heldPorts'] as const;

/** As libcni: the plugin receives port mappings only if it declares the capability. */
function readPortMap(plugin: Fields | undefined): NetworkConfig['portMap'] {
  if (plugin?.object('capabilities')?.flag('portMappings', false) !== true) return undefined;
  const [privilegedPorts, heldPorts] = hostPortFields.map((field) => plugin.flag(field, false));
  return {
    snat: plugin.flag('snat', true),
    ...(privilegedPorts === true && { privilegedPorts }),
    ...(heldPorts === true && { heldPorts }),
  };
}
