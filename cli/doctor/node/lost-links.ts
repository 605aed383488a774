import { join } from 'node:path';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { readNetworkReport } from '../../../cni-plugins/index.ts';
import type { ReportedNetwork } from '../../../cni-plugins/index.ts';
import type { DaemonConfig } from '../../../runtime/index.ts';
import type { Finding } from '../finding.ts';

/** Pods whose link another program deleted, and that do not have it again: nothing where there are none. */
export function lostLinkFindings({ root, cni, network }: Pick<DaemonConfig, 'cni' | 'network' | 'root'>): readonly Finding[] {
  const source = {
    databasePath: join(root, 'network.db'),
    confDir: cni.confDir,
    choice: { plugins: network.plugins, maxConfigs: network.maxConfigs },
  };
  let networks: readonly ReportedNetwork[];
  try {
    networks = readNetworkReport(source).networks;
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    const { why, fix } = thrown.failure;
    return [{ topic: 'links of pods', state: 'degraded', found: 'not known', meaning: [why], fix }];
  }
  const lost = networks.flatMap(({ name, attachments }) =>
    attachments
      .filter(({ state }) => state === 'lost')
      .map(({ id, namespace, pod, interface: link }) => `${pod === undefined ? id : `${namespace ?? ''}/${pod}`}: ${link} on ${name}`),
  );
  if (lost.length === 0) return [];
  return [
    {
      topic: 'links of pods',
      state: 'degraded',
      found: `${lost.length} lost`,
      meaning: lost,
      fix: 'portcullis network gc makes them again; where it cannot, the daemon log says what is in the way',
    },
  ];
}
