import { release } from 'node:os';

export interface KernelRelease {
  readonly major: number;
  readonly minor: number;
  /** The value that uname(2) reports: `6.18.44-amd64`. */
  readonly release: string;
}

/** Returns the release of the running kernel. An unreadable version is 0.0. */
export function kernelRelease(): KernelRelease {
  const text = release();
  const match = /^(\d+)\.(\d+)/.exec(text);
  return { major: Number(match?.[1] ?? 0), minor: Number(match?.[2] ?? 0), release: text };
}
