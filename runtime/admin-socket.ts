import type { Logger } from '../base/log/index.ts';
import { serveAdmin } from '../cni-plugins/index.ts';
import type { AnswerAdmin, NetworkEngine } from '../cni-plugins/index.ts';
import type { Balancing } from './balancing.ts';
import type { ImageAdmin } from './image-admin.ts';
import type { PolicyAdmin } from './policy-admin.ts';
import type { DaemonOverlay } from './overlay.ts';
import { openServedSocket } from './served-socket.ts';
import type { ServedSocket } from './served-socket.ts';

/**
 * Answers the admin API.
 * @param attached ids of the sandboxes that have a network, or are about to
 */
export function answerAdminOf(
  network: Pick<NetworkEngine, 'alterations' | 'denials' | 'explain' | 'gc' | 'list'>,
  balancing: Pick<Balancing, 'ask'>,
  overlay: Pick<DaemonOverlay, 'ask'>,
  images: ImageAdmin,
  policy: PolicyAdmin,
  attached: () => readonly string[],
): AnswerAdmin {
  const collect = async (altered: boolean | undefined): Promise<object> => {
    const before = network.list().map(({ id }) => id);
    const repairs = await network.gc(new Set(attached()), altered === undefined ? {} : { altered });
    const after = new Set(network.list().map(({ id }) => id));
    return { removed: before.filter((id) => !after.has(id)), kept: after.size, ...repairs };
  };
  return async ({ operation, request }, signal) => {
    switch (operation) {
      case 'images/import':
        return images.import(request, signal);
      case 'images/pulls':
        return images.pulls();
      case 'images/prune':
        return images.prune(request);
      case 'images/layers':
        return images.layers(request);
      case 'images/check-layer':
        return images.check(request);
      case 'images/repair-layer':
        return images.repair(request);
      case 'policy/status':
        return policy.status();
      case 'links/alterations':
        return { alterations: await network.alterations() };
      case 'links/denials':
        return { denials: await network.denials() };
      case 'links/explain':
        return network.explain(request);
      case 'links/collect':
        return collect(request.altered);
      case 'services/list':
        return balancing.ask({ do: 'list', ...request });
      case 'services/apply':
        return balancing.ask({ do: 'apply', ...request });
      case 'services/remove':
        return balancing.ask({ do: 'remove', ...request });
      case 'services/drain':
        return balancing.ask({ do: 'drain', ...request });
      case 'services/switch':
        return balancing.ask({ do: 'switch', ...request });
      case 'overlay/status':
        return overlay.ask({ do: 'status' });
      case 'overlay/rotate-key':
        return overlay.ask({ do: 'rotate-key' });
      case 'overlay/leave':
        return overlay.ask({ do: 'leave' });
      case 'overlay/apply-services':
        return overlay.ask({ do: 'spread', ...request });
      case 'overlay/remove-services':
        return overlay.ask({ do: 'take-back', ...request });
      case 'overlay/release-host':
        return overlay.ask({ do: 'release', ...request });
    }
  };
}

/**
 * Serves the admin API at a unix socket with mode 0600. A socket that cannot be opened is logged and is no
 * failure: pods and images do not need it.
 */
export function openAdminSocket(socket: string, answer: AnswerAdmin, log: Logger): Promise<ServedSocket> {
  const serve = (fd: number): ServedSocket => serveAdmin(fd, answer, log);
  return openServedSocket(
    socket,
    serve,
    log,
    'the admin socket cannot be opened, so commands cannot reach the daemon',
  );
}
