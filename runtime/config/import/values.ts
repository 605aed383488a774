import { isTable, set } from './findings.ts';
import type { Mapped, Rule } from './findings.ts';

/** Returns the milliseconds of a Go duration (`4h0m0s`) or of a number of seconds; otherwise undefined. */
function durationMs(value: unknown): number | undefined {
  if (typeof value === 'number') return value * 1000;
  if (typeof value !== 'string' || !/^(\d+(\.\d+)?(h|m|s|ms))+$/.test(value)) return undefined;
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)];
  return Math.ceil(
    parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units[unit ?? 's'] ?? 1000), 0),
  );
}

/** Returns a mirror for an endpoint's URL or bare host. Undefined if the value is neither. */
export function mirrorOf(
  endpoint: unknown,
  origin: boolean,
): { readonly url: string; readonly origin: boolean } | undefined {
  if (typeof endpoint !== 'string') return undefined;
  const url = /^https?:\/\//.test(endpoint) ? endpoint : `https://${endpoint}`;
  return /^https?:\/\/[^\s?#@/]+(\/[^\s?#@]*)?$/.test(url)
    ? { url: url.replace(/\/+$/, ''), origin }
    : undefined;
}

/** Converts a logrus level to one of our levels. */
export function levelOf(value: unknown): Mapped {
  const known: Record<string, string> = {
    trace: 'debug',
    debug: 'debug',
    info: 'info',
    warn: 'warn',
    warning: 'warn',
    error: 'error',
    fatal: 'error',
    panic: 'error',
  };
  const level = typeof value === 'string' && Object.hasOwn(known, value) ? known[value] : undefined;
  return level === undefined ? { left: 'this log level does not exist' } : { set: { logLevel: level } };
}

/** Returns a text that is not empty. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * Returns the path of a shim, for a path or for a runtime type as containerd resolves it:
 * `io.containerd.kata.v2` is the program `containerd-shim-kata-v2` (containerd, core/runtime/v2/README.md).
 * Undefined for other values.
 */
export function shimOf(type: unknown): string | undefined {
  if (typeof type !== 'string') return undefined;
  if (type.startsWith('/')) return type;
  const [name, version] = type.split('.').slice(-2);
  return /^[a-z0-9-]+$/.test(name ?? '') && /^v\d+$/.test(version ?? '')
    ? `/usr/local/bin/containerd-shim-${name}-${version}`
    : undefined;
}

/** Returns a handler that runs a shim. */
export function shimHandler(
  path: string,
  runtimePath: string | undefined,
  configPath: string | undefined,
): object {
  return { type: 'shim', path, ...(runtimePath && { runtimePath }), ...(configPath && { configPath }) };
}

/** Converts the setting of an NRI server that refuses connections of external plugins. */
function nriConnections(value: unknown): Mapped {
  return value === true ? { set: { 'nri.socket': '' } } : { inherent: 'plugins may connect to `nri.socket`' };
}

/** Converts the socket of an NRI server, unless the setting `unless` beside it says that it has none. */
function nriSocket(unless: string): Rule['map'] {
  return (value, path, whole) => {
    const beside = path
      .slice(0, -1)
      .reduce<unknown>((table, step) => (isTable(table) ? table[step] : undefined), whole);
    return isTable(beside) && beside[unless] === true
      ? { inherent: 'plugins may not connect' }
      : { set: { 'nri.socket': value } };
  };
}

/** Returns a function that converts a Go duration to a setting in milliseconds. */
function milliseconds(setting: string): (value: unknown) => Mapped {
  return (value) => {
    const ms = durationMs(value);
    return ms === undefined ? { left: 'it is not a duration' } : { set: { [setting]: ms } };
  };
}

/** Converts a Go duration to the idle time-out of streams, in seconds. */
export function idleTimeoutOf(value: unknown): Mapped {
  const ms = durationMs(value);
  return ms === undefined
    ? { left: 'it is not a duration' }
    : { set: { 'streaming.idleTimeout': Math.ceil(ms / 1000) } };
}

/** The keys of NRI in the configuration of a runtime, all of them in one table. */
interface NriKeys {
  readonly table: string;
  readonly socket: string;
  readonly plugins: string;
  readonly pluginConfigs: string;
  readonly registrationTimeout: string;
  readonly requestTimeout: string;
  /** Whether plugins may not connect. */
  readonly closed: string;
}

/** Returns the rules for the keys of NRI, without the one that enables it. */
export function nriRules(keys: NriKeys): readonly Rule[] {
  return [
    { path: [keys.table, keys.socket], map: nriSocket(keys.closed) },
    { path: [keys.table, keys.plugins], map: set('nri.pluginPath') },
    { path: [keys.table, keys.pluginConfigs], map: set('nri.pluginConfigPath') },
    { path: [keys.table, keys.registrationTimeout], map: milliseconds('nri.registrationTimeout') },
    { path: [keys.table, keys.requestTimeout], map: milliseconds('nri.requestTimeout') },
    { path: [keys.table, keys.closed], map: nriConnections },
  ];
}
