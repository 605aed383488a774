/** Where a repository's files come from. */
export interface TufSource {
  /**
   * @param name as the repository files it: `timestamp.json`, `3.root.json`, `targets/releases.<sha256>.json`
   * @param mostBytes more is refused before it is read
   * @returns undefined when there is no such file
   * @throws TRUST_TUF_UNREACHABLE · TRUST_TUF_TOO_LARGE · TRUST_TUF_TOO_SLOW
   */
  fetch(name: string, mostBytes: number): Promise<Buffer | undefined>;
}

/** What a client has believed, kept between its updates: role name → the file's bytes. */
export interface TufStore {
  load(role: string): Promise<Buffer | undefined>;
  /** Durable when it resolves. */
  save(role: string, bytes: Buffer): Promise<void>;
}

/** Largest sizes and counts that a repository may ask of a client. */
export interface TufLimits {
  readonly rootBytes: number;
  readonly timestampBytes: number;
  /** Of snapshot and targets where the signed length is not given. */
  readonly unsizedBytes: number;
  /** Of any file, whatever length was signed. */
  readonly metadataBytes: number;
  readonly newRoots: number;
  /** Roles that one look-up may visit. */
  readonly roles: number;
}

export const defaultLimits: TufLimits = {
  rootBytes: 512 * 1024,
  timestampBytes: 64 * 1024,
  unsizedBytes: 8 * 1024 * 1024,
  metadataBytes: 100 * 1024 * 1024,
  newRoots: 256,
  roles: 64,
};
