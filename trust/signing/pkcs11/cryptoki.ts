import { withAddresses } from '../../../base/kernel/index.ts';
import { koffi, unterminated } from '../../../base/process/index.ts';

/**
 * The few calls of PKCS #11 (version 2.40) that signing needs, bound through C_GetFunctionList, the one
 * symbol that every module exports. CK_ULONG has eight bytes, as on every 64-bit Linux; structures are plain
 * buffers. Use it only in a separate process: every call may block.
 */
export type Cryptoki = ReturnType<typeof loadCryptoki>;

/** Indexes in CK_FUNCTION_LIST, after its version. */
const places = {
  C_Initialize: 0,
  C_Finalize: 1,
  C_GetSlotList: 4,
  C_GetTokenInfo: 6,
  C_OpenSession: 12,
  C_CloseSession: 13,
  C_Login: 18,
  C_Logout: 19,
  C_GetAttributeValue: 24,
  C_FindObjectsInit: 26,
  C_FindObjects: 27,
  C_FindObjectsFinal: 28,
  C_SignInit: 42,
  C_Sign: 43,
} as const;
type Name = keyof typeof places;
type Value = number | bigint | Buffer | null;

/** Return values that a user can act on; the others are displayed as numbers. */
const words: Readonly<Record<number, string>> = {
  0x05: 'general error of the module',
  0x70: 'the mechanism is not offered by the token',
  0x63: 'the key cannot be used for this operation',
  0x68: 'the key may not sign',
  0xa0: 'the PIN is wrong',
  0xa4: 'the PIN is locked',
  0xe0: 'the token is not present',
  0x101: 'no user is logged in',
};
const alreadyInitialized = 0x191;
const alreadyLoggedIn = 0x100;

export const attributes = {
  class: 0x0n,
  label: 0x3n,
  value: 0x11n,
  id: 0x102n,
  keyType: 0x100n,
  modulus: 0x120n,
  publicExponent: 0x122n,
  ecParams: 0x180n,
  ecPoint: 0x181n,
  alwaysAuthenticate: 0x202n,
} as const;
export const objectClasses = { certificate: 1, publicKey: 2, privateKey: 3 } as const;

export interface Attribute {
  readonly type: bigint;
  readonly value: Buffer;
}

