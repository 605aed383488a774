import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../../../base/errors/index.ts';
import type { PolicySet } from './network-policy.ts';
import type { SourceText, readSet } from './read.ts';

/** The folder of policies, read when it changed. Synchronous, for the network's Worker. */
export interface PolicyFolder {
  /** The set of now, when it is another than at the last call. What cannot be read is logged, and the set before stays. */
  changed(): PolicySet | undefined;
}

const none: PolicySet = { policies: [], namespaces: new Map() };

const isOurs = (name: string): boolean => /\.(?:ya?ml|json)$/u.test(name) && !name.startsWith('.');

let read: typeof readSet | undefined;

/**
 * Loads what reads the files, once the folder has any: YAML and schemas are half of the network thread's program, and most nodes have no files
 * there. Until then `changed` knows of no change: whoever starts waits for this before it asks.
 */
export async function loadPolicyReader(folder: string): Promise<void> {
  if (read === undefined && folder !== '' && ![missing, ''].includes(stampOf(folder))) read = (await import('./read.ts')).readSet;
}

/**
 * @param folder may be missing: no policies. One that was there and is gone is not taken for an order to drop them. Without an earlier set
 *   to keep, what can not be read isolates every pod.
 */
export function openPolicyFolder(
  folder: string,
  log: { error(fields: object, message: string): void; info(fields: object, message: string): void },
): PolicyFolder {
  let stamp: string | undefined;
  let current: PolicySet | undefined;

  const broken = (problems: string): PolicySet | undefined => {
    log.error(
      { folder, problems, kept: current?.policies.length ?? 'none: every pod is isolated' },
      'the NetworkPolicies can not be read; those of before stay in force',
    );
    if (current !== undefined) return undefined;
    return { ...none, isolated: 'NetworkPolicy files that can not be read' };
  };

  return {
    changed() {
      const now = folder === '' ? missing : stampOf(folder);
      if (now === stamp) return undefined;
      const isEmpty = now === missing || now === '';
      if (!isEmpty && read === undefined) return undefined;
      stamp = now;
      if (now === missing) {
        if (current !== undefined && current.policies.length > 0) return broken(`${folder} is gone; leave it there and empty to have none`);
        current = none;
        return none;
      }
      let sources: SourceText[];
      try {
        sources = filesOf(folder).map((file) => ({ file, text: readFileSync(file, 'utf8') }));
      } catch (thrown) {
        return broken(reasonOf(thrown));
      }
      const reading = read?.(sources) ?? { set: none };
      if ('problems' in reading) return broken(reading.problems);
      current = reading.set;
      log.info({ folder, policies: current.policies.length }, 'NetworkPolicies were read');
      return current;
    },
  };
}

const missing = 'missing';

const filesOf = (folder: string): string[] =>
  readdirSync(folder)
    .filter(isOurs)
    .sort()
    .map((name) => join(folder, name));

function stampOf(folder: string): string {
  try {
    return filesOf(folder)
      .map((file) => {
        const { ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
        return `${file} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
      })
      .join('\n');
  } catch (thrown) {
    // A file that vanished in between: another stamp at the next look.
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' && !stands(folder) ? missing : `? ${reasonOf(thrown)}`;
  }
}

function stands(folder: string): boolean {
  try {
    return statSync(folder).isDirectory();
  } catch {
    return false;
  }
}
