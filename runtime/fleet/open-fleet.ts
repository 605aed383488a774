import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { readPlainFile } from '../../base/files/index.ts';
import { createHttpClient } from '../../base/http/index.ts';
import type { TlsIdentity } from '../../base/http/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { openExporter } from '../../fleet/index.ts';
import type { ExportedRow, PolicyText } from '../../fleet/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import type { PolicySources } from '../../trust/policy/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { DaemonConfig } from '../config/types.ts';
import { nodeState } from './node-state.ts';
import type { NodeStateDeps } from './node-state.ts';

const mostFileBytes = 1024 * 1024;

/**
 * Starts to send the verdict log and the state of this node to the configured aggregator. The daemon does not
 * wait for it.
 * @throws PortcullisError RUNTIME_FLEET_FILE when a certificate or key cannot be read
 */
export async function openFleet(
  { fleet }: Pick<DaemonConfig, 'fleet'>,
  database: Pick<Database, 'all' | 'get'>,
  deps: NodeStateDeps & { readonly policy: PolicyInForce },
  log: Logger,
): Promise<{ close(): Promise<void> }> {
  const { endpoint, tokenFile, node, labels } = fleet;
  // A file that is missing at the start is a mistake of the configuration.
  await identityOf(fleet);
  const http = createHttpClient({ connections: 1 });
  const exporter = openExporter({
    endpoint,
    node: node === '' ? hostname() : node,
    labels,
    version: deps.version,
    http,
    // They are read for each request, because they may be replaced.
    tls: () => identityOf(fleet),
    token: async () => (tokenFile === '' ? undefined : (await textOf(tokenFile)).trim()),
    source: {
      rows: (after, most) => rowsAfter(database, after, most),
      head: async () =>
        (await database.get<{ seq: number }>('SELECT coalesce(max(seq), 0) AS seq FROM verdict_log'))?.seq ??
        0,
      checkpoint: () =>
        database.get<{ size: number; note: string }>(
          'SELECT size, note FROM verdict_checkpoint ORDER BY size DESC LIMIT 1',
        ),
      state: () => nodeState(deps),
      policy: () => policyText(deps.policy),
    },
    log: log.child({ component: 'fleet' }),
  });
  return {
    async close() {
      await exporter.close();
      await http.close();
    },
  };
}

/** The policy in force, and its sources. */
interface PolicyInForce {
  current(): TrustPolicy | undefined;
  sources(): PolicySources | undefined;
}

function policyText(policy: PolicyInForce): PolicyText | undefined {
  const revision = policy.current()?.revision;
  const sources = policy.sources();
  return revision === undefined || sources === undefined ? undefined : { revision, ...sources };
}

async function rowsAfter(
  database: Pick<Database, 'all'>,
  after: number,
  most: number,
): Promise<readonly ExportedRow[]> {
  const rows = await database.all<Omit<ExportedRow, 'text'> & { readonly text: string | null }>(
    `SELECT seq, entry, evidence, hash, verdict_text.json AS text FROM verdict_log
     LEFT JOIN verdict_text USING (id) WHERE seq > ? ORDER BY seq LIMIT ?`,
    [after, most],
  );
  return rows.map(({ text, ...row }) => ({ ...row, ...(text !== null && { text }) }));
}

async function identityOf({
  caFile,
  certFile,
  keyFile,
}: DaemonConfig['fleet']): Promise<TlsIdentity | undefined> {
  if (caFile === '' && certFile === '') return undefined;
  const given = (file: string): Promise<string | undefined> =>
    file === '' ? Promise.resolve(undefined) : textOf(file);
  const [ca, cert, key] = await Promise.all([given(caFile), given(certFile), given(keyFile)]);
  return {
    id: createHash('sha256')
      .update(JSON.stringify([ca, cert, key]))
      .digest('base64'),
    ...(ca !== undefined && { ca: [ca] }),
    ...(cert !== undefined && key !== undefined && { cert, key }),
  };
}

async function textOf(file: string): Promise<string> {
  try {
    return (await readPlainFile(file, mostFileBytes)).toString('utf8');
  } catch (cause) {
    throw new PortcullisError({
      code: 'RUNTIME_FLEET_FILE',
      kind: 'precondition',
      attempted: 'read',
      on: file,
      why: reasonOf(cause),
      fix: 'name readable files in the options fleet.…',
      cause,
    });
  }
}
