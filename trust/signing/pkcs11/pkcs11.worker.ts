import { attributes, loadCryptoki, objectClasses, ulong } from './cryptoki.ts';
import type { Attribute, Cryptoki } from './cryptoki.ts';
import type { Answer, Question, TokenKey } from './messages.ts';
import type { Pkcs11Uri } from './uri.ts';

/** Accesses one token. PKCS #11 modules block, and some never return: nothing else runs in this process. */
let opened:
  | {
      readonly module: Cryptoki;
      readonly session: bigint;
      readonly key: bigint;
      readonly pin: Buffer;
      readonly always: boolean;
    }
  | undefined;

const keyTypes: Readonly<Record<string, TokenKey['type']>> = { '0': 'rsa', '3': 'ec', '64': 'ed' };

function answer(question: Question): Answer {
  switch (question.kind) {
    case 'open':
      return { key: open(question.uri, Buffer.from(question.pin)) };
    case 'sign': {
      if (opened === undefined) throw new Error('no token is open');
      const { module, session, key, pin, always } = opened;
      const parameter = question.parameter === undefined ? null : Buffer.from(question.parameter);
      const login = (): void => {
        if (always) module.login(session, 2, pin);
      };
      return {
        signature: module.sign(
          session,
          key,
          question.mechanism,
          parameter,
          Buffer.from(question.data),
          login,
        ),
      };
    }
    case 'close':
      opened?.pin.fill(0);
      opened?.module.close(opened.session);
      opened = undefined;
      return { done: true };
  }
}

function open(uri: Pkcs11Uri, pin: Buffer): TokenKey {
  const module = loadCryptoki(uri.modulePath);
  const fitting = module.slots().filter((slot) => fits(uri, slot, module.token(slot)));
  if (fitting.length !== 1)
    throw new Error(
      `${fitting.length === 0 ? 'no token matches' : `${fitting.length} tokens match`} the URI`,
    );
  const slot = fitting[0] as bigint;
  const session = module.open(slot);
  try {
    module.login(session, 1, pin);
    const name: Attribute[] = [
      ...(uri.object === undefined ? [] : [{ type: attributes.label, value: Buffer.from(uri.object) }]),
      ...(uri.id === undefined ? [] : [{ type: attributes.id, value: Buffer.from(uri.id) }]),
    ];
    const find = (kind: keyof typeof objectClasses, by: readonly Attribute[]): readonly bigint[] =>
      module.find(session, [{ type: attributes.class, value: ulong(objectClasses[kind]) }, ...by]);
    const keys = find('privateKey', name);
    const [key] = keys;
    if (key === undefined || keys.length !== 1)
      throw new Error(
        `${keys.length === 0 ? 'no private key matches' : `${keys.length} private keys match`} the URI`,
      );
    const read = (object: bigint | undefined, type: bigint): Buffer | undefined =>
      object === undefined ? undefined : module.attribute(session, object, type);
    // The token stores the public key and the certificate under the id of the key, or under its name.
    const id = read(key, attributes.id);
    const by = id === undefined || id.length === 0 ? name : [{ type: attributes.id, value: id }];
    const [publicKey] = find('publicKey', by);
    const [certificate] = find('certificate', by);
    const kind = keyTypes[String(read(key, attributes.keyType)?.readBigUInt64LE())];
    if (kind === undefined) throw new Error('the key is neither RSA nor of an elliptic curve');
    const always = (read(key, attributes.alwaysAuthenticate)?.[0] ?? 0) !== 0;
    opened = { module, session, key, pin, always };
    const value = (type: bigint): Buffer | undefined => read(publicKey, type) ?? read(key, type);
    const parts = {
      modulus: value(attributes.modulus),
      publicExponent: value(attributes.publicExponent),
      ecParams: value(attributes.ecParams),
      ecPoint: value(attributes.ecPoint),
      certificate: read(certificate, attributes.value),
    };
    return {
      token: module.token(slot).label,
      type: kind,
      ...Object.fromEntries(Object.entries(parts).filter(([, bytes]) => bytes !== undefined)),
    };
  } catch (error) {
    module.close(session);
    throw error;
  }
}

function fits(uri: Pkcs11Uri, slot: bigint, token: ReturnType<Cryptoki['token']>): boolean {
  const same = (wanted: string | undefined, has: string): boolean => wanted === undefined || wanted === has;
  return (
    same(uri.token, token.label) &&
    same(uri.serial, token.serial) &&
    same(uri.manufacturer, token.manufacturer) &&
    same(uri.model, token.model) &&
    (uri.slotId === undefined || BigInt(uri.slotId) === slot)
  );
}

process.on('message', (question: Question) => {
  let reply: Answer;
  try {
    reply = answer(question);
  } catch (error) {
    reply = { problem: error instanceof Error ? error.message : String(error) };
  }
  process.send?.(reply);
});
// The command has ended.
process.on('disconnect', () => process.exit());
