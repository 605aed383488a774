import { mostMirrors } from '../registries-schema.ts';
import type { PrefixMirrorConfig } from '../types.ts';
import { isTable } from './findings.ts';
import type { Finding, Settings } from './findings.ts';

/** The sources of the images with one prefix, according to the configuration of another runtime. */
export interface ImportedRule {
  readonly mirrors: readonly PrefixMirrorConfig[];
  /** False: the registry itself is not asked. */
  readonly origin: boolean;
}

/** The settings of one prefix, and their name for findings. */
export interface RuleSettings {
  readonly settings: Settings;
  readonly setting: string;
}

/** Why a mirror is omitted after the others of its prefix. */
export const tooManyMirrors = `a prefix has at most ${mostMirrors} mirrors`;

/** Returns the settings of a rule: one mirror of a whole registry is an entry of `registries.mirrors`. */
export function ruleSettings(prefix: string, { mirrors, origin }: ImportedRule): RuleSettings {
  const [only] = mirrors;
  if (only !== undefined && mirrors.length === 1 && only.tags !== false && !/[*/]/.test(prefix)) {
    return {
      settings: { mirrors: { [prefix]: { url: only.url, origin } } },
      setting: `registries.mirrors.${prefix}`,
    };
  }
  return {
    settings: { prefixes: { [prefix]: { mirrors, origin } } },
    setting: `registries.prefixes.${prefix}`,
  };
}

/** Returns the settings of a prefix whose images are refused. */
export function blockedSettings(prefix: string): RuleSettings {
  return {
    settings: { prefixes: { [prefix]: { blocked: true } } },
    setting: `registries.prefixes.${prefix}`,
  };
}

/**
 * Resolves what several files say about one prefix: a blocked prefix has nothing else, and an entry of
 * `prefixes` replaces one of `mirrors`. Reports the omitted settings.
 */
export function withoutContradictions(
  settings: Settings,
  report: (finding: Finding & { readonly file: string }) => void,
): Settings {
  const registries = isTable(settings['registries']) ? settings['registries'] : {};
  const prefixes = isTable(registries['prefixes']) ? registries['prefixes'] : {};
  const mirrors = isTable(registries['mirrors']) ? registries['mirrors'] : {};
  const left = (key: string, note: string): void =>
    report({ file: 'config.yaml', key, outcome: 'left', note });
  const kept = Object.entries(mirrors).filter(([host]) => {
    const isTwice = Object.hasOwn(prefixes, host);
    if (isTwice)
      left(`registries.mirrors.${host}`, `registries.prefixes.${host} of another file replaces it`);
    return !isTwice;
  });
  const plain = Object.entries(prefixes).map(([prefix, rule]): [string, unknown] => {
    if (!isTable(rule) || rule['blocked'] !== true) return [prefix, rule];
    if (Object.keys(rule).length > 1)
      left(`registries.prefixes.${prefix}`, 'another file blocks it, so it has no mirrors');
    return [prefix, { blocked: true }];
  });
  if (plain.length === 0) return settings;
  const { mirrors: _mirrors, ...others } = registries;
  return {
    ...settings,
    registries: {
      ...others,
      ...(kept.length > 0 && { mirrors: Object.fromEntries(kept) }),
      prefixes: Object.fromEntries(plain),
    },
  };
}
