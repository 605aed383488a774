import declaration from './contract.json' with { type: 'json' };
import { methodKey, parseDeclaration } from '../../../base/protobuf/index.ts';
import { ttrpcMethods } from '../../../base/ttrpc/index.ts';
import type { TtrpcMethod } from '../../../base/ttrpc/index.ts';
import type { CreateContainerResponse, Plugin, Runtime } from './contract.types.ts';
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

/** Returns the fields of an answer to CreateContainer that this contract does not have, as paths. */
export function unknownFieldsOf(response: CreateContainerResponse): readonly string[] {
  return unknown.get(response) ?? [];
}

const ofPlugin = methodsOf('Plugin') as Methods<Plugin>;

/** The service that a plugin serves. */
export const pluginMethods: Methods<Plugin> = {
  ...ofPlugin,
  // A newer NRI has fields that this one does not know. An adjustment must not be lost without a word.
  createContainer: {
    ...ofPlugin.createContainer,
    response: {
      ...ofPlugin.createContainer.response,
      decode: (bytes) => {
        const response = ofPlugin.createContainer.response.decode(bytes);
        const found = unknownFields(nriContract, 'CreateContainerResponse', bytes);
        if (found.length > 0) unknown.set(response, found);
        return response;
      },
    },
  },
};

/** The service that the runtime serves. */
export const runtimeMethods = methodsOf('Runtime') as Methods<Runtime>;

function methodsOf(service: string): object {
  const method = ttrpcMethods(nriContract);
  const all = (nriContract.services.get(service) ?? []).map(({ name }) => [
    methodKey(name),
    method(service, name),
  ]);
  return Object.fromEntries(all) as object;
}
