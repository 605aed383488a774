/** Targets that belong together: `--group NAME` fuzzes one of these groups. */
export type FuzzGroup = 'images' | 'trust' | 'entitlements' | 'runtime' | 'network' | 'fleet';

/** One reader of untrusted input. */
export interface FuzzTarget {
  /** Also the name of its corpus folder. */
  readonly name: string;
  readonly group: FuzzGroup;
  /** Valid inputs, and inputs that once were findings. The corpus folder adds to these. */
  readonly seeds: () => readonly (string | Uint8Array)[] | Promise<readonly (string | Uint8Array)[]>;
  /** Words of the format that random bytes hardly ever form. */
  readonly words?: readonly string[];
  /**
   * Reads the input and returns the parsed result. Throws a PortcullisError or a plain Error with a sentence
   * when it refuses the input; any other error (TypeError, RangeError, SyntaxError …) is a finding.
   */
  readonly read: (bytes: Buffer) => unknown;
  /** Other limits of time and memory if the common limits do not fit, and the reason. */
  readonly allows?: { readonly slowMs: number; readonly memoryFactor: number; readonly why: string };
}

/** YAML is read with the position of every value, by a library that builds a tree of it. */
export const yamlLimits = {
  slowMs: 2500,
  memoryFactor: 300,
  why: 'a megabyte of YAML takes about a second and 60 times its size, up to 300 times where every second byte is wrong: only files of root are read, in parts or up to 1 MiB',
} as const;
