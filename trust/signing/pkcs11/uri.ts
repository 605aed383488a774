import { PortcullisError } from '../../../base/errors/index.ts';

/** Selects a key of a token behind a module (RFC 7512). Absent fields match everything. */
export interface Pkcs11Uri {
  readonly modulePath: string;
  readonly token?: string;
  readonly serial?: string;
  readonly manufacturer?: string;
  readonly model?: string;
  readonly slotId?: number;
  /** The key's label. */
  readonly object?: string;
  /** The key's CKA_ID. */
  readonly id?: Buffer;
  /** A file whose first line is the PIN. */
  readonly pinFile?: string;
}

const known: readonly string[] = [
  'token',
  'serial',
  'manufacturer',
  'model',
  'slot-id',
  'object',
  'id',
  'type',
  'module-path',
  'pin-source',
];

/** Other programs also read `pin-value` in the path, as drafts of RFC 7512 wrote it. */
const pinValue = /^pin[-_]?(?:value)?=/iu;

/** Returns the path of a URI, up to an attribute that is a PIN. */
const shown = (text: string): string => text.split(/\?|[:;&]pin[-_]?(?:value)?=/iu, 1)[0] ?? '';

/**
 * Reports whether the text is a PKCS #11 URI, and not a file name. The case of a scheme does not matter (RFC
 * 3986, section 3.1).
 */
export function isPkcs11Uri(text: string): boolean {
  return /^pkcs11:/iu.test(text);
}

/**
 * Reads `pkcs11:token=…;object=…?module-path=…&pin-source=file:…`. A PIN in the URI (`pin-value`) is refused:
 * any process may read the arguments of another.
 * @throws PortcullisError `TRUST_PKCS11_URI`
 */
export function parsePkcs11Uri(text: string): Pkcs11Uri {
  const fail = (why: string, fix: string): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_PKCS11_URI',
      kind: 'invalid',
      attempted: 'read PKCS #11 URI',
      on: shown(text),
      why,
      fix,
    });
  const form = 'write pkcs11:token=NAME;object=LABEL?module-path=/usr/lib/….so&pin-source=file:/path';
  const [, path = '', query = ''] = /^pkcs11:([^?]*)(?:\?(.*))?$/is.exec(text) ?? [];
  if (!isPkcs11Uri(text)) throw fail('it does not begin with "pkcs11:"', form);
  const attributes = new Map<string, Buffer>();
  for (const part of [...path.split(';'), ...query.split('&')]) {
    if (part === '') continue;
    const [, name, value] = /^([a-z-]+)=(.*)$/s.exec(part) ?? [];
    if (pinValue.test(part))
      throw fail(
        'it contains a PIN, which any process could read',
        'write the PIN into a file of mode 0600 and name it: pin-source=file:/path',
      );
    if (name === undefined || value === undefined || !known.includes(name))
      throw fail(`it has the unknown attribute "${(part.split('=', 1)[0] ?? '').slice(0, 40)}"`, form);
    if (attributes.has(name)) throw fail(`it has ${name} twice`, form);
    const bytes = decode(value);
    if (bytes === undefined) throw fail(`its ${name} is not correctly percent-encoded`, form);
    attributes.set(name, bytes);
  }
  const words = (name: string): string | undefined => attributes.get(name)?.toString('utf8');
  const modulePath = words('module-path');
  if (modulePath === undefined || !modulePath.startsWith('/'))
    throw fail('it names no module by an absolute path', form);
  if ((words('type') ?? 'private') !== 'private') throw fail('its type is not "private"', form);
  const slot = words('slot-id');
  if (slot !== undefined && !/^\d{1,9}$/.test(slot)) throw fail('its slot-id is not a number', form);
  const id = attributes.get('id');
  if (words('object') === undefined && id === undefined)
    throw fail('it names no key: neither object nor id', form);
  const pinFile = words('pin-source')?.replace(/^file:(\/\/)?/, '');
  if (pinFile !== undefined && (pinFile === '' || pinFile.startsWith('|')))
    throw fail('its pin-source is not a file', form);
  return {
    modulePath,
    ...optional('token', words('token')),
    ...optional('serial', words('serial')),
    ...optional('manufacturer', words('manufacturer')),
    ...optional('model', words('model')),
    ...optional('slotId', slot === undefined ? undefined : Number(slot)),
    ...optional('object', words('object')),
    ...optional('id', id),
    ...optional('pinFile', pinFile),
  };
}

function optional<K extends string, V>(name: K, value: V | undefined): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [P in K]: V });
}

function decode(text: string): Buffer | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return undefined;
  const parts = text.match(/%[0-9A-Fa-f]{2}|[^%]+/g) ?? [];
  return Buffer.concat(
    parts.map((part) =>
      part.startsWith('%') ? Buffer.from(part.slice(1), 'hex') : Buffer.from(part, 'utf8'),
    ),
  );
}
