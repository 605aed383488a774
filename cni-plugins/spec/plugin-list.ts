import { supportedVersions } from './cni-version.ts';
import { fieldsOf } from './fields.ts';
import type { Fields, Problems } from './fields.ts';
import { readJson } from './json-text.ts';

/**
 * A network configuration list of any plugins, as far as a runtime must understand it (CNI specification 1.1,
 * section 1; libcni's conf.go). Pure.
 */
export interface PluginList {
  readonly name: string;
  /** The highest of `cniVersion` and `cniVersions` that we support. */
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  /** Our own field: Kubernetes namespaces whose pods may request the network by annotation; `*` means all. */
  readonly podNamespaces?: readonly string[];
  readonly plugins: readonly ListedPlugin[];
}

export interface ListedPlugin {
  readonly type: string;
  /** `ipam.type`, if present. */
  readonly ipamType?: string;
  /** The declared capabilities. Only their arguments are passed. */
  readonly capabilities: readonly string[];
  /** The configuration as written. */
  readonly config: Readonly<Record<string, unknown>>;
}

export type ReadPluginList =
  | { readonly outcome: 'ok'; readonly list: PluginList }
  /** libcni would not load the file. */
  | { readonly outcome: 'malformed'; readonly problems: Problems };

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u;
/** libcni appends the type to the plugin folders, so a path would lead outside of them. */
const typePattern = /^(?!\.{1,2}$)[^/\0]+$/u;

/**
 * Reads a configuration list.
 * @param more plugin configurations from the folder named after the network, in addition to the inlined ones:
 * file and text of each
 */
export function readPluginList(
  text: string,
  file: string,
  more: readonly { readonly file: string; readonly text: string }[] = [],
): ReadPluginList {
  const problems: Problems = [];
  const root = readFields(text, file, problems);
  if (root === undefined) return { outcome: 'malformed', problems };
  const { fields, value } = root;
  const isList = file.endsWith('.conflist');
  const name = fields.text('name') ?? '';
  if (!namePattern.test(name)) fields.problem('name', `${JSON.stringify(name)} is not a network name`);
  const inlined = isList ? fields.objects('plugins') : [fields];
  const configs = isList ? ((value['plugins'] ?? []) as Record<string, unknown>[]) : [value];
  const plugins = inlined.flatMap((plugin, index) => pluginOf(plugin, configs[index]) ?? []);
  for (const each of more) {
    const single = readFields(each.text, each.file, problems);
    const plugin = single === undefined ? undefined : pluginOf(single.fields, single.value);
    if (plugin !== undefined) plugins.push(plugin);
  }
  if (plugins.length === 0 && problems.length === 0)
    fields.problem('plugins', "'plugins' is missing or empty");
  const cniVersion = versionOf(fields);
  const list = {
    name,
    cniVersion,
    disableCheck: listFlag(root, 'disableCheck'),
    disableGC: listFlag(root, 'disableGC'),
    podNamespaces: fields.texts('podNamespaces'),
    plugins,
  };
  return problems.length > 0 ? { outcome: 'malformed', problems } : { outcome: 'ok', list };
}

/**
 * Returns the name of the network and whether plugins in its folder belong to it, or undefined if the text is
 * no list. Source: libcni, NetworkConfFromFile.
 */
export function ownFolderOf(text: string, file: string): string | undefined {
  const root = readFields(text, file, []);
  const name = root?.fields.text('name') ?? '';
  return root === undefined ||
    !file.endsWith('.conflist') ||
    !namePattern.test(name) ||
    listFlag(root, 'loadOnlyInlinedPlugins')
    ? undefined
    : name;
}

interface Read {
  readonly fields: Fields;
  readonly value: Record<string, unknown>;
}

function readFields(text: string, file: string, problems: Problems): Read | undefined {
  const source = readJson(text);
  if ('message' in source) {
    problems.push(`${file}:${source.line}:${source.column}: ${source.message}`);
    return undefined;
  }
  const fields = fieldsOf(source.value, [], file, source, problems);
  return fields === undefined ? undefined : { fields, value: source.value as Record<string, unknown> };
}

/** Reads a flag of a list. Text in upper or lower case is accepted, as in libcni (`readBool`). */
function listFlag({ fields, value }: Read, name: string): boolean {
  const found = value[name] ?? false;
  const text = typeof found === 'boolean' || typeof found === 'string' ? String(found).toLowerCase() : '';
  if (text !== 'true' && text !== 'false') fields.problem(name, `'${name}' must be true or false`);
  return text === 'true';
}

function pluginOf(plugin: Fields, config: Record<string, unknown> | undefined): ListedPlugin | undefined {
  const type = plugin.text('type') ?? '';
  if (!typePattern.test(type))
    plugin.problem(
      'type',
      type === '' ? "'type' is missing or empty" : `${JSON.stringify(type)} is not the name of a program`,
    );
  const capabilities = plugin.object('capabilities');
  const ipamType = plugin.object('ipam')?.text('type');
  if (config === undefined) return undefined;
  return {
    type,
    ...(ipamType === undefined ? {} : { ipamType }),
    capabilities: capabilities?.names().filter((each) => capabilities.flag(each, false)) ?? [],
    config,
  };
}

/**
 * Returns the highest version of `cniVersions` that both sides support (CNI specification 1.1, section 1).
 */
function versionOf(fields: Fields): string {
  const declared = fields.text('cniVersion') ?? '';
  const offered = [...fields.texts('cniVersions'), ...(declared === '' ? [] : [declared])];
  if (offered.length === 0) return '0.1.0';
  const known = supportedVersions.filter((each) => offered.includes(each)).at(-1);
  if (known === undefined)
    fields.problem(
      'cniVersion',
      `CNI version ${JSON.stringify(offered.join(', '))} is not supported, only ${supportedVersions.join(', ')}`,
    );
  return known ?? '0.1.0';
}
