import type { Ground, Published } from './ground.ts';

/** The possible defects of a signature. */
export const matters = [
  'good',
  'other identity',
  'other digest',
  'other repository',
  'expired',
  'revoked',
  'missing log entry',
  'flipped byte',
] as const;
export type Matter = (typeof matters)[number];

/** One case: how an image is prepared, and the only correct answer. */
export interface Cell {
  readonly outcome: 'admit' | 'deny';
  /** The reasons must contain one of these codes. */
  readonly codes: readonly string[];
  /** The repository in which the image is published first, below the folder of the row. Default: `in`. */
  readonly folder?: string;
  /** Signs and prepares the image. Returns the image to decide about if it is another one. */
  arrange(image: Published): Promise<Published | undefined>;
  /** Whether the tool accepts it too, or the reason why the tool cannot express the case. */
  readonly judge: ((image: Published) => Promise<boolean>) | string;
}

/** A form of signature at one registry. */
export interface Row {
  readonly name: string;
  /** The folder of its repositories. */
  readonly folder: string;
  /** Rules of a TrustPolicy, in YAML. */
  readonly rules: string;
  /** A case, or the reason why the case cannot exist. */
  readonly cells: Readonly<Record<Matter, Cell | string>>;
  /** Our signature in this form. Absent if we do not sign in this form. */
  readonly ours?: Omit<Cell, 'outcome' | 'codes' | 'folder'>;
}

/** The rows of one tool. */
export interface Tool {
  readonly rows: readonly Row[];
  close(): Promise<void>;
}

export type OpenTool = (ground: Ground) => Promise<Tool>;
