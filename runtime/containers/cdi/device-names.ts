import { PortcullisError } from '../../../base/errors/index.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';

/** `vendor/class=device`. */
export interface QualifiedName {
  readonly text: string;
  /** `vendor/class`: the `kind` of a spec. */
  readonly kind: string;
  readonly device: string;
}

/**
 * cri-api ContainerConfig.CDI_devices. Device plugins of older kubelets use annotations instead (CDI,
 * pkg/cdi: AnnotationPrefix).
 */
const annotationPrefix = 'cdi.k8s.io/';
const kindForm = /^[A-Za-z]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\/[A-Za-z]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const deviceForm = /^[A-Za-z0-9]([A-Za-z0-9_.:-]{0,251}[A-Za-z0-9])?$/;
const nameLimit = 1024;

/**
 * Returns every device that a container requests, each once, in order.
 * @throws PortcullisError RUNTIME_BAD_CDI_DEVICE
 */
export function askedCdiDevices(
  config: Pick<ContainerConfig, 'CDIDevices' | 'annotations'>,
): QualifiedName[] {
  const inAnnotations = Object.entries(config.annotations)
    .filter(([key]) => key.startsWith(annotationPrefix))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, value]) => value.split(','));
  const texts = [...new Set([...config.CDIDevices.map(({ name }) => name), ...inAnnotations])];
  if (texts.length > nameLimit) throw badName(`${texts.length} names`, `request ${nameLimit} at most`);
  return texts.map(qualifiedName);
}

/** @throws PortcullisError RUNTIME_BAD_CDI_DEVICE */
export function qualifiedName(text: string): QualifiedName {
  const split = text.indexOf('=');
  const [kind, device] = [text.slice(0, Math.max(split, 0)), text.slice(split + 1)];
  if (!isKind(kind) || !isDeviceName(device))
    throw badName(JSON.stringify(text.slice(0, 300)), 'name it vendor.example/class=device');
  return { text, kind, device };
}

export function isKind(text: string): boolean {
  return kindForm.test(text);
}

export function isDeviceName(text: string): boolean {
  return deviceForm.test(text);
}

function badName(on: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_CDI_DEVICE',
    kind: 'invalid',
    attempted: 'add CDI device',
    on,
    why: 'it is not a qualified device name',
    fix,
  });
}
