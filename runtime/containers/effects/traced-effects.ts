import type { ImageStore } from '../../images/types.ts';
import { traced } from '../../tracing/spans.ts';
import type { Confinement } from '../confinement/confinement.ts';
import type { ContainerEffects } from '../container-effects.ts';

/** Returns the same effects, with each effect that takes time as a part of its call's trace. */
export function tracedContainerEffects(effects: ContainerEffects): ContainerEffects {
  return {
    ...effects,
    admit: (...given) => traced('decide', () => effects.admit(...given)),
    prepare: (...given) => traced('prepare', () => effects.prepare(...given)),
    create: (...given) => traced('runtime create', () => effects.create(...given)),
    raiseNetwork: (...given) => traced('raise network', () => effects.raiseNetwork(...given)),
    start: (...given) => traced('runtime start', () => effects.start(...given)),
    exec: (...given) => traced('runtime exec', () => effects.exec(...given)),
  };
}

export function tracedConfinement(confinement: Confinement): Confinement {
  return { ...confinement, confine: (...given) => traced('confine', () => confinement.confine(...given)) };
}

export function tracedRootfs<Store extends ImageStore>(images: Store): Store {
  return { ...images, mountRootfs: (...given) => traced('rootfs', () => images.mountRootfs(...given)) };
}
