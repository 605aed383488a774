/**
 * Returns the annotations by which a shim learns to which pod a task belongs (containerd, internal/cri,
 * annotations.go): the task of the pod itself comes first, and the containers join it.
 */
export function shimAnnotations(
  type: 'sandbox' | 'container',
  sandboxId: string,
  containerName = '',
): Readonly<Record<string, string>> {
  return {
    'io.kubernetes.cri.container-type': type,
    'io.kubernetes.cri.sandbox-id': sandboxId,
    ...(containerName !== '' && { 'io.kubernetes.cri.container-name': containerName }),
  };
}
