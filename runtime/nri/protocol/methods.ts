import declaration from './contract.json' with { type: 'json' };
import { methodKey, parseDeclaration } from '../../../base/protobuf/index.ts';
import type { MessageCodec } from '../../../base/protobuf/index.ts';
import { ttrpcMethods } from '../../../base/ttrpc/index.ts';
import type { TtrpcMethod } from '../../../base/ttrpc/index.ts';
import type { Plugin, Runtime } from './contract.types.ts';
import { unknownFields } from './unknown-fields.ts';

/** The version of NRI whose names and numbers the contract has. */
export const nriVersion = 'v0.12.2';

/**
 * The parsed contract of NRI: package `nri.pkg.api.v1alpha1`, without the functions for WebAssembly plugins.
 */
export const nriContract = parseDeclaration(declaration);

type Methods<Service extends Record<keyof Service, { request: unknown; response: unknown }>> = {
  readonly [Key in keyof Service]: TtrpcMethod<Service[Key]['request'], Service[Key]['response']>;
};

const unknown = new WeakMap<object, readonly string[]>();

/**
 * Returns the fields of a plugin's message that this contract does not have, as paths. A plugin with a newer
 * version of NRI may set such fields, and they must not be ignored without a message.
 */
export function unknownFieldsOf(message: object): readonly string[] {
  return unknown.get(message) ?? [];
}

/** The service that a plugin serves. */
export const pluginMethods = methodsOf('Plugin', 'response') as Methods<Plugin>;

/** The service that the runtime serves. */
export const runtimeMethods = methodsOf('Runtime', 'request') as Methods<Runtime>;

/** @param heard the message that a plugin sends, of each method */
function methodsOf(service: string, heard: 'request' | 'response'): object {
  const method = ttrpcMethods(nriContract);
  const all = (nriContract.services.get(service) ?? []).map((each) => {
    const made = method<object, object>(service, each.name);
    return [methodKey(each.name), { ...made, [heard]: noting(made[heard], each[heard]) }];
  });
  return Object.fromEntries(all) as object;
}

/** Returns a codec that keeps the unknown fields of each message that it decodes. */
function noting(codec: MessageCodec<object>, message: string): MessageCodec<object> {
  return {
    ...codec,
    decode: (bytes) => {
      const value = codec.decode(bytes);
      const found = unknownFields(nriContract, message, bytes);
      if (found.length > 0) unknown.set(value, found);
      return value;
    },
  };
}
