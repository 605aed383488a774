import { traced } from '../tracing/spans.ts';
import type { SandboxEffects } from './sandbox-effects.ts';

/** Returns the same effects, with each effect that takes time as a part of its call's trace. */
export function tracedSandboxEffects(effects: SandboxEffects): SandboxEffects {
  const { namespaces, network, files } = effects;
  return {
    ...effects,
    namespaces: {
      ...namespaces,
      claim: (...given) => traced('namespaces', () => namespaces.claim(...given)),
    },
    network: {
      ...network,
      attach: (...given) => traced('network attach', () => network.attach(...given)),
      detach: (...given) => traced('network detach', () => network.detach(...given)),
    },
    files: { ...files, make: (...given) => traced('files', () => files.make(...given)) },
  };
}
