/** A host network namespace in which names are served. Sockets are created inside it and used from here. */
export interface HostNamespace {
  readonly namespaceId: string;
  /** Runs synchronous kernel calls in the namespace. */
  inside<T>(body: () => T): T;
}
