/**
 * Scalar types of a declaration. `nanoseconds` is an int64 on the wire and is decoded as a bigint, so that a
 * time stays exact.
 */
export const scalarTypes = [
  'string',
  'bytes',
  'bool',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'nanoseconds',
  'double',
] as const;
export type ScalarType = (typeof scalarTypes)[number];

export type FieldType =
  | { readonly kind: 'scalar'; readonly scalar: ScalarType }
  | { readonly kind: 'enum'; readonly name: string }
  | { readonly kind: 'message'; readonly name: string }
  /** Keys are strings. The contract has no other maps. */
  | { readonly kind: 'map'; readonly value: FieldType };

export interface Field {
  readonly name: string;
  readonly id: number;
  readonly type: FieldType;
  readonly repeated: boolean;
}

export interface Method {
  /** The name on the wire: `RunPodSandbox`. */
  readonly name: string;
  readonly request: string;
  readonly response: string;
  readonly responseStream: boolean;
}

/** A protobuf contract: the parsed form of a {@link Declaration}. */
export interface Contract {
  readonly package: string;
  readonly services: ReadonlyMap<string, readonly Method[]>;
  readonly enums: ReadonlyMap<string, Readonly<Record<string, number>>>;
  /** Fields in order of their number. */
  readonly messages: ReadonlyMap<string, readonly Field[]>;
}

/**
 * The written form of a contract: a method is `"Request [stream ]Response"`, a field is `"NUMBER [repeated
 * ]TYPE"`, where TYPE is a scalar, an enum, a message or `map<string,TYPE>`. All fields have proto3's
 * implicit presence.
 */
export interface Declaration {
  readonly package: string;
  readonly services?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly enums?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly messages: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/**
 * Parses and cross-checks a declaration. Throws a plain `Error`, because a wrong declaration is an error of
 * this source tree, never of input.
 */
export function parseDeclaration(declaration: Declaration): Contract {
  const enums = new Map(Object.entries(declaration.enums ?? {}));
  const names = new Set(Object.keys(declaration.messages));
  const messages = new Map(
    Object.entries(declaration.messages).map(([message, fields]) => {
      const parsed = Object.entries(fields).map(([name, text]) =>
        parseField(`${message}.${name}`, name, text, names, enums),
      );
      if (new Set(parsed.map((field) => field.id)).size !== parsed.length)
        throw new Error(`${message}: two fields share a number`);
      return [message, parsed.sort((a, b) => a.id - b.id)] as const;
    }),
  );
  const services = new Map(
    Object.entries(declaration.services ?? {}).map(([service, methods]) => {
      return [
        service,
        Object.entries(methods).map(([name, text]) => parseMethod(`${service}.${name}`, name, text, names)),
      ] as const;
    }),
  );
  return { package: declaration.package, services, enums, messages };
}

function parseField(
  at: string,
  name: string,
  text: string,
  messages: ReadonlySet<string>,
  enums: ReadonlyMap<string, unknown>,
): Field {
  const match = /^([1-9]\d*) (repeated )?(\S+)$/.exec(text);
  if (match === null) throw new Error(`${at}: unreadable field "${text}"`);
  return {
    name,
    id: Number(match[1]),
    repeated: match[2] !== undefined,
    type: parseType(at, match[3] ?? '', messages, enums),
  };
}

function parseType(
  at: string,
  text: string,
  messages: ReadonlySet<string>,
  enums: ReadonlyMap<string, unknown>,
): FieldType {
  const map = /^map<string,(\w+)>$/.exec(text);
  if (map !== null) return { kind: 'map', value: parseType(at, map[1] ?? '', messages, enums) };
  const scalar = scalarTypes.find((candidate) => candidate === text);
  if (scalar !== undefined) return { kind: 'scalar', scalar };
  if (messages.has(text)) return { kind: 'message', name: text };
  if (enums.has(text)) return { kind: 'enum', name: text };
  throw new Error(`${at}: unknown type "${text}"`);
}

function parseMethod(at: string, name: string, text: string, messages: ReadonlySet<string>): Method {
  const match = /^(\w+) (stream )?(\w+)$/.exec(text);
  const [, request, stream, response] = match ?? [];
  if (request === undefined || response === undefined || !messages.has(request) || !messages.has(response)) {
    throw new Error(`${at}: unreadable method "${text}"`);
  }
  return { name, request, response, responseStream: stream !== undefined };
}

/** Converts `RunPodSandbox` to `runPodSandbox`. */
export function methodKey(name: string): string {
  return name.slice(0, 1).toLowerCase() + name.slice(1);
}
