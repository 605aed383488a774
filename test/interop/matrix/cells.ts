import type { Ground, Published } from './ground.ts';

/** What may be the matter with a signature. */
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

/** One case: what is arranged about an image, and the only right answer. */
export interface Cell {
  readonly outcome: 'admit' | 'deny';
  /** One of these codes must stand among the reasons. */
  readonly codes: readonly string[];
  /** Where the image is published first; below the row's own folder. `in` unless told. */
  readonly folder?: string;
  /** Signs it, and what else there is to do; the image that is then asked about, when it is another. */
  arrange(image: Published): Promise<Published | undefined>;
  /** Whether the tool accepts it too; the reason when it has no word for the matter. */
  readonly judge: ((image: Published) => Promise<boolean>) | string;
}

/** A form of signature at one registry. */
export interface Row {
  readonly name: string;
  /** Folder of its repositories. */
  readonly folder: string;
  /** Rules of a TrustPolicy, in YAML. */
  readonly rules: string;
  /** Why a case can not exist stands in its place. */
  readonly cells: Readonly<Record<Matter, Cell | string>>;
  /** What we sign in this form; absent: we do not. */
  readonly ours?: Omit<Cell, 'outcome' | 'codes' | 'folder'>;
}

/** The rows of one tool. */
export interface Tool {
  readonly rows: readonly Row[];
  close(): Promise<void>;
}

export type OpenTool = (ground: Ground) => Promise<Tool>;
