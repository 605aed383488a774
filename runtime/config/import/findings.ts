import { isPrintedDefault } from './defaults.ts';

/** The result for one key of the imported file. */
export interface Finding {
  /** The full path of the key: `plugins."io.containerd.cri.v1.runtime".cni.conf_dir`. */
  readonly key: string;
  readonly outcome: 'taken' | 'inherent' | 'left';
  /**
   * `taken`: our setting. `inherent`: how it applies without a setting. `left`: why it was omitted, and what
   * to do instead.
   */
  readonly note: string;
}

export type Table = Readonly<Record<string, unknown>>;

/** Settings of config.yaml, nested as there. */
export type Settings = Record<string, unknown>;

/**
 * The result of a rule for a key's value: the settings to import, or the reason why there are no settings.
 */
export type Mapped =
  | {
      readonly set: Readonly<Record<string, unknown>>;
      /** Keys below this one that were left out: the path from here, and why. */
      readonly except?: readonly (readonly [path: readonly string[], why: string])[];
    }
  | { readonly inherent: string }
  | { readonly left: string };

/** Maps a key that applies without a setting, whatever its value. */
export const inherent = (note: string) => (): Mapped => ({ inherent: note });

/** Leaves a key out, whatever its value. */
export const left = (note: string) => (): Mapped => ({ left: note });

/** Maps a value to a setting without a change. */
export const set =
  (setting: string) =>
  (value: unknown): Mapped => ({ set: { [setting]: value } });

export interface Rule {
  /** The key's path, matched at its end; `*` matches any one component. */
  readonly path: readonly string[];
  readonly map: (value: unknown, path: readonly string[], whole: Table) => Mapped;
}

export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/**
 * Applies the first rule that matches each key, outermost keys first. If a key has no rule, the keys below it
 * are checked. A setting's name is dotted: `cni.confDir`.
 */
export function applyRules(
  whole: Table,
  rules: readonly Rule[],
): { readonly settings: Settings; readonly findings: readonly Finding[] } {
  const settings: Settings = {};
  const findings: Finding[] = [];
  const visit = (table: Table, at: readonly string[]): void => {
    for (const [name, value] of Object.entries(table)) {
      const path = [...at, name];
      const rule = rules.find((one) => matches(one.path, path));
      const key = keyOf(path);
      if (rule === undefined) {
        if (isTable(value)) visit(value, path);
        else findings.push({ key, ...withoutRule(path, value) });
        continue;
      }
      const mapped = withoutDefault(path, value, rule.map(value, path, whole));
      if ('inherent' in mapped) findings.push({ key, outcome: 'inherent', note: mapped.inherent });
      else if ('left' in mapped) findings.push({ key, outcome: 'left', note: mapped.left });
      else {
        for (const [setting, taken] of Object.entries(mapped.set)) put(settings, setting.split('.'), taken);
        findings.push({ key, outcome: 'taken', note: Object.keys(mapped.set).join(', ') });
        for (const [below, why] of mapped.except ?? [])
          findings.push({ key: keyOf([...path, ...below]), outcome: 'left', note: why });
      }
    }
  };
  visit(whole, []);
  return { settings, findings };
}

const noSetting = 'Portcullis has no such setting';
const noValue = 'it has no value: the default applies';
const printedDefault = 'it is the default of the other runtime, and Portcullis needs no such setting';

const keyOf = (path: readonly string[]): string =>
  path.map((step) => (/^[A-Za-z0-9_-]+$/.test(step) ? step : JSON.stringify(step))).join('.');

/**
 * Returns the keys of a table that have a value and are not among `read`, with the reason from `notes`. An
 * empty value or a zero means the default in the files of containerd and CRI-O.
 * @param read names of keys; of a nested table, `options.BinaryName`
 */
export function unreadKeys(
  table: Table,
  read: readonly string[],
  notes: Readonly<Record<string, string>> = {},
  at: readonly string[] = [],
): readonly (readonly [path: readonly string[], why: string])[] {
  return Object.entries(table).flatMap(([name, value]) => {
    const path = [...at, name];
    const dotted = path.join('.');
    if (read.includes(dotted) || isDefault(value) || isPrintedDefault(path, value)) return [];
    const note = Object.hasOwn(notes, dotted) ? notes[dotted] : undefined;
    if (note === undefined && isTable(value)) return unreadKeys(value, read, notes, path);
    return [[path, note ?? noSetting] as const];
  });
}

function isDefault(value: unknown): boolean {
  if (isTable(value)) return Object.values(value).every(isDefault);
  return Array.isArray(value) ? value.length === 0 : [undefined, '', 0, 0n, false].includes(value as string);
}

function withoutRule(path: readonly string[], value: unknown): Pick<Finding, 'outcome' | 'note'> {
  if (isDefault(value)) return { outcome: 'inherent', note: noValue };
  if (isPrintedDefault(path, value)) return { outcome: 'inherent', note: printedDefault };
  return { outcome: 'left', note: noSetting };
}

/** A value that means the default loses nothing if it is left out, and an empty text is not a setting. */
function withoutDefault(path: readonly string[], value: unknown, mapped: Mapped): Mapped {
  const hasNothing = 'left' in mapped ? isDefault(value) : 'set' in mapped && value === '';
  if (hasNothing) return { inherent: noValue };
  return 'left' in mapped && isPrintedDefault(path, value) ? { inherent: printedDefault } : mapped;
}

function matches(rule: readonly string[], path: readonly string[]): boolean {
  const offset = path.length - rule.length;
  return offset >= 0 && rule.every((step, index) => step === '*' || step === path[offset + index]);
}

/** Names from the file can have any value, so they must not reach a prototype. */
function put(settings: Settings, path: readonly string[], value: unknown): void {
  const [first = '', ...rest] = path;
  const own = Object.hasOwn(settings, first) ? settings[first] : undefined;
  const next =
    rest.length === 0
      ? isTable(own) && isTable(value)
        ? { ...own, ...value }
        : value
      : { ...(isTable(own) ? own : {}) };
  if (rest.length > 0) put(next as Settings, rest, value);
  Object.defineProperty(settings, first, {
    value: next,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}
