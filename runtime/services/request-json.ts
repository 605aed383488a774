import type { Field, FieldType } from '../../base/protobuf/index.ts';
import { criContract } from '../cri/contract/services.ts';

/** Fields whose names in the declaration of cri-api are not in the usual form. */
const writtenNames: Readonly<Record<string, string>> = {
  CDIDevices: 'CDI_devices',
  uidMappings: 'uidMappings',
  gidMappings: 'gidMappings',
};

/**
 * Returns a message of the contract as containerd prints it in `info`: with the field names of the
 * declaration, such as `log_path`, and without default values (the `json` tags of cri-api). Programs read
 * these names, for example whether a container is privileged. Bytes are printed as text.
 * @param message its name in the contract
 */
export function requestJson(message: string, value: object): Record<string, unknown> {
  const of = value as Readonly<Record<string, unknown>>;
  return Object.fromEntries(
    (criContract.messages.get(message) ?? []).flatMap((field): [string, unknown][] => {
      const given = of[field.name];
      return isDefault(field, given) ? [] : [[writtenName(field.name), fieldJson(field, given)]];
    }),
  );
}

const defaults: ReadonlySet<unknown> = new Set([false, 0, 0n, '']);

const writtenName = (name: string): string =>
  writtenNames[name] ?? name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function isDefault({ type, repeated }: Field, value: unknown): boolean {
  if (value === undefined || value === null) return true;
  if (repeated) return (value as readonly unknown[]).length === 0;
  if (type.kind === 'map') return Object.keys(value).length === 0;
  return value instanceof Uint8Array ? value.length === 0 : defaults.has(value);
}

function fieldJson({ type, repeated }: Field, value: unknown): unknown {
  if (repeated) return (value as readonly unknown[]).map((one) => valueJson(type, one));
  return valueJson(type, value);
}

function valueJson(type: FieldType, value: unknown): unknown {
  if (type.kind === 'message') return requestJson(type.name, value as object);
  if (type.kind === 'map')
    return Object.fromEntries(
      Object.entries(value as object).map(([key, one]) => [key, valueJson(type.value, one)]),
    );
  return value instanceof Uint8Array ? Buffer.from(value).toString() : value;
}
