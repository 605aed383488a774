import { join } from 'node:path';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { askNetworkReport } from '../../../cni-plugins/index.ts';
import type { ReportedNetwork } from '../../../cni-plugins/index.ts';
import type { DaemonConfig } from '../../../runtime/index.ts';
import type { Finding } from '../finding.ts';

type Settings = Pick<DaemonConfig, 'cni' | 'root' | 'state'> & {
  readonly network: Pick<DaemonConfig['network'], 'maxConfigs' | 'plugins'>;
};

const isRoot = process.getuid?.() === 0;

/** Returns what restores lost links: the start of a daemon does, and a running daemon when it is asked. */
export const lostLinkFix = (isRunning: boolean): string =>
  isRunning
    ? 'portcullis network gc restores them; if it cannot, the daemon log has the reason'
    : 'start the daemon: it restores them; if it cannot, its log has the reason';

/**
 * Reports pods whose link another program deleted or changed and that was not restored. Reports nothing when
 * there are none.
 */
export async function lostLinkFindings(
  { root, state, cni, network }: Settings,
  isRunning = true,
): Promise<readonly Finding[]> {
  const source = {
    databasePath: join(root, 'network.db'),
    confDir: cni.confDir,
    choice: { plugins: network.plugins, maxConfigs: network.maxConfigs },
  };
  let networks: readonly ReportedNetwork[];
  try {
    networks = (await askNetworkReport(source, join(state, 'admin.sock'))).networks;
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    const { why, fix } = thrown.failure;
    const unknown = { topic: 'links of pods', state: 'degraded' } as const;
    return isRoot
      ? [{ ...unknown, found: 'not known', meaning: [why], fix }]
      : [{ ...unknown, found: 'not known: only root can read them', fix: 'run as root' }];
  }
  const linesOf = (wanted: string): string[] =>
    networks.flatMap(({ name, attachments }) =>
      attachments
        .filter(({ state }) => state === wanted)
        .map(
          ({ id, namespace, pod, interface: link, altered = [] }) =>
            `${pod === undefined ? id : `${namespace ?? ''}/${pod}`}: ${link} on ${name}${altered.map((what, at) => (at === 0 ? `: ${what}` : `, ${what}`)).join('')}`,
        ),
    );
  const finding = (wanted: string, fix: string): readonly Finding[] => {
    const meaning = linesOf(wanted);
    return meaning.length === 0
      ? []
      : [{ topic: 'links of pods', state: 'degraded', found: `${meaning.length} ${wanted}`, meaning, fix }];
  };
  return [
    ...finding('lost', lostLinkFix(isRunning)),
    ...finding(
      'altered',
      'if the pod did not change this on purpose: portcullis network gc --altered restores it',
    ),
  ];
}
