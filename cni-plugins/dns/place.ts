/** A host network namespace in which names are served: sockets are made inside it and used from here. */
export interface Place {
  readonly realm: string;
  /** Runs synchronous kernel calls in it. */
  inside<T>(body: () => T): T;
}
