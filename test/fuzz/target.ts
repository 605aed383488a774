/** Targets that belong together: `--group NAME` fuzzes one of these. */
export type FuzzGroup = 'images' | 'trust' | 'entitlements' | 'runtime' | 'network';

/** One reader of outside input. */
export interface FuzzTarget {
  /** Names its corpus folder, too. */
  readonly name: string;
  readonly group: FuzzGroup;
  /** Valid inputs, and inputs that once were wrong. The corpus folder adds to these. */
  readonly seeds: () => readonly (string | Uint8Array)[] | Promise<readonly (string | Uint8Array)[]>;
  /** Words of the format, which random bytes would hardly ever form. */
  readonly words?: readonly string[];
  /**
   * Reads the input and returns what was understood. Throws a PortcullisError or a plain Error with a sentence when it refuses the input;
   * any other error (TypeError, RangeError, SyntaxError …) is a finding.
   */
  readonly read: (bytes: Buffer) => unknown;
  /** Where the common limits of time and memory do not fit, others, and why. */
  readonly allows?: { readonly slowMs: number; readonly memoryFactor: number; readonly why: string };
}

/** YAML is read with the position of every value, by a library that makes a tree of it. */
export const yamlLimits = {
  slowMs: 2500,
  memoryFactor: 300,
  why: 'a megabyte of YAML takes about a second and 60 times its size, up to 300 times where every second byte is wrong: only files of root are read, in parts or up to 1 MiB',
} as const;
