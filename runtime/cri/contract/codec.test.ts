import fc from 'fast-check';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import protobuf from 'protobufjs/light.js';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { createCodecs, parseDeclaration } from '../../../base/protobuf/index.ts';
import type { Contract, Field, FieldType } from '../../../base/protobuf/index.ts';
import type {
  Container,
  ContainerStatus,
  LinuxContainerResources,
  LinuxContainerUser,
  PodSandboxConfig,
} from './contract.types.ts';
import { criCodec, criContract } from './services.ts';

/** Returns the same contract in protobufjs' own reflection, as an independent implementation. */
function reflect(contract: Contract): protobuf.Root {
  const typeName = (type: FieldType): string => {
    if (type.kind === 'scalar') return type.scalar === 'nanoseconds' ? 'int64' : type.scalar;
    return type.kind === 'map' ? typeName(type.value) : type.name;
  };
  const nested: Record<string, unknown> = {};
  for (const [name, values] of contract.enums) nested[name] = { values, edition: 'proto3' };
  for (const [name, fields] of contract.messages) {
    const members = fields.map((field) => {
      const keyType = field.type.kind === 'map' ? { keyType: 'string' } : {};
      return [
        field.name,
        {
          ...keyType,
          ...(field.repeated ? { rule: 'repeated' } : {}),
          type: typeName(field.type),
          id: field.id,
        },
      ];
    });
    nested[name] = { edition: 'proto3', fields: Object.fromEntries(members) as unknown };
  }
  return protobuf.Root.fromJSON({ nested } as protobuf.INamespace);
}

const root = reflect(criContract);
/** Returns the value as protobufjs decodes it: 64-bit integers as strings, all fields present. */
function reference(name: string, bytes: Uint8Array): Record<string, unknown> {
  return root.lookupType(name).toObject(root.lookupType(name).decode(bytes), {
    longs: String,
    defaults: true,
    arrays: true,
    objects: true,
  });
}

/** Returns our decoded value in the same form. */
function comparable(name: string, value: Record<string, unknown>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const field of criContract.messages.get(name) ?? []) {
    const convert = (item: unknown): unknown => {
      if (item === undefined) return null;
      if (field.type.kind === 'message') return comparable(field.type.name, item as Record<string, unknown>);
      const wide = field.type.kind === 'scalar' && /64|nano/.test(field.type.scalar);
      return wide && (typeof item === 'number' || typeof item === 'bigint') ? item.toString() : item;
    };
    const item = value[field.name];
    result[field.name] = field.repeated ? (item as unknown[]).map(convert) : convert(item);
  }
  return result;
}

function valueOf(type: FieldType, depth: number): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case 'enum':
      return fc.constantFrom(...Object.values(criContract.enums.get(type.name) ?? { NONE: 0 }));
    case 'message':
      return messageOf(type.name, depth + 1);
    case 'map':
      return fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 6 }), valueOf(type.value, depth), {
        maxKeys: 3,
        noNullPrototype: true,
      });
    case 'scalar':
      switch (type.scalar) {
        case 'string':
          return fc.string({ unit: 'grapheme', maxLength: 12 });
        case 'bytes':
          return fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes));
        case 'bool':
          return fc.boolean();
        case 'int32':
          return fc.integer();
        case 'uint32':
          return fc.integer({ min: 0, max: 0xffff_ffff });
        case 'int64':
          return fc.maxSafeInteger();
        case 'uint64':
          return fc.maxSafeNat();
        case 'nanoseconds':
          return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
        case 'double':
          return fc.double({ noNaN: true });
      }
  }
}

function messageOf(name: string, depth = 0): fc.Arbitrary<Record<string, unknown>> {
  const fields = criContract.messages.get(name) ?? [];
  const entry = (field: Field): fc.Arbitrary<unknown> => {
    const value = valueOf(field.type, depth);
    return field.repeated ? fc.array(value, { maxLength: 3 }) : value;
  };
  // Each field may be absent.
  return fc.record(Object.fromEntries(fields.map((field) => [field.name, entry(field)])), {
    requiredKeys: [],
    noNullPrototype: true,
  });
}

const sampled = [
  'PodSandboxConfig',
  'ContainerConfig',
  'ContainerStatus',
  'ListContainersResponse',
  'PullImageRequest',
  'ContainerStats',
  'ExecSyncResponse',
  'StatusResponse',
  'LinuxContainerUser',
];
for (const name of sampled) {
  test(`${name}: protobufjs decodes our encoding to the same value`, () => {
    fc.assert(
      fc.property(messageOf(name), (message) => {
        const codec = criCodec<Record<string, unknown>>(name);
        const bytes = codec.encode(message as never);
        const ours = codec.decode(bytes);
        assert.deepEqual(comparable(name, ours), reference(name, bytes));
        assert.deepEqual(codec.encode(ours as never), bytes);
      }),
      { numRuns: 60 },
    );
  });
}