export function ulong(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** Loads a module and binds its functions. They throw an error that describes a failed return value. */
function bindFunctions(path: string) {
  const library = koffi().load(path);
  const getFunctionList = library.func('C_GetFunctionList', 'ulong', ['void *']) as (out: Buffer) => number;
  const out = Buffer.alloc(8);
  check('C_GetFunctionList', getFunctionList(out));
  // CK_VERSION has two bytes; the pointers after it are aligned.
  const list = Buffer.from(koffi().view(out.readBigUInt64LE(), 8 * (1 + places.C_Sign + 1)));

  function bind(name: Name, types: readonly ('ulong' | 'void *')[]): (...values: Value[]) => void {
    const type = unterminated(() => koffi().proto('ulong', [...types]));
    const pointer = list.readBigUInt64LE(8 * (1 + places[name]));
    return (...values) => {
      if (pointer === 0n) throw new Error(`the module has no ${name}`);
      check(name, Number(koffi().call(pointer, type, ...values)));
    };
  }

  return {
    initialize: bind('C_Initialize', ['void *']),
    finalize: bind('C_Finalize', ['void *']),
    getSlotList: bind('C_GetSlotList', ['ulong', 'void *', 'void *']),
    getTokenInfo: bind('C_GetTokenInfo', ['ulong', 'void *']),
    openSession: bind('C_OpenSession', ['ulong', 'ulong', 'void *', 'void *', 'void *']),
    closeSession: bind('C_CloseSession', ['ulong']),
    login: bind('C_Login', ['ulong', 'ulong', 'void *', 'ulong']),
    logout: bind('C_Logout', ['ulong']),
    getAttributeValue: bind('C_GetAttributeValue', ['ulong', 'ulong', 'void *', 'ulong']),
    findObjectsInit: bind('C_FindObjectsInit', ['ulong', 'void *', 'ulong']),
    findObjects: bind('C_FindObjects', ['ulong', 'void *', 'ulong', 'void *']),
    findObjectsFinal: bind('C_FindObjectsFinal', ['ulong']),
    signInit: bind('C_SignInit', ['ulong', 'void *', 'ulong']),
    sign: bind('C_Sign', ['ulong', 'void *', 'ulong', 'void *', 'void *']),
  };
}

/** Loads a PKCS #11 module. @throws Error when the module cannot be loaded */
export function loadCryptoki(path: string) {
  const calls = bindFunctions(path);
  calls.initialize(null);
  return {
    /** Returns the slots with a token. */
    slots(): readonly bigint[] {
      const count = Buffer.alloc(8);
      calls.getSlotList(1, null, count);
      const ids = Buffer.alloc(8 * Math.max(1, Number(count.readBigUInt64LE())));
      calls.getSlotList(1, ids, count);
      return Array.from({ length: Number(count.readBigUInt64LE()) }, (_, index) =>
        ids.readBigUInt64LE(8 * index),
      );
    },
    /** Reads CK_TOKEN_INFO, whose texts are padded with blanks. */
    token(slot: bigint) {
      const info = Buffer.alloc(256);
      calls.getTokenInfo(slot, info);
      const field = (from: number, to: number): string => info.toString('utf8', from, to).trimEnd();
      return {
        label: field(0, 32),
        manufacturer: field(32, 64),
        model: field(64, 80),
        serial: field(80, 96),
      };
    },
    /** Opens a read-only session: CKF_SERIAL_SESSION. */
    open(slot: bigint): bigint {
      const session = Buffer.alloc(8);
      calls.openSession(slot, 4, null, null, session);
      return session.readBigUInt64LE();
    },
    /** Logs in. @param user 1: the token's user, 2: this one operation */
    login(session: bigint, user: 1 | 2, pin: Buffer): void {
      calls.login(session, user, pin, pin.length);
    },
    find(session: bigint, template: readonly Attribute[]): readonly bigint[] {
      withTemplate(template, false, (bytes) => calls.findObjectsInit(session, bytes, template.length));
      try {
        const found = Buffer.alloc(8 * 16);
        const count = Buffer.alloc(8);
        calls.findObjects(session, found, 16, count);
        return Array.from({ length: Number(count.readBigUInt64LE()) }, (_, index) =>
          found.readBigUInt64LE(8 * index),
        );
      } finally {
        calls.findObjectsFinal(session);
      }
    },
    /** Returns the bytes of an attribute; undefined when the object has no such attribute. */
    attribute(session: bigint, object: bigint, type: bigint): Buffer | undefined {
      const ask = (value: Buffer | null): bigint => {
        return withTemplate([{ type, value: value ?? Buffer.alloc(0) }], value === null, (bytes) => {
          calls.getAttributeValue(session, object, bytes, 1);
          return bytes.readBigUInt64LE(16);
        });
      };
      try {
        const length = Number(ask(null));
        if (length > 64 * 1024) return undefined;
        const value = Buffer.alloc(length);
        if (length > 0) ask(value);
        return value;
      } catch {
        return undefined;
      }
    },
    sign(
      session: bigint,
      key: bigint,
      mechanism: number,
      parameter: Buffer | null,
      data: Buffer,
      before: () => void,
    ): Buffer {
      withAddresses([parameter ?? nothing], ([at]) => {
        const bytes = Buffer.concat([
          ulong(mechanism),
          ulong(parameter === null ? 0n : at),
          ulong(parameter?.length ?? 0),
        ]);
        calls.signInit(session, bytes, key);
      });
      before();
      const signature = Buffer.alloc(2048);
      const length = ulong(signature.length);
      calls.sign(session, data, data.length, signature, length);
      return signature.subarray(0, Number(length.readBigUInt64LE()));
    },
    close(session: bigint): void {
      for (const end of [
        () => calls.logout(session),
        () => calls.closeSession(session),
        () => calls.finalize(null),
      ]) {
        try {
          end();
        } catch {
          // The session has ended already.
        }
      }
    },
  };
}

/** The target of a pointer when there is no value. */
const nothing = Buffer.alloc(1);

/** Encodes CK_ATTRIBUTE: type, pointer, length. The values stay referenced until `act` has returned. */
function withTemplate<T>(template: readonly Attribute[], asksLength: boolean, act: (bytes: Buffer) => T): T {
  const values = template.map(({ value }) => (value.length === 0 ? nothing : value));
  return withAddresses(values, (addresses) =>
    act(
      Buffer.concat(
        template.flatMap(({ type, value }, index) => [
          ulong(type),
          ulong(asksLength || value.length === 0 ? 0n : (addresses[index] ?? 0n)),
          ulong(value.length),
        ]),
      ),
    ),
  );
}

function check(name: string, value: number): void {
  if (
    value === 0 ||
    (name === 'C_Initialize' && value === alreadyInitialized) ||
    (name === 'C_Login' && value === alreadyLoggedIn)
  )
    return;
  throw new Error(words[value] ?? `${name} fails with 0x${value.toString(16)}`);
}
