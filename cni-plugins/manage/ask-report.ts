import { callAdmin } from '../admin/client.ts';
import type { LinkAlteration } from '../types.ts';
import { readNetworkReport } from './report.ts';
import type { NetworkReport, ReportSource, ReportedAttachment } from './report.ts';

/** A daemon that does not answer must not prevent a user from reading the records. */
const patienceMs = 3000;

/**
 * Like {@link readNetworkReport}, with what a daemon that answers at the socket noticed about the pods' ends
 * of links.
 */
export async function askNetworkReport(source: ReportSource, adminSocket: string): Promise<NetworkReport> {
  const report = readNetworkReport(source);
  const answer = await callAdmin(adminSocket, 'links/alterations', {}, patienceMs);
  return 'why' in answer ? report : withAlterations(report, answer.value.alterations);
}

/**
 * Adds what a running daemon noticed about the pods' ends of links (question `alterations`). An attachment is
 * `altered` only if the link itself exists.
 */
function withAlterations(report: NetworkReport, alterations: readonly LinkAlteration[]): NetworkReport {
  const of = (network: string, { id, interface: name, state }: ReportedAttachment): readonly string[] =>
    state === 'ready'
      ? alterations
          .filter((one) => one.network === network && one.id === id && one.interface === name)
          .flatMap(({ found }) => found)
      : [];
  return {
    ...report,
    networks: report.networks.map((network) => ({
      ...network,
      attachments: network.attachments.map((attachment) => {
        const altered = of(network.name, attachment);
        return altered.length === 0 ? attachment : { ...attachment, state: 'altered', altered };
      }),
    })),
  };
}
