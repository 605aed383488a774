import type { Cluster } from '../nodes/cluster.ts';

/** The environment of a check. */
export interface Context {
  readonly cluster: Cluster;
  /** Signed images, and one without a signature. */
  readonly images: { readonly app: string; readonly next: string; readonly unsigned: string };
}

/** One expectation about the cluster. Checks run one after another, and build on those before. */
export interface Check {
  readonly name: string;
  readonly run: (context: Context) => Promise<void>;
}

/** The Deployment that most checks use, and how many pods it has. */
export const web = { name: 'web', replicas: 6 } as const;
