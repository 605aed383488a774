import { areUnsupported } from '../spec/fields.ts';
import { readConfigurationJson } from '../spec/json-text.ts';
import { readArgs, readPluginConfiguration, refusedFields } from '../networks/plugin-configuration.ts';
import type { Reading } from '../networks/plugin-configuration.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { configInvalid, fieldsUnsupported } from '../calls/plugin-errors.ts';
import { bareType } from '../calls/plugin-type.ts';

/** Reads what a call's configuration means for the plugin and for its IPAM plugin. Pure. */

/** The last valid reading for each type, while its text is cached. */
const readings = new WeakMap<object, Map<string, Remembered>>();
interface Remembered {
  readonly args: string;
  readonly reading: Reading;
}

/**
 * Reads a configuration. Its problems are returned in `problems`.
 * @throws NETWORK_PLUGIN_UNKNOWN · NETWORK_CONFIG_INVALID if it is not a JSON object
 */
export function readConfiguration(call: PluginCall): Reading {
  const type = bareType(call.type);
  const text = readConfigurationJson(call.config);
  const args = readArgs.map((name) => call.args[name] ?? '').join('\0');
  const remembered = readings.get(text)?.get(type);
  if (remembered?.args === args) return remembered.reading;
  const reading = readPluginConfiguration(call);
  if (reading.problems.length > 0) return reading;
  const byType = readings.get(text) ?? new Map<string, Remembered>();
  readings.set(text, byType.set(type, { args, reading }));
  return reading;
}

/**
 * Returns the reading if a new attachment can be created from it. Existing attachments are checked and
 * removed even if their configuration has unknown fields.
 * @throws as {@link sound}, and NETWORK_CONFIG_INVALID when a field is unknown
 */
export function withoutUnknown(reading: Reading): Reading {
  const { type, problems } = reading;
  const shown = refusedFields(reading);
  if (shown.length > 0) throw configInvalid(type, [...problems, ...shown.map(({ problem }) => problem)]);
  return sound(reading);
}

/**
 * Returns the reading if it has no problems.
 * @throws NETWORK_CONFIG_INVALID with every problem · NETWORK_FIELD_UNSUPPORTED if all problems are known but
 * unsupported fields
 */
export function sound(reading: Reading): Reading {
  const { type, problems } = reading;
  if (problems.length > 0)
    throw areUnsupported(problems) ? fieldsUnsupported(type, problems) : configInvalid(type, problems);
  return reading;
}
