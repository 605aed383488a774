export type PodNamespace = 'net' | 'ipc' | 'uts';

/** All namespaces that a pod can have separately from the host, without that of users. */
export const podNamespaces: readonly PodNamespace[] = ['net', 'ipc', 'uts'];
