import { readdirSync } from 'node:fs';
import { extname, join } from 'node:path';
import { attempt } from '../../base/errors/index.ts';
import { readConfFile } from './conf-folder.ts';
import { fieldsOf } from './fields.ts';
import type { Problems } from './fields.ts';
import { readJson } from './json-text.ts';

/** A file of a conf folder that names plugins of ours. */
export interface ConfUse {
  readonly file: string;
  readonly network: string;
  /** Types as written, including the IPAM plugin of each plugin. */
  readonly types: readonly string[];
}

/**
 * Returns the files that libcni would read, in its order, as far as they can be read. A missing folder has
 * none.
 */
export function confUses(confDir: string): ConfUse[] {
  return (attempt(() => readdirSync(confDir)) ?? [])
    .filter((name) => ['.conflist', '.conf', '.json'].includes(extname(name)))
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .flatMap((name) => useOf(join(confDir, name)) ?? []);
}

function useOf(file: string): ConfUse | undefined {
  const text = attempt(() => readConfFile(file));
  if (text === undefined) return undefined;
  const source = readJson(text);
  if ('message' in source) return undefined;
  const problems: Problems = [];
  const root = fieldsOf(source.value, [], file, source, problems);
  if (root === undefined) return undefined;
  const plugins = root.has('plugins') ? root.objects('plugins') : [root];
  const types = plugins
    .flatMap((plugin) => [plugin.text('type') ?? '', plugin.object('ipam')?.text('type') ?? ''])
    .filter((type) => type.startsWith('portcullis-'));
  return types.length === 0 ? undefined : { file, network: root.text('name') ?? '', types };
}
