import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/**
 * Returns everything left of endpoints and networks in this network namespace, in the database and in the
 * folders of plugins. Empty if nothing is left.
 */
export function leftovers(folders: {
  readonly root: string;
  readonly state: string;
  readonly leases: readonly string[];
}): string[] {
  return [
    ...links(),
    ...rules(),
    ...records(join(folders.root, 'network.db')),
    ...pins(folders.state),
    ...folders.leases.flatMap(leases),
  ];
}

const lines = (program: string, ...words: string[]): string[] =>
  execFileSync(program, words, { encoding: 'utf8' }).split('\n');

const links = (): string[] =>
  lines('ip', '-br', 'link', 'show')
    .filter((line) => line !== '' && !line.startsWith('lo '))
    .map((line) => `link ${line}`);

/**
 * Rules and elements that belong to an endpoint. No constant rule names an address, a port or a container.
 */
function rules(): string[] {
  const legacy = lines('iptables-save').filter((line) =>
    /^-A .*(?:id: |-s \d|-d \d+\.\d+\.\d+\.\d+\/32|--dports? \d)/u.test(line),
  );
  const own = lines('nft', 'list', 'ruleset').filter(
    (line) => /elements = \{|chain (?:leaving|returning)_/u.test(line) && !/@|chain_/u.test(line),
  );
  return [...legacy, ...own].map((line) => `rule ${line.trim()}`);
}

function records(path: string): string[] {
  if (!existsSync(path)) return [];
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    const tables = [
      'attachment',
      'part',
      'lease',
      'host_port',
      'name',
      'cnm_network',
      'cnm_endpoint',
      'cnm_pool',
      'cnm_address',
    ];
    return tables.flatMap((table) =>
      (db.prepare(`SELECT * FROM ${table}`).all() as object[]).map(
        (row) => `${table} ${JSON.stringify(row)}`,
      ),
    );
  } finally {
    db.close();
  }
}

function pins(state: string): string[] {
  const folder = join(state, 'cnm');
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return [
    ...(existsSync(folder) ? readdirSync(folder) : []),
    ...mounts.filter((line) => line.includes(folder)),
  ].map((name) => `pin ${name}`);
}

/** The store of host-local: one file for each address. */
const leases = (folder: string): string[] =>
  (existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [])
    .filter((name) => /(?:^|\/)[0-9a-f]+[.:][0-9a-f.:]+$/u.test(name))
    .map((name) => `lease ${name}`);
