import { createLogger } from '../../base/log/index.ts';
import { hasServices, startNameServer, startOverlay, startServices } from '../../cni-plugins/index.ts';
import type { OverlayQuestion, OverlaySettings, Services } from '../../cni-plugins/index.ts';

/**
 * The process of a host: runs the overlay, its services and names, as the daemon does. Its argument has its
 * settings; messages query it.
 */

const settings = JSON.parse(process.argv[2] ?? '') as OverlaySettings;
const lookEveryMs = 200;
const log = createLogger({ level: 'info' });
let starting: Promise<Services> | undefined;
const services = (): Promise<Services> =>
  (starting ??= startServices({ databasePath: settings.databasePath, balancer: 'nftables' }, log).catch(
    (thrown: unknown) => {
      starting = undefined;
      throw thrown;
    },
  ));
const overlay = startOverlay(
  settings,
  {
    replace: async (source, given) =>
      given.length === 0 && starting === undefined ? [] : (await services()).replace(source, given),
    put: async (source, given) => (await services()).put(source, given),
    remove: async (source, names) => (await services()).remove(source, names),
  },
  () => Promise.resolve(),
  log,
);

/** Polls until a member has joined a service, here or on another host. */
const looking = setInterval(() => {
  if (!hasServices(settings.databasePath, '/nonexistent')) return;
  clearInterval(looking);
  void services();
  void startNameServer(
    { databasePath: settings.databasePath, ttl: 1, upstreams: ['192.0.2.1'], maxForwards: 10 },
    log,
  );
}, lookEveryMs);

process.on(
  'message',
  (message: { readonly id: number; readonly question: OverlayQuestion | { readonly do: 'close' } }) => {
    const answering =
      message.question.do === 'close' ? overlay.close().then(() => ({})) : overlay.ask(message.question);
    answering.then(
      (answer) => process.send?.({ id: message.id, answer }),
      (thrown: unknown) => process.send?.({ id: message.id, error: (thrown as Error).message }),
    );
  },
);
process.on('disconnect', () => process.exit(0));
