/** The source of a repository's files. */
export interface TufSource {
  /**
   * Fetches a file.
   * @param name the file's name in the repository: `timestamp.json`, `3.root.json`,
   * `targets/releases.<sha256>.json`
   * @param mostBytes a larger file is refused before it is read
   * @returns undefined when there is no such file
   * @throws TRUST_TUF_UNREACHABLE · TRUST_TUF_TOO_LARGE · TRUST_TUF_TOO_SLOW
   */
  fetch(name: string, mostBytes: number): Promise<Buffer | undefined>;
}

/** The metadata that a client trusts, kept between its updates: role name → the bytes of the file. */
export interface TufStore {
  load(role: string): Promise<Buffer | undefined>;
  /** Durable when the promise resolves. */
  save(role: string, bytes: Buffer): Promise<void>;
}

/** The largest sizes and counts that a repository may require of a client. */
export interface TufLimits {
  readonly rootBytes: number;
  readonly timestampBytes: number;
  /** For snapshot and targets without a signed length. */
  readonly unsizedBytes: number;
  /** For any file, whatever length was signed. */
  readonly metadataBytes: number;
  readonly newRoots: number;
  /** The number of roles that one lookup may visit. */
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
