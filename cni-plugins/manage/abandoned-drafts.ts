import { lstatSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

const draftName = /^\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u;
/** A draft exists only for a moment. An older draft belongs to a process that was killed. */
const draftMs = 600_000;

/**
 * Removes the drafts of networks that a killed process left in a conf folder. Drafts that cannot be removed
 * stay.
 * @throws the error of reading the folder
 */
export function dropAbandonedDrafts(confDir: string): void {
  for (const entry of readdirSync(confDir, { withFileTypes: true })) {
    if (!entry.isDirectory() || !draftName.test(entry.name)) continue;
    const draft = join(confDir, entry.name);
    try {
      if (Date.now() - lstatSync(draft).mtimeMs < draftMs) continue;
      for (const file of readdirSync(draft)) if (file.endsWith('.conflist')) unlinkSync(join(draft, file));
      rmdirSync(draft);
    } catch {
      // Another process may remove it at the same time, and a folder with other files is not a draft.
    }
  }
}
