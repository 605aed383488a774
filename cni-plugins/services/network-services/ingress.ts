import type { NetworkDatabase } from '../../database/database.ts';
import { isListenedAt } from '../../database/host-sockets.ts';
import { ownNamespaceId } from '../../namespaces/namespace-id.ts';
import type { MemberPort } from '../../spec/memberships.ts';
import { noServiceRules } from '../../spec/service-rules.ts';
import type { Member, NetworkService } from './members.ts';
import { ingressNameOf, whyNotPublished } from './plan.ts';

/**
 * Decides which ingress ports this host publishes, and why it does not publish the others. Synchronous, for a
 * Worker.
 */
export interface IngressGuard {
  of(service: NetworkService): {
    readonly isOpen: (member: Member, port: MemberPort) => boolean;
    /** Ports that are not published, and published ports that a program of the host has taken since. */
    readonly problems: readonly string[];
  };
}

/** Acts in the network namespace of the calling thread. */
export function createIngressGuard({ db }: Pick<NetworkDatabase, 'db'>): IngressGuard {
  const namespaceId = ownNamespaceId();
  const existing = db.prepare(
    'SELECT 1 FROM service_node_port WHERE realm = ? AND protocol = ? AND port = ? AND service = ? LIMIT 1',
  );
  return {
    of(service) {
      const problems = new Set<string>();
      const known = new Map<string, boolean>();
      const exists = ({ protocol, port }: MemberPort): boolean =>
        existing.get(namespaceId, protocol, port, ingressNameOf(service)) !== undefined;
      const judge = (member: Member, port: MemberPort): boolean => {
        const text = `${port.port}/${port.protocol}`;
        const why = whyNotPublished(service, member, port);
        if (why !== undefined) {
          problems.add(`${text} of ${member.owner ?? 'a host with an earlier version'}: ${why}`);
          return false;
        }
        const rules =
          (service.spanned === undefined ? member.rules : service.spanned.rules) ?? noServiceRules;
        if (rules.ingress?.heldPorts === true || !isListenedAt({ ...port, hostIp: '' })) return true;
        if (exists(port)) {
          problems.add(
            `${text}: a program of the host has opened the port in the meantime; connections from outside still go to the service`,
          );
          return true;
        }
        problems.add(
          `${text}: a program of the host has a socket at this port, and the network's file does not allow such ports (ingress.heldPorts)`,
        );
        return false;
      };
      return {
        isOpen(member, port) {
          const key = `${member.owner ?? ''} ${port.protocol} ${port.port}`;
          const found = known.get(key) ?? judge(member, port);
          known.set(key, found);
          return found;
        },
        get problems() {
          // Includes members that this host does not balance. Each port is checked once.
          for (const member of service.members)
            for (const port of member.ingressPorts) this.isOpen(member, port);
          return [...problems];
        },
      };
    },
  };
}
