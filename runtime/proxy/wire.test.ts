import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import protobuf from 'protobufjs/minimal.js';
import { criCodec } from '../cri/contract/services.ts';
import type { CreateContainerRequest, Image } from '../cri/contract/contract.types.ts';
import { editMessage } from './wire.ts';

const requests = criCodec<CreateContainerRequest>('CreateContainerRequest');
const images = criCodec<Image>('Image');

/** A field with a number that the contract does not use, of any wire type. */
const unknownField = fc
  .record({
    id: fc.integer({ min: 500, max: 100_000 }),
    wireType: fc.constantFrom(0, 1, 2, 5),
    value: fc.uint8Array({ minLength: 8, maxLength: 8 }),
  })
  .map(({ id, wireType, value }) => {
    const writer = protobuf.Writer.create().uint32(((id << 3) | wireType) >>> 0);
    if (wireType === 0) writer.uint32(value[0] ?? 0);
    else if (wireType === 1) writer.fixed64(value[0] ?? 0);
    else if (wireType === 2) writer.bytes(value);
    else writer.fixed32(value[0] ?? 0);
    return Buffer.from(writer.finish());
  });

const context = criCodec('LinuxContainerSecurityContext');

function wrap(id: number, payload: Uint8Array): Buffer {
  return Buffer.from(
    protobuf.Writer.create()
      .uint32((id << 3) | 2)
      .bytes(payload)
      .finish(),
  );
}

describe('changes of encoded messages', () => {
  it('keeps unknown fields at every level', () => {
    fc.assert(
      fc.property(
        fc.array(unknownField, { maxLength: 4 }),
        fc.array(unknownField, { maxLength: 4 }),
        (a, b) => {
          const security = Buffer.concat([...b, context.encode({ readonlyRootfs: true })]);
          const config = Buffer.concat([wrap(15, wrap(2, security)), ...a]);
          const bytes = Buffer.concat([...b, wrap(2, config), ...a]);
          const edited = editMessage(bytes, {
            message: 'CreateContainerRequest',
            fields: {
              config: {
                into: {
                  message: 'ContainerConfig',
                  fields: {
                    image: { into: { message: 'ImageSpec', fields: { image: { set: 'sha256:1' } } } },
                    linux: {
                      into: {
                        message: 'LinuxContainerConfig',
                        fields: {
                          securityContext: {
                            into: {
                              message: 'LinuxContainerSecurityContext',
                              fields: { noNewPrivs: { set: true } },
                            },
                          },
                        },
                      },
                    },
                  },
                },
              },
            },
          });
          const read = requests.decode(edited).config;
          assert.equal(read?.image?.image, 'sha256:1');
          assert.equal(read.linux?.securityContext?.noNewPrivs, true);
          assert.equal(read.linux.securityContext.readonlyRootfs, true);
          for (const field of [...a, ...b]) assert.ok(edited.includes(field));
          assert.ok(edited.subarray(0, Buffer.concat(b).length).equals(Buffer.concat(b)));
        },
      ),
    );
  });

  it('does not change a message without edits', () => {
    fc.assert(
      fc.property(fc.array(unknownField, { maxLength: 8 }), (fields) => {
        const bytes = Buffer.concat(fields);
        assert.deepEqual(editMessage(bytes, { message: 'Image', fields: {} }), bytes);
      }),
    );
  });

  it('merges a message that occurs twice before it changes the message', () => {
    const twice = Buffer.concat([
      wrap(2, wrap(15, wrap(2, context.encode({ readonlyRootfs: true })))),
      wrap(2, wrap(15, wrap(2, context.encode({ privileged: true })))),
    ]);
    const edited = editMessage(twice, {
      message: 'CreateContainerRequest',
      fields: {
        config: {
          into: {
            message: 'ContainerConfig',
            fields: {
              linux: {
                into: {
                  message: 'LinuxContainerConfig',
                  fields: {
                    securityContext: {
                      into: {
                        message: 'LinuxContainerSecurityContext',
                        fields: { privileged: { set: false } },
                      },
                    },
                  },
                },
              },
            },
          },
        },
      },
    });
    const security = requests.decode(edited).config?.linux?.securityContext;
    assert.equal(security?.privileged, false);
    assert.equal(security.readonlyRootfs, true);
  });

  it('replaces a repeated field as a whole, and changes each message of a repeated field', () => {
    const bytes = images.encode({ id: 'i', repoTags: ['a', 'b'], repoDigests: ['d'] });
    const edited = editMessage(bytes, { message: 'Image', fields: { repoTags: { set: ['c'] } } });
    assert.deepEqual(images.decode(edited).repoTags, ['c']);
    assert.deepEqual(images.decode(edited).repoDigests, ['d']);
    const list = criCodec<{ images: Image[] }>('ListImagesResponse');
    const changed = editMessage(list.encode({ images: [{ id: 'a' }, { id: 'b' }] }), {
      message: 'ListImagesResponse',
      fields: {
        images: {
          each: (image, index) =>
            editMessage(image, { message: 'Image', fields: { username: { set: `u${index}` } } }),
        },
      },
    });
    assert.deepEqual(
      list.decode(changed).images.map(({ id, username }) => [id, username]),
      [
        ['a', 'u0'],
        ['b', 'u1'],
      ],
    );
  });

  it('refuses a tag that the backend could read as another field', () => {
    // privileged: true, and a tag that is the one of `privileged: false` in its lower 32 bits.
    const bytes = Buffer.from('1001908080801000', 'hex');
    assert.throws(() => context.decode(bytes));
    const edits = { message: 'LinuxContainerSecurityContext', fields: { noNewPrivs: { set: true } } };
    assert.throws(() => editMessage(bytes, edits), RangeError);
  });

  it('needs no memory for unchanged fields', async () => {
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData).then(({ editMessage }) => {
        const bytes = Buffer.alloc(4 * 1024 * 1024, Buffer.from([15 << 3, 1]));
        const edits = { message: 'CreateContainerRequest', fields: { podSandboxId: { set: 'x' } } };
        parentPort.postMessage(editMessage(bytes, edits).length - bytes.length);
      });`;
    const worker = new Worker(code, {
      eval: true,
      workerData: new URL('wire.ts', import.meta.url).href,
      resourceLimits: { maxOldGenerationSizeMb: 64 },
    });
    assert.deepEqual(await once(worker, 'message'), [3]);
    await worker.terminate();
  });

  it('refuses bytes that are not a message', () => {
    for (const bytes of ['08', '0a05', '0003', '0f', '0b0b0b'].map((hex) => Buffer.from(hex, 'hex')))
      assert.throws(
        () => editMessage(bytes, { message: 'Image', fields: {} }),
        RangeError,
        bytes.toString('hex'),
      );
  });
});
