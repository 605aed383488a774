import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Plugin } from '../plugins/contract/contract.ts';
import { addressPlugins, engineAddressTypes, plugins } from '../plugins/registry.ts';
import type { Fields, Problems, UnknownField } from '../spec/fields.ts';
import { serviceRuleFields } from '../spec/service-rules.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { configInvalid, unknownPlugin } from '../calls/plugin-errors.ts';
import { bareType } from '../calls/plugin-type.ts';
import { leasingTypes, readAddressSource, readConfig } from './addresses.ts';
import type { AddressSource } from './addresses.ts';

/** Reads what a configuration means for a plugin of ours and for its address plugin. Pure. */

/** A parsed configuration. `plugin` is absent for an IPAM plugin that is called by itself. */
export interface Reading {
  readonly type: string;
  readonly plugin?: Plugin;
  readonly config: unknown;
  readonly source: AddressSource;
  readonly problems: Problems;
  /**
   * Fields of the configuration that neither the plugin nor its address plugin knows: an ADD and a STATUS
   * refuse them.
   */
  readonly unknown: readonly UnknownField[];
}

/**
 * Fields that every plugin's configuration may have: the CNI specification 1.1, section 1 ("Plugin
 * configuration objects"), what libcni adds, and the rules of services, which the reader of the whole list
 * checks.
 */
const commonFields = new Set([
  ...['cniVersion', 'name', 'type', 'capabilities', 'runtimeConfig', 'args', 'prevResult', 'ipMasq', 'dns'],
  ...['cni.dev/attachments', 'cni.dev/valid-attachments'],
  ...serviceRuleFields,
]);
const withIpam: ReadonlySet<string> = new Set([...commonFields, 'ipam']);

/** The arguments of CNI_ARGS that affect the configuration. The others describe the pod. */
export const readArgs = ['IP', 'MAC', 'GATEWAY'] as const;

/**
 * Reads a configuration. Its problems are returned in `problems`.
 * @param call `type`: with or without the prefix `portcullis-`
 * @throws NETWORK_PLUGIN_UNKNOWN · NETWORK_CONFIG_INVALID if it is not a JSON object
 */
export function readPluginConfiguration(call: Pick<PluginCall, 'type' | 'args' | 'config'>): Reading {
  const type = bareType(call.type);
  const plugin = plugins.find((candidate) => candidate.type === type);
  const isAddressPlugin =
    leasingTypes.includes(type) ||
    engineAddressTypes.includes(type) ||
    addressPlugins.some((candidate) => candidate.type === type);
  if (plugin === undefined && !isAddressPlugin)
    throw unknownPlugin(
      call.type,
      [...plugins, ...addressPlugins].map((known) => known.type).concat(engineAddressTypes),
    );
  const problems: Problems = [];
  const fields = readConfig(call.config, problems);
  if (fields === undefined) throw configInvalid(type, problems);
  const args = Object.fromEntries(
    readArgs.flatMap((name) => (call.args[name] === undefined ? [] : [[name, call.args[name]]])),
  );
  const source: AddressSource =
    plugin?.role === 'chained' ? { from: 'nowhere' } : readAddressSource(fields, args);
  if (plugin === undefined) {
    if (source.from === 'nowhere') fields.problem('ipam', `'ipam' with a type is missing`);
    // The program of that name may be this one.
    else if (source.from === 'program')
      fields.object('ipam')?.problem('type', `it is not the type of the called plugin, portcullis-${type}`);
    // The other fields are those of the plugin that calls it.
    const unknown = fields.object('ipam')?.unknown(new Set(['type'])) ?? [];
    return { type, config: undefined, source, problems, unknown };
  }
  const config = readBy(plugin, fields, args, problems);
  // The configuration of another program is checked by that program.
  const ipamIsOurs = source.from !== 'program' && source.from !== 'nowhere';
  return {
    type,
    plugin,
    config,
    source,
    problems,
    unknown: fields.unknown(ipamIsOurs ? commonFields : withIpam),
  };
}

function readBy(plugin: Plugin, fields: Fields, args: PluginCall['args'], problems: Problems): unknown {
  try {
    return plugin.read(fields, args);
  } catch (thrown) {
    if (isPortcullisError(thrown)) throw thrown;
    problems.push(reasonOf(thrown));
    return undefined;
  }
}

/**
 * Returns the unknown fields that an ADD refuses. A reader that found a problem may not have requested every
 * field that it knows.
 */
export const refusedFields = ({ problems, unknown }: Reading): readonly UnknownField[] =>
  problems.length > 0 ? unknown.filter(({ isMisspelled }) => isMisspelled) : unknown;
