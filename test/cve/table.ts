import { listenerRows } from './listener-rows.ts';
import { networkRows } from './network-rows.ts';
import { ownRows } from './own-rows.ts';
import type { Row } from './row.ts';
import { runtimeRows } from './runtime-rows.ts';
import { trustRows } from './trust-rows.ts';

interface Section {
  readonly title: string;
  readonly rows: readonly Row[];
}

/** The sections of docs/security-advisories.md, in order. */
export const sections: readonly Section[] = [
  { title: 'Runtimes and container engines', rows: runtimeRows },
  { title: 'Registries, signatures and metadata', rows: trustRows },
  { title: 'Streams, kernel, networks and file systems', rows: networkRows },
  { title: 'Entry points for content and privileges', rows: listenerRows },
  { title: 'Flaws found in Portcullis', rows: ownRows },
];
