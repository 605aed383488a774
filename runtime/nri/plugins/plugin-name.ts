import { PortcullisError } from '../../../base/errors/index.ts';

/** The identity of a plugin. Plugins are called in the order of their indexes. */
export interface PluginName {
  /** Two digits. */
  readonly index: string;
  /** Such as `device-injector`. */
  readonly base: string;
}

/** Returns `10-device-injector`. */
export function indexedName({ index, base }: PluginName): string {
  return `${index}-${base}`;
}

/**
 * Returns the index and name from the file name of a plugin; undefined if the file name does not have this
 * form.
 */
export function parsePluginName(file: string): PluginName | undefined {
  const match = /^([0-9]{2})-([A-Za-z0-9_.+-]{1,128})$/.exec(file);
  const [, index = '', base = ''] = match ?? [];
  return match === null ? undefined : { index, base };
}

/** A registration that is not accepted. The plugin gets this error as its answer. */
export function badName(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NRI_BAD_REGISTRATION',
    kind: 'invalid',
    attempted: 'register NRI plugin',
    on: JSON.stringify(on.slice(0, 200)),
    why,
    fix: 'correct the name and index of the plugin',
  });
}