test('every message of the contract decodes from nothing to its defaults, as in protobufjs', () => {
  for (const name of criContract.messages.keys()) {
    const ours = criCodec<Record<string, unknown>>(name).decode(new Uint8Array());
    assert.deepEqual(comparable(name, ours), reference(name, new Uint8Array()), name);
  }
});

test('times keep their nanoseconds', () => {
  const codec = criCodec<ContainerStatus>('ContainerStatus');
  const createdAt = 1_795_163_535_123_456_789n;
  assert.equal(codec.decode(codec.encode({ createdAt })).createdAt, createdAt);
  assert.equal(codec.decode(codec.encode({ createdAt: String(createdAt) })).createdAt, createdAt);
  assert.equal(codec.decode(codec.encode({ createdAt: 5 })).createdAt, 5n);
});

test('"no limit" (2^63 - 1) is unchanged after reading and writing', () => {
  const codec = criCodec<LinuxContainerResources>('LinuxContainerResources');
  const bytes = codec.encode({ memoryLimitInBytes: 2 ** 63, cpuQuota: -1 });
  assert.equal(reference('LinuxContainerResources', bytes).memoryLimitInBytes, '9223372036854775807');
  assert.deepEqual(codec.encode(codec.decode(bytes)), bytes);
});

test('repeated integers are read both packed and unpacked', () => {
  const codec = criCodec<LinuxContainerUser>('LinuxContainerUser');
  assert.deepEqual(codec.decode(Buffer.from('1a0305ac02', 'hex')).supplementalGroups, [5, 300]);
  assert.deepEqual(codec.decode(Buffer.from('180518ac02', 'hex')).supplementalGroups, [5, 300]);
  assert.equal(codec.encode({ supplementalGroups: [5, 300] }).toString('hex'), '1a0305ac02');
});

test('unknown fields and wrong wire types are skipped; a message given twice is merged', () => {
  const [a, b] = [criCodec<PodSandboxConfig>('PodSandboxConfig'), criCodec<Container>('Container')];
  const unknown = Buffer.from('f23f0378797a', 'hex'); // field 1022, three bytes
  assert.equal(b.decode(Buffer.concat([unknown, b.encode({ id: 'x' }), unknown])).id, 'x');
  assert.equal(b.decode(Buffer.from('0801', 'hex')).id, ''); // field 1 as a varint
  const twice = Buffer.concat([a.encode({ metadata: { name: 'n' } }), a.encode({ metadata: { uid: 'u' } })]);
  assert.deepEqual(a.decode(twice).metadata, { name: 'n', uid: 'u', namespace: '', attempt: 0 });
});

test('a label called __proto__ is a label', () => {
  const codec = criCodec<Container>('Container');
  const labels = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
  const decoded = codec.decode(codec.encode({ labels })).labels;
  assert.deepEqual(Object.entries(decoded), [
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ]);
  assert.equal(Object.getPrototypeOf(decoded), Object.prototype);
});

const unfit: readonly { readonly name: string; readonly value: object; readonly at: string }[] = [
  { name: 'NaN', value: { metadata: { attempt: NaN } }, at: 'Container.metadata.attempt' },
  { name: 'a negative uint32', value: { metadata: { attempt: -1 } }, at: 'Container.metadata.attempt' },
  { name: 'a number as string', value: { id: 7 }, at: 'Container.id' },
  { name: 'a fraction', value: { createdAt: 1.5 }, at: 'Container.createdAt' },
  { name: 'more than 64 bits', value: { createdAt: 2n ** 63n }, at: 'Container.createdAt' },
  { name: 'a label that is not a string', value: { labels: { a: 1 } }, at: 'Container.labels[a]' },
];
for (const { name, value, at } of unfit) {
  test(`refused to encode: ${name}`, () => {
    assert.throws(
      () => criCodec('Container').encode(value),
      (error) => isPortcullisError(error) && error.code === 'PROTOBUF_BAD_FIELD' && error.failure.on === at,
    );
  });
}

test('no bytes crash or hang the decoder: they decode or throw', () => {
  const codec = criCodec('CreateContainerRequest');
  const valid = codec.encode({
    config: { labels: { a: 'b' }, linux: { resources: { cpuQuota: 5 } } },
    podSandboxId: 'p',
  });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(valid.length), (noise, at) => {
      for (const bytes of [noise, Buffer.concat([valid.subarray(0, at), noise]), valid.subarray(0, at)]) {
        try {
          codec.decode(bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof Error);
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test('a length beyond the message is an error, not an empty field', () => {
  const codec = createCodecs(
    parseDeclaration({
      package: 'p',
      messages: { A: { b: '1 B' }, B: { c: '1 string', d: '2 repeated int32' } },
    }),
  )('A');
  for (const hex of ['0aff', '0a050a0178', '0a0312ff01', '0a030a0578'])
    assert.throws(() => codec.decode(Buffer.from(hex, 'hex')), hex);
});
